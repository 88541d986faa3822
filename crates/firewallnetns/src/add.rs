//! ADD: guard, read, decide, apply, register, hand the result on. The steps are elsewhere; their order is here.

use std::collections::BTreeMap;

use fwn_cni::delegation::{Delegated, Delegates};
use fwn_cni::error::CniError;
use fwn_cni::invocation::Invocation;
use fwn_cni::result::{AddResult, chained_result};
use fwn_kernel::firewall::apply::{ApplyRequest, Connection, apply};
use fwn_kernel::firewall::record::{Record, RecordedNetns};
use fwn_kernel::netns::{TargetNetns, available_families};
use fwn_plan::decide::{Facts, decide};
use fwn_plan::ipsetd::IpsetdSpec;
use fwn_plan::nearest::nearest;
use fwn_plan::netfilter::Family;
use fwn_plan::origin::Origin;
use fwn_plan::plan::Plan;
use fwn_plan::problem::{Problem, Problems};
use fwn_plan::resolve::Addresses;
use fwn_plan::ruleset::RuleSet;

use crate::ahead::look_ahead;
use crate::call::Call;
use crate::del::take_out_of;
use crate::failure::{Failure, unresolved};
use crate::gather::gather;
use crate::ipsetd::Registration;
use crate::resolver::resolve;
use crate::state::{State, StateRef};

/// Puts the firewall of an attachment in force, and gives the result to print. `environment` is the plugin's own.
///
/// # Errors
/// Anything; the namespace then holds what it held before, unless the firewall may be in force: then the state says so.
pub(crate) fn add(invocation: &Invocation, environment: Vec<(String, String)>) -> Result<String, CniError> {
    let call = Call::new(invocation)?;
    if call.settings.conf.delegates.is_empty() {
        return add_chained(&call, environment);
    }
    match call.delegates()? {
        Some(delegates) => add_delegating(&call, &delegates, environment),
        None => add_chained(&call, environment),
    }
}

/// After a plugin that made the interface.
fn add_chained(call: &Call<'_>, environment: Vec<(String, String)>) -> Result<String, CniError> {
    let output = chained_result(&call.invocation.conf)?;
    let result = call.previous_result()?;
    // the host guard comes before anything that costs or could be waited for
    let (target, connection) = call.open_netns()?;
    let before = Before { result: result.as_ref(), delegated: None, hosts: Addresses::new() };
    put_in_force(call, &target, connection, before, environment)?;
    Ok(output)
}

/// Where we have the interface made ourselves.
fn add_delegating(
    call: &Call<'_>,
    delegates: &Delegates<'_>,
    environment: Vec<(String, String)>,
) -> Result<String, CniError> {
    call.check_delegating()?;
    let (target, mut connection) = call.open_netns()?;
    call.refuse_twice(&target)?;
    let hosts = look_ahead(call, environment.clone(), &mut connection)?;
    delegates.locate()?;
    let made = delegates.add()?;
    let conf = &call.invocation.conf;
    let finish = || {
        let result = made.result()?;
        let output = made.result_in(conf.version)?;
        let before = Before { result: Some(&result), delegated: Some(&made), hosts };
        put_in_force(call, &target, connection, before, environment)?;
        Ok(output)
    };
    finish().map_err(|error: CniError| error.undone(delegates.del(Some(&made), conf)))
}

/// What was there before our own work.
struct Before<'a> {
    /// Result of the plugins that ran.
    result: Option<&'a AddResult>,
    /// What of it is ours to undo.
    delegated: Option<&'a Delegated>,
    /// Names that are resolved already.
    hosts: Addresses,
}

