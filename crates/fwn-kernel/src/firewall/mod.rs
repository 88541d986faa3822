//! The firewall of an attachment: what has to be done for it ([`compose`], [`remove`]), what was done ([`record`],
//! [`owner`]), whether it still holds ([`compare`]); and the short way from there into the kernel. Sets are not
//! looked at here: they must exist before, and outlive, the rules that use them.

pub mod compare;
pub mod compose;
mod order;
pub mod owner;
pub mod record;
pub mod remove;

use self::compare::{Difference, compare};
use self::compose::{ComposeError, Request, compose};
use self::owner::OwnerId;
use self::record::Record;
use self::remove::removal;
use crate::netlink::socket::NetlinkSocket;
use crate::nft::observe::{NftError, observe};
use crate::nft::transaction::CommitError;

/// How often a change is decided anew because somebody else was quicker.
const ATTEMPTS: u32 = 10;

/// Why the firewall is not in force, or not gone.
#[derive(Debug, thiserror::Error)]
pub enum FirewallError {
    /// What is there could not be read.
    #[error(transparent)]
    Observe(#[from] NftError),
    /// What is there excludes the plan.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// The kernel refused it.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// It was put in force, read back, and found to be different: somebody else changed it at once. It was taken
    /// out again.
    #[error("the firewall was changed by somebody else at once: {}", lines(.0))]
    NotInForce(Vec<Difference>),
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Puts `request` in force in the namespace of `socket`, all of it or nothing, and reads it back.
///
/// # Errors
/// See [`FirewallError`]; nothing was changed then, or not more than its variant says.
pub fn put_in_force(socket: &mut NetlinkSocket, request: &Request<'_>) -> Result<Record, FirewallError> {
    let mut attempts = 1..ATTEMPTS;
    let mut record = loop {
        let observed = observe(socket)?;
        let (changes, record) = compose(request, &observed)?;
        match changes.commit(socket, Some(observed.generation)) {
            Err(CommitError::Changed) if attempts.next().is_some() => {}
            result => break result.map(|()| record)?,
        }
    };
    let observed = observe(socket)?;
    record.read_back(&observed);
    let differences = compare(&record, &observed, request.siblings);
    if differences.is_empty() {
        return Ok(record);
    }
    take_out(socket, OwnerId::of(request.attachment), Some(&record), request.siblings)?;
    Err(FirewallError::NotInForce(differences))
}

/// Takes what an attachment has in force out of the namespace of `socket`; nothing there is success.
///
/// # Errors
/// [`FirewallError::Observe`] and [`FirewallError::Commit`]; nothing was changed then.
pub fn take_out(
    socket: &mut NetlinkSocket,
    owner: OwnerId,
    record: Option<&Record>,
    siblings: &[Record],
) -> Result<(), FirewallError> {
    let mut attempts = 1..ATTEMPTS;
    loop {
        let observed = observe(socket)?;
        let changes = removal(&observed, owner, record, siblings);
        match changes.commit(socket, Some(observed.generation)) {
            Err(CommitError::Changed) if attempts.next().is_some() => {}
            result => return Ok(result?),
        }
    }
}
