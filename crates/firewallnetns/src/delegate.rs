//! `delegate`: the plugins that run before our own work, where the runtime cannot chain. Which they are and when they
//! are called is here; how, in the CNI crate.

use fwn_cni::delegation::{Delegated, Delegates};
use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::exec::PluginCall;
use fwn_cni::invocation::Command;
use fwn_kernel::firewall::record::RecordedNetns;
use fwn_kernel::netns::TargetNetns;
use fwn_plan::config::Text;
use fwn_plan::problem::{Problem, Problems};
use serde_json::json;

use crate::call::Call;
use crate::failure::Failure;
use crate::state::State;
use crate::variables::requested_addresses;

impl Call<'_> {
    /// The delegates of the configuration, if there are any.
    ///
    /// # Errors
    /// They cannot be read, or what the runtime hands over for them cannot.
    pub(crate) fn delegates(&self) -> Result<Option<Delegates<'_>>, CniError> {
        let addresses = requested_addresses(self.invocation)
            .map_err(|message| Failure::Configuration(Problem::new(self.settings.whole(), message).into()))?;
        let args = (!addresses.is_empty()).then(|| json!({ "cni": { "ips": addresses } }));
        let delegates = Delegates::of_conf(&self.executor, self.invocation, args.as_ref())?;
        Ok(Some(delegates).filter(|delegates| !delegates.is_empty()))
    }

    /// Refuses an ADD with delegates that cannot be meant.
    ///
    /// # Errors
    /// Another plugin ran before us; a delegate would be this plugin.
    pub(crate) fn check_delegating(&self) -> Result<(), CniError> {
        let conf = &self.invocation.conf;
        if conf.prev_result.is_some() {
            let message = "`delegate` is for runtimes that cannot chain, but a plugin ran before this one: there is a prevResult";
            let hint = format!(
                "put the plugins of `delegate` into the list `plugins` of network `{}` before this one, and leave the key out",
                conf.name
            );
            return Err(CniError::new(ErrorCode::BadConfig, message).with_details(hint));
        }
        let own = |plugin: &&Text| plugin.value == conf.plugin_type;
        let problem = |plugin: &Text| {
            let message = format!("`{}` cannot delegate to itself", plugin.value);
            Problem::new(plugin.origin.clone(), message).hint("rules and files of both fit into one")
        };
        let problems = Problems(self.settings.conf.delegates.iter().filter(own).map(problem).collect());
        Ok(problems.finish(()).map_err(Failure::Configuration)?)
    }

    /// Refuses a second ADD: its delegates would fail, and undoing them would take the interface of a running
    /// container.
    ///
    /// # Errors
    /// An ADD is in force in this namespace.
    pub(crate) fn refuse_twice(&self, target: &TargetNetns) -> Result<(), CniError> {
        let netns = RecordedNetns::from(target.id());
        if self.states.read(&self.attachment, &netns).map_err(Failure::State)?.is_none() {
            return Ok(());
        }
        let message = format!("an ADD of `{}` is in force in `{}`", self.attachment, target.path().display());
        let hint = "with `delegate` a DEL has to come before another ADD";
        Err(CniError::new(ErrorCode::BadEnvironment, message).with_details(hint))
    }

    /// DEL by the delegates: by those of the ADD that `state` tells of, or else by those of the configuration.
    ///
    /// # Errors
    /// All that went wrong, as one.
    pub(crate) fn undelegate(&self, state: Option<&State>) -> Result<(), CniError> {
        match state {
            Some(state) => match &state.delegated {
                Some(made) => self.undo(made, PluginCall::delegated(self.invocation, Command::Del)),
                // then the interface is another plugin's
                None => Ok(()),
            },
            None => match self.delegates() {
                Ok(Some(delegates)) => delegates.del(None, &self.invocation.conf),
                Ok(None) => Ok(()),
                Err(error) => {
                    // no ADD can have come further
                    log::warn!("no delegate is called: {error}");
                    Ok(())
                }
            },
        }
    }

    /// DEL by those that made what is kept, called so.
    ///
    /// # Errors
    /// All that went wrong, as one.
    pub(crate) fn undo(&self, made: &Delegated, call: PluginCall) -> Result<(), CniError> {
        Delegates::of_kept(&self.executor, made, call)?.del(Some(made), &self.invocation.conf)
    }
}
