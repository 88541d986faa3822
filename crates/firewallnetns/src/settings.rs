//! The network configuration as this call uses it: parsed, variables of its own keys expanded, defaults filled in.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fwn_plan::config::{Engine, LogLevel, NetConf, Text, parse_netconf};
use fwn_plan::origin::{Origin, Path, Source};
use fwn_plan::problem::{Problem, Problems};

use crate::ipsetd::Daemon;
use crate::resolver::{ResolverConf, parse_server};

/// What messages call the configuration on stdin.
const NAME: &str = "network configuration";
/// Where .fw files are looked for by default.
const DATA_DIR: &str = "/etc/cni/firewallnetns";
/// Namespaces do not outlive a boot, so neither does this folder.
pub(crate) const STATE_DIR: &str = "/run/firewallnetns";
/// Saved sets outlive it.
const PERSIST_DIR: &str = "/var/lib/firewallnetns";
/// How long one call of a delegate may take: longer than asking a DHCP server, shorter than runtimes wait.
const DELEGATE_TIMEOUT: Duration = Duration::from_secs(60);

/// What a call works with.
#[derive(Debug)]
pub(crate) struct Settings {
    source: Arc<Source>,
    /// The configuration as written.
    pub conf: NetConf,
    /// Folder of .fw files and set files.
    pub data_dir: PathBuf,
    /// Folder of what is in force.
    pub state_dir: PathBuf,
    /// Folder of saved sets.
    pub persist_dir: PathBuf,
    /// Who encodes rules.
    pub engine: Engine,
    /// How names are resolved.
    pub resolver: ResolverConf,
    /// How long one call of a delegate may take.
    pub delegate_timeout: Duration,
    /// Where the daemon of the node is.
    pub daemon: Daemon,
}

impl Settings {
    /// Reads our own keys of a network configuration.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn parse(text: &str) -> Result<Self, Problems> {
        Self::parse_named(NAME, text)
    }

    /// The same under another name in messages.
    ///
    /// # Errors
    /// All that is wrong with them.
    pub(crate) fn parse_named(name: &str, text: &str) -> Result<Self, Problems> {
        let source: Arc<Source> = Source::new(name, text);
        let conf = parse_netconf(&source)?;
        let mut problems = Problems::default();
        let mut servers = Vec::new();
        for server in &conf.names_servers {
            match parse_server(&server.value) {
                Ok(address) => servers.push(address),
                Err(error) => problems.push(Problem::new(server.origin.clone(), error.to_string())),
            }
        }
        let mut folder = |text: Option<&Text>, default: &str| match text {
            None => PathBuf::from(default),
            Some(text) => {
                if !text.value.starts_with('/') {
                    let message = format!("`{}` is not an absolute path", text.value);
                    problems.push(Problem::new(text.origin.clone(), message));
                }
                PathBuf::from(&text.value)
            }
        };
        let data_dir = folder(conf.data_dir.as_ref(), DATA_DIR);
        let state_dir = folder(conf.state_dir.as_ref(), STATE_DIR);
        let persist_dir = folder(conf.persist_dir.as_ref(), PERSIST_DIR);
        let ipsetd = conf.ipsetd.as_ref();
        let mut daemon = Daemon {
            socket: folder(ipsetd.and_then(|conf| conf.socket.as_ref()), fwn_node::SOCKET),
            ..Daemon::default()
        };
        if let Some(seconds) = ipsetd.and_then(|conf| conf.timeout) {
            daemon.timeout = Duration::from_secs(seconds.into());
        }
        let mut resolver = ResolverConf { servers, ..ResolverConf::default() };
        if let Some(seconds) = conf.names_timeout {
            resolver.timeout = Duration::from_secs(seconds.into());
        }
        let engine = conf.engine.unwrap_or_default();
        let seconds = conf.delegate_timeout.map(|seconds| Duration::from_secs(seconds.into()));
        let delegate_timeout = seconds.unwrap_or(DELEGATE_TIMEOUT);
        problems.finish(Self {
            source,
            conf,
            data_dir,
            state_dir,
            persist_dir,
            engine,
            resolver,
            delegate_timeout,
            daemon,
        })
    }

    /// No more than the folders, from a configuration in which something is wrong: those that can be made out, else
    /// the default ones.
    pub(crate) fn folders_of(text: &str) -> Self {
        let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let folder = |key: &str, default: &str| {
            let stated =
                value.get(key).and_then(serde_json::Value::as_str).filter(|path| path.starts_with('/'));
            PathBuf::from(stated.unwrap_or(default))
        };
        Self {
            source: Source::new(NAME, text),
            conf: NetConf::default(),
            data_dir: folder("dataDir", DATA_DIR),
            state_dir: folder("stateDir", STATE_DIR),
            persist_dir: folder("persistDir", PERSIST_DIR),
            engine: Engine::default(),
            resolver: ResolverConf::default(),
            delegate_timeout: DELEGATE_TIMEOUT,
            daemon: Daemon::default(),
        }
    }

    /// The configuration as a whole, for what is wrong with no key in particular.
    pub(crate) fn whole(&self) -> Origin {
        let range = 0..self.source.text.len();
        Origin { source: Arc::clone(&self.source), path: Path::default(), range, span: None }
    }

    /// Starts logging as the configuration has it.
    ///
    /// # Errors
    /// `logFile` cannot be opened.
    pub(crate) fn start_logging(&self) -> Result<(), Problem> {
        crate::logging::start(match self.conf.log_level.unwrap_or_default() {
            LogLevel::Error => log::LevelFilter::Error,
            LogLevel::Warn => log::LevelFilter::Warn,
            LogLevel::Info => log::LevelFilter::Info,
            LogLevel::Debug => log::LevelFilter::Debug,
            LogLevel::Trace => log::LevelFilter::Trace,
        });
        let Some(file) = &self.conf.log_file else { return Ok(()) };
        crate::logging::to_file(file.value.as_ref()).map_err(|error| {
            Problem::new(file.origin.clone(), format!("cannot open `{}`: {error}", file.value))
        })
    }
}
