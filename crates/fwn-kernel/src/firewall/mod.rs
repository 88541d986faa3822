//! The firewall of an attachment: what has to be done for it ([`mod@compose`], [`mod@remove`]), what was done ([`record`],
//! [`owner`]), whether it still holds ([`mod@compare`]); and the short way from there into the kernel. Sets are not
//! looked at here: they must exist before, and outlive, the rules that use them.

pub mod apply;
pub mod compare;
pub mod compose;
mod confirm;
pub mod observed;
mod order;
pub mod owner;
pub mod preview;
pub mod record;
pub mod remove;
mod sets;
pub mod view;

use self::compare::Difference;
use self::compose::{ComposeError, Request, compose, expect};
use self::confirm::{Answer, ask_back, came_to_be, confirm};
use self::observed::{Ruleset, observe};
use self::owner::OwnerId;
use self::record::Record;
use self::remove::removal;
use crate::netlink::socket::NetlinkSocket;
use crate::nft::EncodedRule;
use crate::nft::observe::{NftError, next_generation};
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
    #[error("cannot write down what is, or will be, in force")]
    Journal(#[source] std::io::Error),
    /// The batch went through, what followed did not, and the rules could not, or must not, be taken out again.
    #[error("the firewall is in force, but {source}", source = .0)]
    Unconfirmed(#[source] Box<FirewallError>),
    /// The answer to the batch was lost, and what is there tells neither that it came to be nor that it did not.
    #[error("it is not known whether the firewall is in force")]
    Unknown(#[source] CommitError),
    /// It was put in force, looked at, and found to be different: somebody else changed it at once.
    #[error("the firewall was changed by somebody else at once: {}", lines(.0))]
    NotInForce(Vec<Difference>),
}

impl FirewallError {
    /// Whether the firewall is in force all the same, or may be: the record that was last written down holds.
    pub fn may_be_in_force(&self) -> bool {
        matches!(self, Self::Unconfirmed(_) | Self::Unknown(_))
    }
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Writes down what DEL and CHECK will need.
pub type Journal<'a> = &'a mut dyn FnMut(&Record) -> std::io::Result<()>;

/// Looks at what is there, and tells `journal` what there may be from now on until the rules of `request` are in force.
/// Nothing of it may be made before.
///
/// # Errors
/// [`FirewallError::Observe`], [`FirewallError::Compose`], [`FirewallError::Journal`]
pub fn announce(
    socket: &mut NetlinkSocket,
    request: &Request<'_>,
    journal: Journal<'_>,
) -> Result<Ruleset, FirewallError> {
    let observed = observe(socket)?;
    let intent = expect(request, &observed)?.intent(request.previous, &observed);
    journal(&intent).map_err(FirewallError::Journal)?;
    Ok(observed)
}

/// Puts `request` in force in the namespace of `socket`, all of it or nothing, and makes sure of it. `encoded` has a rule
/// for each of the plan, `announced` is what [`announce`] saw. The record goes to `journal` once what the kernel made of
/// the rules is known.
///
/// # Errors
/// See [`FirewallError`]; the namespace holds what it held before, unless [`FirewallError::may_be_in_force`]: where this
/// replaces an earlier ADD and fails only after the batch, the new rules stay in force, since taking them away would
/// open the container.
pub fn put_in_force(
    socket: &mut NetlinkSocket,
    request: &Request<'_>,
    encoded: &[Vec<EncodedRule>],
    announced: Ruleset,
    journal: Journal<'_>,
) -> Result<Record, FirewallError> {
    let mut attempts = 1..ATTEMPTS;
    let mut observed = announced;
    let (mut record, generation, answered) = loop {
        let (mut changes, mut record) = compose(request, encoded, &observed)?;
        let asked = ask_back(&mut changes);
        match changes.commit(socket, Some(observed.generation)) {
            Err(CommitError::Changed) if attempts.next().is_some() => {}
            Err(error @ CommitError::Unknown(_)) => match came_to_be(socket, request, &observed, &record) {
                Ok(Some(true)) => break (record, next_generation(observed.generation), false),
                // the reason is heard then
                Ok(Some(false)) if attempts.next().is_some() => {}
                Ok(Some(false)) => return Err(error.into()),
                Ok(None) | Err(_) => return Err(FirewallError::Unknown(error)),
            },
            Err(error) => return Err(error.into()),
            Ok(_) if changes.is_empty() => break (record, observed.generation, false),
            Ok(echoes) => {
                let answer = Answer { changes: &changes, echoes: &echoes, observed: &observed };
                let answered = asked && answer.complete(&mut record);
                break (record, next_generation(observed.generation), answered);
            }
        }
        observed = announce(socket, request, journal)?;
    };
    let confirmed = confirm(socket, generation, answered, &mut record, request.siblings, journal);
    let Err(error) = confirmed else { return Ok(record) };
    let owner = OwnerId::of(request.attachment);
    match request.previous {
        None if take_out(socket, owner, Some(&record), request.siblings).is_ok() => Err(error),
        _ => Err(FirewallError::Unconfirmed(Box::new(error))),
    }
}

/// Takes what an attachment has in force out of the namespace of `socket`; nothing there is success.
///
/// # Errors
/// [`FirewallError::Observe`] and [`FirewallError::Commit`]; nothing was changed then, or it is not known whether.
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
            Err(error) => return Err(error.into()),
            Ok(_) => return Ok(()),
        }
    }
}
