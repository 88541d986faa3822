//! CHECK: is everything as ADD left it, and does the daemon of the node serve what it was to serve? The state file says what that was, so that a name that resolves to something
//! else by now, or an edited file, is no false alarm.

use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::invocation::Invocation;
use fwn_kernel::firewall::apply::check as differences;
use fwn_kernel::firewall::record::RecordedNetns;
use fwn_node::causes::with_causes;

use crate::call::Call;
use crate::failure::Failure;

/// Compares what is in force with what ADD made.
///
/// # Errors
/// Code 101 with a line for everything that is missing, changed or in the way. A delegate's own.
pub(crate) fn check(invocation: &Invocation) -> Result<(), CniError> {
    let call = Call::new(invocation)?;
    let (target, mut connection) = call.open_netns()?;
    if let Some(delegates) = call.delegates()? {
        delegates.check(&invocation.conf)?;
    }
    let _lock = call.states.lock(target.id().inode).map_err(Failure::State)?;
    let netns = RecordedNetns::from(target.id());
    let Some(state) = call.states.read(&call.attachment, &netns).map_err(Failure::State)? else {
        let message = format!("no ADD of `{}` is known in `{}`", call.attachment, target.path().display());
        let hint = "the state file is missing: DEL and then ADD puts the firewall in force anew";
        return Err(CniError::new(ErrorCode::CheckFailed, message).with_details(hint));
    };
    let siblings = call.states.siblings(&call.attachment, &netns).map_err(Failure::State)?;
    let siblings: Vec<_> = siblings.into_iter().map(|state| state.record).collect();
    let mut lines = differences(&mut connection, &state.record, &siblings).map_err(Failure::Apply)?;
    if let Some(Err(error)) = state.ipsetd.as_ref().map(|served| served.check(&call, netns)) {
        lines.push(with_causes(&error));
    }
    if lines.is_empty() { Ok(()) } else { Err(CniError::new(ErrorCode::CheckFailed, lines.join("\n"))) }
}
