//! One call of the plugin: what every command begins with.

use fwn_cni::error::CniError;
use fwn_cni::exec::ProcessExecutor;
use fwn_cni::invocation::Invocation;
use fwn_cni::result::AddResult;
use fwn_kernel::firewall::apply::Connection;
use fwn_kernel::netns::TargetNetns;
use fwn_plan::config::Section;
use fwn_plan::plan::Attachment;

use crate::databases::HostDatabases;
use crate::failure::Failure;
use crate::persist::{PersistDir, container_name};
use crate::settings::Settings;
use crate::state::StateDir;

/// Folder of the host's databases.
pub(crate) const ETC: &str = "/etc";

/// A call, its own keys read and its log started.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    /// What the runtime said.
    pub invocation: &'a Invocation,
    /// Our own keys.
    pub settings: Settings,
    /// Sections that are read already; they come after those of `fwFiles`.
    pub given: Vec<Section>,
    /// Whose firewall it is about; of GC and STATUS only the network is known.
    pub attachment: Attachment,
    /// What is in force.
    pub states: StateDir,
    /// Where its sets are saved.
    pub persist: PersistDir,
    /// The host's names for numbers.
    pub databases: HostDatabases,
    /// What runs delegates.
    pub executor: ProcessExecutor,
}

impl<'a> Call<'a> {
    /// Reads our own keys, and starts logging as they say.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn new(invocation: &'a Invocation) -> Result<Self, CniError> {
        let settings = Settings::parse(&invocation.conf.text).map_err(Failure::Configuration)?;
        settings.start_logging().map_err(|problem| Failure::Configuration(problem.into()))?;
        Ok(Self::with(invocation, settings))
    }

    /// The same for a configuration that people gave as a file: messages name the file, and the log is theirs.
    ///
    /// # Errors
    /// All that is wrong with our keys.
    pub(crate) fn of_file(invocation: &'a Invocation, name: &str) -> Result<Self, Failure> {
        let settings = Settings::parse_named(name, &invocation.conf.text).map_err(Failure::Configuration)?;
        Ok(Self::with(invocation, settings))
    }

    fn with(invocation: &'a Invocation, settings: Settings) -> Self {
        let attachment = Attachment {
            network: invocation.conf.name.clone(),
            container: invocation.container_id.clone(),
            interface: invocation.ifname.clone(),
        };
        if !attachment.interface.is_empty() {
            crate::logging::about(&attachment.to_string());
        }
        let states = StateDir::new(&settings.state_dir);
        let persist =
            PersistDir::new(&settings.persist_dir, &attachment.network, &container_name(invocation));
        let executor = ProcessExecutor::new().with_time_limit(settings.delegate_timeout);
        let databases = HostDatabases::new(ETC);
        Self { invocation, settings, given: Vec::new(), attachment, states, persist, databases, executor }
    }

    /// As [`Call::new`], for commands that must clean up also where the configuration has become unreadable: then
    /// with the default folders, or those that can still be made out.
    pub(crate) fn lenient(invocation: &'a Invocation) -> Self {
        Self::new(invocation).unwrap_or_else(|error| {
            crate::logging::start(log::LevelFilter::Warn);
            log::warn!("cleaning up without the configuration: {}", error.msg);
            Self::with(invocation, Settings::folders_of(&invocation.conf.text))
        })
    }

    /// The same call about another attachment of the network.
    #[must_use]
    pub(crate) fn about(&self, attachment: Attachment) -> Self {
        let persist = PersistDir::new(&self.settings.persist_dir, &attachment.network, &attachment.container);
        let settings = Settings::folders_of(&self.invocation.conf.text);
        Self {
            invocation: self.invocation,
            settings,
            given: Vec::new(),
            attachment,
            states: self.states.clone(),
            persist,
            databases: HostDatabases::new(ETC),
            executor: self.executor.clone(),
        }
    }

    /// The namespace that `CNI_NETNS` names, if there still is one that may be touched.
    ///
    /// # Errors
    /// It is not there, no network namespace, or the host's.
    pub(crate) fn open_netns(&self) -> Result<(TargetNetns, Connection), CniError> {
        let Some(path) = &self.invocation.netns else {
            return Err(CniError::new(fwn_cni::error::ErrorCode::BadEnvironment, "CNI_NETNS is not set"));
        };
        Ok(Connection::open(path).map_err(Failure::Apply)?)
    }

    /// The result of the plugins before this one; `None` before 0.3.0, which has no chains.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) fn previous_result(&self) -> Result<Option<AddResult>, CniError> {
        let conf = &self.invocation.conf;
        conf.prev_result.as_ref().map(|raw| AddResult::parse(raw.get(), conf.version)).transpose()
    }
}
