//! The firewall of an attachment: what has to be done for it ([`mod@compose`], [`mod@remove`]), what was done ([`record`],
//! [`owner`]), whether it still holds ([`mod@compare`]); and the short way from there into the kernel. Sets are not
//! looked at here: they must exist before, and outlive, the rules that use them.

pub mod apply;
pub mod compare;
pub mod compose;
pub mod observed;
mod order;
pub mod owner;
pub mod preview;
pub mod record;
pub mod remove;
mod sets;
pub mod view;

use self::compare::{Difference, compare};
use self::compose::{ComposeError, Request, compose};
use self::observed::observe;
use self::owner::OwnerId;
use self::record::Record;
use self::remove::removal;
use crate::netlink::socket::NetlinkSocket;
use crate::nft::observe::NftError;
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
    /// What DEL will need could not be written down.
    #[error("cannot write down what is in force")]
    Journal(#[source] std::io::Error),
    /// The batch went through, what followed did not, and the rules could not, or must not, be taken out again.
    #[error("the firewall is in force, but {source}", source = .0)]
    Unconfirmed(#[source] Box<FirewallError>),
    /// It was put in force, read back, and found to be different: somebody else changed it at once.
    #[error("the firewall was changed by somebody else at once: {}", lines(.0))]
    NotInForce(Vec<Difference>),
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Writes down what DEL and CHECK will need.
pub type Journal<'a> = &'a mut dyn FnMut(&Record) -> std::io::Result<()>;

/// Puts `request` in force in the namespace of `socket`, all of it or nothing, and reads it back. The record goes to
/// `journal` before the namespace is changed, without the rules, and whole once what the kernel made of them is known.
///
/// # Errors
/// See [`FirewallError`]; the namespace holds what it held before. [`FirewallError::Unconfirmed`] differs: where this
/// replaces an earlier ADD and fails only after the batch, the new rules stay in force, since taking them away would
/// open the container.
pub fn put_in_force(
    socket: &mut NetlinkSocket,
    request: &Request<'_>,
    journal: Journal<'_>,
) -> Result<Record, FirewallError> {
    let mut attempts = 1..ATTEMPTS;
    let mut record = loop {
        let observed = observe(socket)?;
        let (changes, record) = compose(request, &observed)?;
        journal(&record.intent(request.previous)).map_err(FirewallError::Journal)?;
        match changes.commit(socket, Some(observed.generation)) {
            Err(CommitError::Changed) if attempts.next().is_some() => {}
            result => break result.map(|()| record)?,
        }
    };
    let Err(error) = confirm(socket, &mut record, request.siblings, journal) else { return Ok(record) };
    let owner = OwnerId::of(request.attachment);
    match request.previous {
        None if take_out(socket, owner, Some(&record), request.siblings).is_ok() => Err(error),
        _ => Err(FirewallError::Unconfirmed(Box::new(error))),
    }
}

fn confirm(
    socket: &mut NetlinkSocket,
    record: &mut Record,
    siblings: &[Record],
    journal: Journal<'_>,
) -> Result<(), FirewallError> {
    let observed = observe(socket)?;
    record.read_back(&observed);
    let differences = compare(record, &observed, siblings);
    if differences.is_empty() {
        return journal(record).map_err(FirewallError::Journal);
    }
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
