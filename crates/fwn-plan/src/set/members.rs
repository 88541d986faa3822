//! Sets that hold other sets: all sets of a plan come in, the same in an order in which they can be made come out,
//! every `list:set` behind what it holds. That its members exist, and can be members, is checked here.

use std::collections::BTreeSet;

use super::SetSpec;
use super::entry::{Element, Entry, ListPlace};
use super::kind::SetKind;
use crate::nearest::nearest;
use crate::origin::Origin;
use crate::problem::{Problem, Problems};

/// Puts every list behind its members. `foreign` are the names of sets that are there already; members that are in
/// `left_out`, the names of sets that are not made because the namespace lacks their family, are left out of their
/// lists.
///
/// # Errors
/// Members that do not exist, or that are lists themselves (`list_set_uadd`, `net/netfilter/ipset/ip_set_list_set.c`:
/// a list holds no list); places beside a set that does not stand in the list.
pub fn arrange_sets(
    sets: Vec<SetSpec>,
    left_out: &BTreeSet<&str>,
    foreign: &BTreeSet<&str>,
) -> Result<Vec<SetSpec>, Problems> {
    let mut problems = Problems::default();
    let (mut lists, mut arranged): (Vec<_>, Vec<_>) =
        sets.into_iter().partition(|set| set.kind == SetKind::ListSet);
    let names = |sets: &[SetSpec]| sets.iter().map(|set| set.name.clone()).collect::<BTreeSet<_>>();
    let (plain, listing) = (names(&arranged), names(&lists));
    for list in &mut lists {
        let mut members: Vec<String> = Vec::new();
        let mut kept = Vec::with_capacity(list.entries.len());
        for mut entry in std::mem::take(&mut list.entries) {
            let Some(Element::Set { name, place }) = entry.entry.elements.first_mut() else { continue };
            if left_out.contains(name.as_str()) {
                continue;
            }
            if listing.contains(name.as_str()) {
                let message = format!("set `{name}` is a `list:set`, and a list cannot hold another");
                let problem = Problem::new(entry.origin.clone(), message);
                problems.push(problem.hint("name the sets that it holds"));
            } else if !plain.contains(name.as_str()) && !foreign.contains(name.as_str()) {
                let known = plain.iter().map(String::as_str).chain(foreign.iter().copied());
                problems.push(no_such_set(entry.origin.clone(), name, known));
            }
            let name = name.clone();
            if let Some(ListPlace::Before(other) | ListPlace::After(other)) = place {
                if left_out.contains(other.as_str()) {
                    *place = None;
                } else if !members.contains(other) {
                    let message = format!("`{other}` does not stand in the list before this entry");
                    problems.push(Problem::new(entry.origin.clone(), message));
                }
            }
            members.push(name);
            kept.push(entry);
        }
        list.entries = kept;
    }
    arranged.append(&mut lists);
    problems.finish(arranged)
}

/// The problem of a set that is neither made nor there, with the nearest that is.
pub(crate) fn no_such_set<'a>(
    origin: Origin,
    name: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Problem {
    let problem = Problem::new(origin, format!("set `{name}` does not exist"));
    match nearest(name, known) {
        Some(near) => problem.hint(format!("did you mean `{near}`?")),
        None => problem.hint("an element of `ipsets` makes it"),
    }
}

/// The sets that an entry names.
pub(super) fn named(entry: &Entry) -> impl Iterator<Item = &str> {
    entry.elements.iter().flat_map(|element| match element {
        Element::Set { name, place } => {
            let other = place.as_ref().map(|place| match place {
                ListPlace::Before(other) | ListPlace::After(other) => other.as_str(),
            });
            [Some(name.as_str()), other].into_iter().flatten()
        }
        _ => [None, None].into_iter().flatten(),
    })
}
