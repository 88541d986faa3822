//! What can be told of a configuration before its delegates have run: all is read and checked but what waits for
//! their result, so that a slip costs no interface.

use fwn_cni::error::CniError;
use fwn_kernel::firewall::apply::Connection;
use fwn_kernel::netns::available_families;
use fwn_plan::config::{ForEach, Section, Text};
use fwn_plan::decide::{Facts, decide};
use fwn_plan::resolve::Addresses;

use crate::add::foreign_sets;
use crate::call::Call;
use crate::failure::{Failure, unresolved};
use crate::gather::{gather_first, refusals};
use crate::resolver::resolve;

/// What the names of variables begin with whose values come from the result.
const OF_RESULT: &str = "RESULT_";

/// Reads and checks all that does not wait for the result of delegates, and resolves its names.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn look_ahead(
    call: &Call<'_>,
    environment: Vec<(String, String)>,
    connection: &mut Connection,
) -> Result<Addresses, CniError> {
    let Some(ruleset) = gather_first(call, environment)? else { return Ok(Addresses::new()) };
    let hosts = resolve(&ruleset.host_names(), &call.settings.resolver)
        .map_err(|error| unresolved(&ruleset, error))?;
    let sets = foreign_sets(&ruleset, connection)?;
    let facts = Facts { families: available_families(), hosts, sets };
    decide(&ruleset, &facts).map_err(Failure::Configuration)?;
    refusals(ruleset, call).finish(()).map_err(Failure::Configuration)?;
    Ok(facts.hosts)
}

/// Whether a text has a part that comes from the result.
pub(crate) fn waits(text: &Text) -> bool {
    text.value.contains(OF_RESULT)
}

/// A section without what waits for the result, and whether what is left stands by itself: rules, entries and policies
/// can be missed, but a set or chain may be what others name.
pub(crate) fn without_waiting(mut section: Section) -> (Section, bool) {
    let count = |section: &Section| section.sets.len() + section.chains.len();
    let before = count(&section);
    section.sets.retain(|set| {
        let mut texts = [&set.set, &set.hashtype].into_iter().chain(&set.file);
        !texts.any(waits) && !set.options.iter().any(|(_, text)| waits(text))
    });
    section.sets.iter_mut().for_each(|set| set.entries.retain(|entry| !waits(entry)));
    section.chains.retain(|chain| ![&chain.chain].into_iter().chain(&chain.table).any(waits));
    section
        .policies
        .retain(|policy| ![&policy.chain, &policy.policy].into_iter().chain(&policy.table).any(waits));
    section.rules.retain(|rule| {
        rule.for_each != Some(ForEach::Ips)
            && ![&rule.chain, &rule.rule].into_iter().chain(&rule.table).any(waits)
    });
    let whole = count(&section) == before;
    (section, whole)
}
