//! The one way from a plan to a namespace and back. Sets are made first, rules encoded, and one batch puts both
//! families in force; on the way back the rules go first. Whatever fails before the batch is taken back, and the
//! batch itself is all or nothing.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use fwn_plan::config::Engine;
use fwn_plan::netfilter::Family;
use fwn_plan::origin::Origin;
use fwn_plan::plan::{Attachment, Plan};
use fwn_plan::render::render_rule_op;
use fwn_plan::rule::databases::Databases;

use super::compare::compare;
use super::compose::Request;
use super::observed::{ObservedTable, Ruleset, observe};
use super::owner::OwnerId;
use super::record::{Record, RecordedNetns, RecordedSet};
use super::sets::{SetChanges, sweep};
use super::{FirewallError, announce, put_in_force, take_out};
use crate::encode::native::NativeContext;
use crate::encode::plan::{EncodePlanError, encode_plan};
use crate::encode::scratch_sets::make_scratch_sets;
use crate::ipset::{SetClient, SetError};
use crate::netlink::socket::{NetlinkSocket, Protocol, SocketError};
use crate::netns::{NetnsError, TargetNetns};

/// Sockets of a namespace, opened inside and used from outside.
#[derive(Debug)]
pub struct Connection {
    nft: NetlinkSocket,
    /// Opened with the other, asked only where there are sets: a kernel without ip_set still has rules.
    sets: Result<SetClient, SetError>,
    netns: RecordedNetns,
}

/// What to put in force.
pub struct ApplyRequest<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// Whose it is.
    pub attachment: &'a Attachment,
    /// Who encodes its rules.
    pub engine: Engine,
    /// Names for numbers.
    pub databases: &'a dyn Databases,
    /// What an earlier ADD of the same attachment left in this namespace.
    pub previous: Option<&'a Record>,
    /// What other attachments have in this namespace.
    pub siblings: &'a [Record],
}

