//! GC: removes what belongs to no valid attachment of this network: firewalls of namespaces that are still there, and
//! the state files of those that are not. Delegates of what is removed get a DEL, and then GC.

use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::exec::PluginCall;
use fwn_cni::invocation::{Command, Invocation};
use fwn_kernel::firewall::apply::{ApplyError, Connection};
use fwn_kernel::firewall::record::RecordedNetns;
use fwn_node::causes::with_causes;
use fwn_node::message;
use fwn_plan::plan::Attachment;

use crate::call::Call;
use crate::del::{leave_to_delegates, take_out_of};
use crate::failure::Failure;
use crate::ipsetd;
use crate::state::State;

/// Removes what is left over. One failure does not keep the rest from being removed.
///
/// # Errors
/// The runtime did not say what is valid, and nothing was removed; or all failures together.
pub(crate) fn gc(invocation: &Invocation) -> Result<(), CniError> {
    let call = Call::lenient(invocation);
    let Some(valid) = &invocation.conf.valid_attachments else {
        let message = "`cni.dev/valid-attachments` is missing, so nothing was removed";
        return Err(CniError::new(ErrorCode::BadConfig, message).with_details("an empty list removes all"));
    };
    let mut errors = Vec::new();
    let interfaces = valid.iter().map(|valid| message::Interface {
        container: valid.container_id.clone(),
        interface: valid.ifname.clone(),
    });
    if let Err(error) = ipsetd::keep(&call, interfaces.collect()) {
        errors.push(CniError::new(ErrorCode::TryAgain, with_causes(&error)));
    }
    for state in call.states.each().map_err(Failure::State)? {
        let state = match state {
            Ok(state) => state,
            Err(error) => {
                errors.push(CniError::from(Failure::State(error)));
                continue;
            }
        };
        let attachment = Attachment::from(&state.record.attachment);
        let is_valid = valid.iter().any(|valid| {
            (&valid.container_id, &valid.ifname) == (&attachment.container, &attachment.interface)
        });
        if attachment.network != call.attachment.network || is_valid {
            continue;
        }
        let of_attachment = call.about(attachment);
        if let Err(error) = collect(&of_attachment, &state) {
            errors.push(error.within(&of_attachment.attachment.to_string()));
        }
    }
    match call.delegates() {
        Ok(Some(delegates)) => errors.extend(delegates.gc().err()),
        Ok(None) => {}
        Err(error) => errors.push(error),
    }
    CniError::join(errors).map_or(Ok(()), Err)
}

fn collect(call: &Call<'_>, state: &State) -> Result<(), CniError> {
    let end_served = || {
        if let Some(served) = &state.ipsetd {
            served.end(call, Some(state.record.netns));
        }
    };
    let mut netns = None;
    let mut left = Some(state.clone());
    match Connection::open(&state.netns_path) {
        // the path may name another namespace by now, or the host's
        Ok((target, connection)) if RecordedNetns::from(target.id()) == state.record.netns => {
            let _lock = call.states.lock(target.id().inode).map_err(Failure::State)?;
            // it was listed without the lock: an ADD or DEL that came since knows better
            let current = call.states.read(&call.attachment, &state.record.netns).map_err(Failure::State)?;
            if current.as_ref() != Some(state) {
                log::debug!("`{}` has changed since it was listed", call.attachment);
                return Ok(());
            }
            end_served();
            take_out_of(call, &target, connection, Some(state), &[])?;
            left = leave_to_delegates(call, &state.record.netns, Some(state))?;
            netns = Some(state.netns_path.clone());
        }
        Ok(_) => end_served(),
        Err(ApplyError::Netns(error)) if error.is_other() => end_served(),
        Err(error) => return Err(Failure::Apply(error).into()),
    }
    if let Some(made) = &state.delegated {
        let of_del = PluginCall {
            command: Command::Del,
            container_id: call.attachment.container.clone(),
            netns,
            ifname: call.attachment.interface.clone(),
            args: String::new(),
            path: call.invocation.path.clone(),
        };
        call.undo(made, of_del)?;
    }
    match left {
        Some(left) => Ok(call.states.remove_unchanged(&left).map_err(Failure::State)?),
        None => Ok(()),
    }
}
