//! STATUS: would ADD work? Looks at the kernel, the folders, the files and the daemon of the node, without an attachment.

use fwn_cni::error::{CniError, ErrorCode};
use fwn_cni::invocation::Invocation;
use fwn_kernel::encode::iptables::find_programs;
use fwn_kernel::nft::observe::probe;
use fwn_node::causes::with_causes;
use fwn_plan::config::Engine;

use crate::call::Call;
use crate::failure::Failure;
use crate::gather::check_files;
use crate::ipsetd;

/// Looks whether an ADD of this network could succeed.
///
/// # Errors
/// Code 50 with everything that stands in its way; a delegate's own.
pub(crate) fn status(invocation: &Invocation) -> Result<(), CniError> {
    let call = Call::new(invocation)?;
    let mut lines = Vec::new();
    if let Err(error) = probe() {
        lines.push(format!("the kernel's nf_tables cannot be used: {error}"));
    }
    if call.settings.engine == Engine::Iptables
        && let Err(error) = find_programs()
    {
        lines.push(error.to_string());
    }
    if let Err(error) = call.states.create() {
        lines.push(CniError::from(Failure::State(error)).to_string());
    }
    if let Err(problems) = check_files(&call) {
        lines.push(problems.to_string());
    }
    if let Err(error) = ipsetd::is_there(&call) {
        lines.push(with_causes(&error));
    }
    let mut errors = Vec::new();
    if let Some(delegates) = call.delegates()? {
        match delegates.locate() {
            Ok(()) => errors.extend(delegates.status().err()),
            Err(error) => lines.push(error.to_string()),
        }
    }
    if !lines.is_empty() {
        errors.insert(0, CniError::new(ErrorCode::NotAvailable, lines.join("\n")));
    }
    CniError::join(errors).map_or(Ok(()), Err)
}