fn put_in_force(
    call: &Call<'_>,
    target: &TargetNetns,
    mut connection: Connection,
    before: Before<'_>,
    environment: Vec<(String, String)>,
) -> Result<(), CniError> {
    let mut ruleset = gather(call, before.result, environment)?;
    let mut hosts = before.hosts;
    let mut names = ruleset.host_names();
    names.retain(|name| !hosts.contains_key(name));
    hosts.extend(resolve(&names, &call.settings.resolver).map_err(|error| unresolved(&ruleset, error))?);

    let _lock = call.states.lock(target.id().inode).map_err(Failure::State)?;
    let sets = foreign_sets(&ruleset, &mut connection)?;
    let facts = Facts { families: available_families(), hosts, sets };
    let plan = decide(&ruleset, &facts).map_err(Failure::Configuration)?;
    let ipsetd = ruleset.ipsetd.take();
    // its memory is used again for what is made of the plan
    drop(ruleset);

    if let Some(spec) = &ipsetd {
        check_sets(spec, &plan, &mut connection)?;
    }
    if plan == Plan::default() {
        log::warn!("nothing is configured: the container stays open");
    }
    let netns = RecordedNetns::from(target.id());
    let previous = call.states.read(&call.attachment, &netns).map_err(Failure::State)?;
    let siblings = call.states.siblings(&call.attachment, &netns).map_err(Failure::State)?;
    // the daemon has to be there, and willing, before anything is changed
    let registration = ipsetd.as_ref().map(|spec| Registration::begin(call, spec, target)).transpose()?;
    let served = registration.as_ref().map(|registration| &registration.served);
    let request = ApplyRequest {
        plan: &plan,
        attachment: &call.attachment,
        engine: call.settings.engine,
        databases: &call.databases,
        previous: previous.as_ref().map(|state| &state.record),
        siblings: &siblings.into_iter().map(|state| state.record).collect::<Vec<_>>(),
    };
    let mut journal = |record: &Record| {
        let (netns_path, persist, delegated) = (target.path(), &call.persist, before.delegated);
        let state = StateRef { netns_path, persist, record, delegated, ipsetd: served };
        call.states.write(&state).map_err(std::io::Error::other)
    };
    let applied = apply(connection, &request, &mut journal);
    let record = match applied {
        Ok(record) => record,
        Err(error) => {
            if !error.may_be_in_force() {
                put_back_state(call, &netns, previous.as_ref());
            }
            return Err(Failure::Apply(error).into());
        }
    };
    if let Some(old) = previous.as_ref().and_then(|state| state.ipsetd.as_ref())
        && served.is_none_or(|new| new.socket != old.socket)
    {
        old.end(call, Some(netns));
    }
    if let Some(mut registration) = registration
        && let Err(failure) = registration.commit()
    {
        registration.served.end(call, Some(netns));
        take_back(call, target, previous.is_some(), &record);
        return Err(failure.into());
    }
    let rules: usize = plan.tables.iter().map(|half| half.rules.len()).sum();
    log::info!("{} sets and {rules} rules are in force", plan.sets.len());
    // the process ends in a moment: with ten thousand rules, to free them one by one takes 2 % of the time
    std::mem::forget((plan, record));
    Ok(())
}

/// Families of the sets that rules use without any section making them.
pub(crate) fn foreign_sets(
    ruleset: &RuleSet,
    connection: &mut Connection,
) -> Result<BTreeMap<String, Option<Family>>, CniError> {
    if ruleset.foreign_sets().is_empty() {
        return Ok(BTreeMap::new());
    }
    Ok(connection.set_families().map_err(Failure::Apply)?)
}

/// The sets that ipsetd may change are there, or will be.
fn check_sets(spec: &IpsetdSpec, plan: &Plan, connection: &mut Connection) -> Result<(), CniError> {
    let mut known: Vec<String> = plan.sets.iter().map(|set| set.name.clone()).collect();
    let missing = |known: &[String]| {
        let sets = spec.sets.iter().flatten();
        sets.filter(|(name, _)| !known.contains(name)).cloned().collect::<Vec<_>>()
    };
    if missing(&known).is_empty() {
        return Ok(());
    }
    known.extend(connection.set_families().map_err(Failure::Apply)?.into_keys());
    let problem = |(name, origin): (String, Origin)| {
        let problem = Problem::new(origin, format!("set `{name}` does not exist"));
        match nearest(&name, known.iter().map(String::as_str)) {
            Some(near) => problem.hint(format!("did you mean `{near}`?")),
            None => problem.hint("an element of `ipsets` makes it"),
        }
    };
    let problems = Problems(missing(&known).into_iter().map(problem).collect());
    Ok(problems.finish(()).map_err(Failure::Configuration)?)
}

/// After ipsetd has refused at last the namespace holds what it held before. Where this replaces an earlier ADD, the new
/// firewall stays in force, since taking it away would open the container.
fn take_back(call: &Call<'_>, target: &TargetNetns, replaces: bool, record: &Record) {
    if replaces {
        log::warn!("the firewall is in force, but nobody serves its sets");
        return;
    }
    let state = State {
        netns_path: target.path().to_owned(),
        persist: call.persist.clone(),
        record: record.clone(),
        delegated: None,
        ipsetd: None,
    };
    let taken = Connection::within(target)
        .map_err(Failure::Apply)
        .and_then(|connection| take_out_of(call, target, connection, Some(&state), &[]))
        .and_then(|()| call.states.remove(&call.attachment, &record.netns).map_err(Failure::State));
    if let Err(failure) = taken {
        log::error!("cannot take the firewall back, a DEL has to: {}", CniError::from(failure));
    }
}

/// After a failed ADD the namespace holds what it held before, and so does the state folder.
fn put_back_state(call: &Call<'_>, netns: &RecordedNetns, previous: Option<&State>) {
    let result = match previous {
        Some(state) => call.states.write(&state.into()),
        None => call.states.remove(&call.attachment, netns),
    };
    if let Err(error) = result {
        log::error!("cannot put the state back: {error}");
    }
}