/// Why a plan could not be put in force. The namespace holds what it held before, unless
/// [`ApplyError::may_be_in_force`].
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The namespace could not be entered.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// No netlink socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A set is there, and not ours.
    #[error("{origin}: set `{name}` exists already and belongs to someone else")]
    SetTaken {
        /// Where it was asked for.
        origin: Box<Origin>,
        /// Its name.
        name: String,
    },
    /// A set of ours is there with another type or family, and rules use it.
    #[error("{origin}: set `{name}` is in force as `{was}` and cannot become `{wanted}` before a DEL")]
    SetChanged {
        /// Where it was asked for.
        origin: Box<Origin>,
        /// Its name.
        name: String,
        /// Type and family in force.
        was: String,
        /// Type and family asked for.
        wanted: String,
    },
    /// The kernel refuses a set or one of its entries.
    #[error("{origin}: {source}")]
    Set {
        /// Where set or entry was asked for.
        origin: Box<Origin>,
        /// Why.
        source: SetError,
    },
    /// Sets could not be asked for.
    #[error(transparent)]
    Sets(#[from] SetError),
    /// Rules could not be encoded.
    #[error(transparent)]
    Encode(#[from] EncodePlanError),
    /// The rules could not be put in force or taken out.
    #[error(transparent)]
    Firewall(#[from] FirewallError),
}

impl ApplyError {
    /// Whether the plan is in force all the same, or may be: the record that was last written down holds.
    pub fn may_be_in_force(&self) -> bool {
        matches!(self, Self::Firewall(error) if error.may_be_in_force())
    }
}

impl Connection {
    /// Opens the namespace at `path`, if it may be changed, and the sockets inside it.
    ///
    /// # Errors
    /// [`ApplyError::Netns`], [`ApplyError::Socket`]
    pub fn open(path: &Path) -> Result<(TargetNetns, Self), ApplyError> {
        let sockets = || (NetlinkSocket::open(Protocol::Netfilter), SetClient::connect_here());
        let (target, (nft, sets)) = TargetNetns::enter_here(path, sockets)?;
        let netns = target.id().into();
        Ok((target, Self { nft: nft?, sets, netns }))
    }

    /// The same in a namespace that is open already.
    ///
    /// # Errors
    /// [`ApplyError::Netns`], [`ApplyError::Socket`]
    pub fn within(target: &TargetNetns) -> Result<Self, ApplyError> {
        let sockets = || (NetlinkSocket::open(Protocol::Netfilter), SetClient::connect_here());
        let (nft, sets) = target.run(sockets)?;
        Ok(Self { nft: nft?, sets, netns: target.id().into() })
    }

    /// Families of all sets in the namespace; `None` for types without one.
    ///
    /// # Errors
    /// [`ApplyError::Sets`]
    pub fn set_families(&mut self) -> Result<BTreeMap<String, Option<Family>>, ApplyError> {
        let headers = self.sets()?.list_headers()?;
        Ok(headers.into_iter().map(|header| (header.name, header.family)).collect())
    }

    /// The socket for nf_tables.
    pub(super) fn nft(&mut self) -> &mut NetlinkSocket {
        &mut self.nft
    }

    /// The socket for sets.
    ///
    /// # Errors
    /// The kernel has no ip_set.
    pub(super) fn sets(&mut self) -> Result<&mut SetClient, SetError> {
        if self.sets.is_err() {
            return match std::mem::replace(&mut self.sets, Err(SetError::NoIpset)) {
                Err(error) => Err(error),
                Ok(_) => Err(SetError::NoIpset),
            };
        }
        let client = self.sets.as_mut().map_err(|_| SetError::NoIpset)?;
        client.agree()?;
        Ok(client)
    }
}

/// Puts a plan in force and closes the connection. `journal` writes down what DEL will need: before the namespace is
/// changed what there may be, once it is in force what there is.
///
/// # Errors
/// See [`ApplyError`]: the namespace then holds what it held before, unless [`ApplyError::may_be_in_force`].
pub fn apply(
    mut connection: Connection,
    request: &ApplyRequest<'_>,
    journal: &mut dyn FnMut(&Record) -> io::Result<()>,
) -> Result<Record, ApplyError> {
    let mut sets = SetChanges::default();
    if !request.plan.sets.is_empty() || request.previous.is_some_and(|record| !record.sets.is_empty()) {
        sets = SetChanges::plan(connection.sets()?, &request.plan.sets, request.previous)?;
    }
    let recorded = sets.with_obsolete(request.previous);
    let compose = Request {
        attachment: request.attachment,
        netns: connection.netns,
        plan: request.plan,
        render: &|_, op| render_rule_op(op),
        sets: &recorded,
        previous: request.previous,
        siblings: request.siblings,
    };
    // sets carry no mark: what a kill leaves behind can only be known from here
    let announced = announce(&mut connection.nft, &compose, journal)?;
    if sets.is_empty() {
        return rules(&mut connection, request, &compose, announced, journal);
    }
    if let Err(error) = sets.make(connection.sets()?) {
        sets.undo(connection.sets()?);
        return Err(error);
    }
    let result = rules(&mut connection, request, &compose, announced, journal);
    connection.sets()?;
    let Connection { nft, sets: client, .. } = connection;
    let mut client = client?;
    match result {
        Ok(record) => {
            let obsolete = sets.has_obsolete();
            if obsolete {
                close_after_batch(nft);
            }
            let record = Record { sets: sets.finish(&mut client, request.previous), ..record };
            if obsolete && let Err(error) = journal(&record) {
                log::warn!("cannot write down that sets were removed: {error}");
            }
            Ok(record)
        }
        Err(error) => {
            close_after_batch(nft);
            if error.may_be_in_force() {
                sets.finish(&mut client, request.previous);
            } else {
                sets.undo(&mut client);
            }
            Err(error)
        }
    }
}

/// The kernel lets go of the sets when it destroys the rules, some time after the batch; closing the socket waits for
/// that (`nft_rcv_nl_event`, `net/netfilter/nf_tables_api.c`). For kernels where it does not always:
/// [`SetClient::destroy_released`].
fn close_after_batch(nft: NetlinkSocket) {
    drop(nft);
}

fn rules(
    connection: &mut Connection,
    request: &ApplyRequest<'_>,
    compose: &Request<'_>,
    announced: Ruleset,
    journal: &mut dyn FnMut(&Record) -> io::Result<()>,
) -> Result<Record, ApplyError> {
    let mut indexes = BTreeMap::new();
    for name in request.plan.used_sets() {
        // a set that vanished since the plan was made is refused by the encoder, with the rule that names it
        indexes.extend(connection.sets()?.index_of(name)?.map(|index| (name.to_owned(), index)));
    }
    let context =
        NativeContext { databases: request.databases, set_index: &|name| indexes.get(name).copied() };
    let prepare = || make_scratch_sets(&indexes).map_err(Into::into);
    let encoded = encode_plan(request.plan, request.engine, &context, &prepare)?;
    if encoded.by_iptables > 0 {
        log::info!("iptables encodes {} of the rules", encoded.by_iptables);
    }
    Ok(put_in_force(&mut connection.nft, compose, &encoded.tables, announced, journal)?)
}

/// What is to be done with the contents of a set before it is removed.
pub type Keep<'a> = &'a mut dyn FnMut(&str, &str) -> io::Result<()>;

/// Takes out of the namespace what an attachment has in force and closes the connection; nothing there is success.
/// `record` is what the state file says, `configured` the sets of the configuration, for where there is no state file.
/// `keep` is given name and contents (in `ipset save` form) of every set that is to be saved.
///
/// # Errors
/// [`ApplyError::Firewall`] where the rules could not be taken out; then the sets are still there too. A set that
/// cannot be saved or removed, because others use it, is left alone with a log line.
pub fn remove(
    mut connection: Connection,
    attachment: &Attachment,
    record: Option<&Record>,
    configured: &[RecordedSet],
    siblings: &[Record],
    keep: Keep<'_>,
) -> Result<(), ApplyError> {
    let owner = OwnerId::of(attachment);
    let sets = match record {
        Some(record) => record.sets.clone(),
        // only a successful ADD leaves rules, and it made all the sets of its configuration
        None if !configured.is_empty() && has_rules(&mut connection, owner)? => configured.to_vec(),
        None => Vec::new(),
    };
    take_out(&mut connection.nft, owner, record, siblings)?;
    if sets.is_empty() {
        return Ok(());
    }
    connection.sets()?;
    let Connection { nft, sets: client, .. } = connection;
    let mut client = client?;
    close_after_batch(nft);
    // a list:set lets go of its members by going first, a temporary one too
    sweep(&mut client);
    for set in sets.iter().rev().filter(|set| set.created) {
        remove_set(&mut client, set, keep);
    }
    Ok(())
}

fn remove_set(client: &mut SetClient, set: &RecordedSet, keep: Keep<'_>) {
    if set.persist {
        let saved = match client.save(&set.name) {
            Ok(Some(text)) => keep(&set.name, &text).map_err(|error| error.to_string()),
            Ok(None) => Ok(()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = saved {
            log::error!("set `{}` is left in place because it cannot be saved: {error}", set.name);
            return;
        }
    }
    match client.destroy_released(&set.name) {
        Err(error) if !error.is_missing() => log::warn!("cannot remove set `{}`: {error}", set.name),
        _ => {}
    }
}

fn has_rules(connection: &mut Connection, owner: OwnerId) -> Result<bool, ApplyError> {
    let observed = observe(&mut connection.nft).map_err(FirewallError::Observe)?;
    Ok(observed.tables.iter().flat_map(ObservedTable::rules).any(|rule| rule.is_of(owner)))
}

/// What of an attachment's firewall is missing, changed or in the way, a line each; empty if all is as ADD left it.
///
/// # Errors
/// The namespace could not be asked.
pub fn check(
    connection: &mut Connection,
    record: &Record,
    siblings: &[Record],
) -> Result<Vec<String>, ApplyError> {
    let observed = observe(&mut connection.nft).map_err(FirewallError::Observe)?;
    let differences = compare(record, &observed, siblings);
    let mut lines: Vec<String> = differences.iter().map(ToString::to_string).collect();
    if record.made_at == 0 {
        lines.push("its ADD ended before its rules were put in force".to_owned());
    } else if record.pending {
        lines.push("its ADD ended before it knew whether its rules are in force".to_owned());
    }
    for set in &record.sets {
        match connection.sets()?.kind_of(&set.name)? {
            None => lines.push(format!("set `{}` is missing", set.name)),
            Some((kind, _)) if kind.name() != set.kind => {
                lines.push(format!("set `{}` has type `{kind}`, and had `{}`", set.name, set.kind));
            }
            Some(_) => {}
        }
    }
    Ok(lines)
}
