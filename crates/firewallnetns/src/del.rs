//! DEL: takes out what ADD put in, as far as it is there. A missing namespace, file or state is success; only the
//! host's namespace is an error.

use fwn_cni::error::CniError;
use fwn_cni::invocation::Invocation;
use fwn_kernel::firewall::apply::{ApplyError, Connection, remove};
use fwn_kernel::firewall::record::{Record, RecordedNetns, RecordedSet};
use fwn_kernel::netns::{NetnsError, TargetNetns};

use crate::call::Call;
use crate::failure::Failure;
use crate::gather::gather_partly;
use crate::ipsetd;
use crate::state::State;

/// Removes the firewall of an attachment. `environment` is the plugin's own.
///
/// # Errors
/// The namespace is the host's, or what is in it could not be taken out.
pub(crate) fn del(invocation: &Invocation, environment: Vec<(String, String)>) -> Result<(), CniError> {
    let call = Call::lenient(invocation);
    match invocation.netns.as_deref().map(Connection::open) {
        None => forget(&call, |_| false),
        Some(Err(ApplyError::Netns(NetnsError::Missing(path)))) => {
            log::debug!("the namespace is gone, and its firewall with it");
            forget(&call, |state| state.netns_path != path && is_there(state))
        }
        Some(Err(error)) => Err(Failure::Apply(error).into()),
        Some(Ok((target, connection))) => take_out(&call, &target, connection, environment),
    }
}

/// Whether the namespace of a state is still where it was: a late DEL for one that is gone must not forget what a
/// later ADD of the same attachment put in force in another, nor give its addresses back.
fn is_there(state: &State) -> bool {
    TargetNetns::open(&state.netns_path)
        .is_ok_and(|target| RecordedNetns::from(target.id()) == state.record.netns)
}

/// Without a namespace: what delegates hold outside of it is given back, and all states but those to `keep` go. None of
/// what goes is served any longer.
fn forget(call: &Call<'_>, keep: impl Fn(&State) -> bool) -> Result<(), CniError> {
    let states = call.states.everywhere(&call.attachment).map_err(Failure::State)?;
    for state in states.iter().filter(|state| !keep(state)) {
        if let Some(served) = &state.ipsetd {
            served.end(call, Some(state.record.netns));
        }
    }
    if !states.iter().any(&keep) {
        call.undelegate(states.first())?;
    }
    Ok(call.states.remove_everywhere(&call.attachment, keep).map_err(Failure::State)?)
}

fn take_out(
    call: &Call<'_>,
    target: &TargetNetns,
    connection: Connection,
    environment: Vec<(String, String)>,
) -> Result<(), CniError> {
    let lock = call.states.lock(target.id().inode).map_err(Failure::State)?;
    let netns = RecordedNetns::from(target.id());
    call.states.sweep(&netns).map_err(Failure::State)?;
    // a damaged state file is as good as none: the marks in the kernel tell the rest
    let state = call.states.read(&call.attachment, &netns).unwrap_or_else(|error| {
        log::warn!("{error}");
        None
    });
    // nobody changes what is being removed, and no socket of the daemon keeps the namespace from going
    match &state {
        Some(State { ipsetd: Some(served), .. }) => served.end(call, Some(netns)),
        Some(_) => {}
        None => ipsetd::end_unknown(call, Some(netns)),
    }
    let configured = match &state {
        Some(_) => Vec::new(),
        None => configured_sets(call, environment),
    };
    let taken = take_out_of(call, target, connection, state.as_ref(), &configured);
    // under the lock: what is there when it is given up is for the next call to judge
    let left = match taken {
        Ok(()) => leave_to_delegates(call, &netns, state.as_ref())?,
        Err(_) => None,
    };
    // delegates may take their time, and may be of our kind
    drop(lock);
    let errors = [taken.err().map(CniError::from), call.undelegate(state.as_ref()).err()];
    match (CniError::join(errors.into_iter().flatten().collect()), left) {
        (Some(error), _) => Err(error),
        (None, Some(left)) => Ok(call.states.remove_unchanged(&left).map_err(Failure::State)?),
        (None, None) => Ok(()),
    }
}

/// Removes the state of a firewall that was taken out, in a namespace that is still locked. Where delegates made
/// something that is left, it stays without the firewall, and is given back: should a delegate fail, another DEL will
/// find all that it needs.
pub(crate) fn leave_to_delegates(
    call: &Call<'_>,
    netns: &RecordedNetns,
    state: Option<&State>,
) -> Result<Option<State>, Failure> {
    let Some(state @ State { delegated: Some(_), .. }) = state else {
        call.states.remove(&call.attachment, netns).map_err(Failure::State)?;
        return Ok(None);
    };
    let left = State { record: Record::empty(&call.attachment, *netns), ..state.clone() };
    call.states.write(&(&left).into()).map_err(Failure::State)?;
    Ok(Some(left))
}

/// Takes the firewall of the call's attachment out of a namespace that is locked.
pub(crate) fn take_out_of(
    call: &Call<'_>,
    target: &TargetNetns,
    connection: Connection,
    state: Option<&State>,
    configured: &[RecordedSet],
) -> Result<(), Failure> {
    let netns = RecordedNetns::from(target.id());
    let record = state.map(|state| &state.record);
    let mut siblings = Vec::new();
    let found = call.states.each_sibling(&call.attachment, &netns);
    for sibling in found.unwrap_or_else(|error| vec![Err(error)]) {
        match sibling {
            Ok(sibling) => siblings.push(sibling.record),
            Err(error) => {
                log::warn!("{error}");
                siblings.extend(record.map(as_of_another));
            }
        }
    }
    let persist = state.map_or(&call.persist, |state| &state.persist);
    let mut keep = |name: &str, contents: &str| persist.save(name, contents);
    remove(connection, &call.attachment, record, configured, &siblings, &mut keep).map_err(Failure::Apply)
}

/// What an attachment whose state cannot be read may hold: every chain and policy of ours, or DEL would open it.
fn as_of_another(record: &Record) -> Record {
    let mut other = record.clone();
    other.attachment.interface.clear();
    other.sets.clear();
    other.tables.iter_mut().for_each(|table| table.rules.clear());
    other
}

/// The sets that the configuration asks for, as far as it can be read, where no state file tells what was made.
fn configured_sets(call: &Call<'_>, environment: Vec<(String, String)>) -> Vec<RecordedSet> {
    let result = call.previous_result().unwrap_or_default();
    let ruleset = match gather_partly(call, result.as_ref(), environment) {
        Ok((ruleset, problems)) => {
            if !problems.0.is_empty() {
                log::warn!("no state file, and the configuration is wrong: {problems}");
            }
            ruleset
        }
        Err(error) => {
            log::warn!("no state file, and a saved set cannot be read: {}", CniError::from(error));
            return Vec::new();
        }
    };
    ruleset
        .sets
        .iter()
        .map(|set| RecordedSet {
            name: set.name().to_owned(),
            kind: set.kind().name().to_owned(),
            created: true,
            persist: set.persist(),
        })
        .collect()
}
