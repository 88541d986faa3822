//! The sets of a plan: which are made, which are ours already and made anew behind the same name, and the way back
//! from every step.

use fwn_plan::set::SetSpec;

use super::apply::ApplyError;
use super::record::{Record, RecordedSet};
use crate::ipset::{SetClient, SetError, SetHeader, while_listed};

/// A set that is being made anew while rules use the old one; it lives for microseconds, but where somebody lists that one.
const TEMPORARY: &str = "fwn-new-";

/// To ask for so many sets one by one is quicker than to list all.
const FEW: usize = 4;

/// What is to be done with the sets of a plan, and what has been done.
#[derive(Debug, Default)]
pub(super) struct SetChanges<'a> {
    steps: Vec<Step<'a>>,
    /// Sets of the earlier ADD that the plan has no more.
    obsolete: Vec<String>,
    done: Vec<Done>,
}

/// One set of the plan.
#[derive(Debug)]
enum Step<'a> {
    /// There is none of that name.
    Make(&'a SetSpec),
    /// It is ours: what it holds is kept, what the plan says is added.
    Renew(&'a SetSpec),
}

/// A step that can be taken back.
#[derive(Debug)]
enum Done {
    Made(String),
    /// The temporary set has the old contents.
    Swapped {
        name: String,
        temporary: String,
    },
}

impl<'a> SetChanges<'a> {
    /// Compares the sets of a plan with those in the namespace.
    ///
    /// # Errors
    /// [`ApplyError::SetTaken`], [`ApplyError::SetChanged`]; the sets could not be listed.
    pub(super) fn plan(
        client: &mut SetClient,
        wanted: &'a [SetSpec],
        previous: Option<&Record>,
    ) -> Result<Self, ApplyError> {
        let ours = |name: &str| {
            previous.is_some_and(|record| record.sets.iter().any(|set| set.name == name && set.created))
        };
        let had = previous.map(|record| record.sets.as_slice()).unwrap_or_default();
        let mut changes = Self::default();
        if previous.is_none() && wanted.len() <= FEW {
            // nothing that is there is ours, not even a temporary set
            for spec in wanted {
                if client.exists(&spec.name)? {
                    return Err(taken(spec));
                }
                changes.steps.push(Step::Make(spec));
            }
            return Ok(changes);
        }
        let there = client.list_headers()?;
        remove_temporary(client, &there);
        let find = |name: &str| there.iter().find(|header| header.name == name);
        for spec in wanted {
            changes.steps.push(match find(&spec.name) {
                None => Step::Make(spec),
                Some(header) if ours(&spec.name) => renew(spec, header)?,
                Some(_) => return Err(taken(spec)),
            });
        }
        let obsolete = |set: &&RecordedSet| set.created && !wanted.iter().any(|spec| spec.name == set.name);
        changes.obsolete = had.iter().filter(obsolete).map(|set| set.name.clone()).collect();
        Ok(changes)
    }

    /// What the state file is to say of the sets.
    pub(super) fn recorded(&self) -> Vec<RecordedSet> {
        self.steps
            .iter()
            .map(|step| {
                let (Step::Make(spec) | Step::Renew(spec)) = step;
                RecordedSet {
                    name: spec.name.clone(),
                    kind: spec.kind.name().to_owned(),
                    created: true,
                    persist: spec.persist,
                }
            })
            .collect()
    }

    /// Whether there is nothing to do, or to take back.
    pub(super) fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.obsolete.is_empty()
    }

    /// Whether sets are to go that rules of an earlier ADD used.
    pub(super) fn has_obsolete(&self) -> bool {
        !self.obsolete.is_empty()
    }

    /// All that a DEL may find until [`SetChanges::finish`].
    pub(super) fn with_obsolete(&self, previous: Option<&Record>) -> Vec<RecordedSet> {
        let had = previous.iter().flat_map(|record| &record.sets);
        let obsolete = had.filter(|set| self.obsolete.contains(&set.name)).cloned();
        self.recorded().into_iter().chain(obsolete).collect()
    }

    /// Makes and fills all sets.
    ///
    /// # Errors
    /// The kernel refused one; [`SetChanges::undo`] takes back what was done.
    pub(super) fn make(&mut self, client: &mut SetClient) -> Result<(), ApplyError> {
        for (number, step) in self.steps.iter().enumerate() {
            match step {
                Step::Make(spec) => {
                    create(client, spec, &spec.name)?;
                    self.done.push(Done::Made(spec.name.clone()));
                    fill(client, spec, &spec.name)?;
                }
                Step::Renew(spec) => {
                    let temporary = format!("{TEMPORARY}{number}");
                    create(client, spec, &temporary)?;
                    self.done.push(Done::Made(temporary.clone()));
                    fill_and_swap(client, spec, &temporary)?;
                    self.done.push(Done::Swapped { name: spec.name.clone(), temporary });
                }
            }
        }
        Ok(())
    }

    /// Takes back all that [`SetChanges::make`] did, the last first.
    pub(super) fn undo(&mut self, client: &mut SetClient) {
        // what is behind a set that could not be swapped back is all that is left of the old one
        let mut kept = Vec::new();
        for done in std::mem::take(&mut self.done).into_iter().rev() {
            let result = match &done {
                Done::Made(name) if kept.contains(name) => Ok(()),
                Done::Made(name) => client.destroy_released(name),
                Done::Swapped { name, temporary } => {
                    client.swap_released(name, temporary).inspect_err(|_| kept.push(temporary.clone()))
                }
            };
            if let Err(error) = result {
                log::error!("cannot take back {done:?}: {error}");
            }
        }
    }

    /// Removes what only the old rules needed. Gives what the state file is to say then: also of those that could not
    /// be removed because somebody else uses them.
    pub(super) fn finish(&mut self, client: &mut SetClient, previous: Option<&Record>) -> Vec<RecordedSet> {
        let temporary = std::mem::take(&mut self.done).into_iter().filter_map(|done| match done {
            Done::Swapped { temporary, .. } => Some(temporary),
            Done::Made(_) => None,
        });
        let mut left = self.recorded();
        for name in temporary.chain(std::mem::take(&mut self.obsolete)) {
            if let Err(error) = client.destroy_released(&name)
                && !error.is_missing()
            {
                log::warn!("cannot remove set `{name}`: {error}");
                left.extend(
                    previous.iter().flat_map(|record| &record.sets).find(|set| set.name == name).cloned(),
                );
            }
        }
        left
    }
}

fn taken(spec: &SetSpec) -> ApplyError {
    ApplyError::SetTaken { origin: spec.origin.clone().into(), name: spec.name.clone() }
}

/// A set that rules use can be exchanged only for one of the same type and family.
fn renew<'a>(spec: &'a SetSpec, header: &SetHeader) -> Result<Step<'a>, ApplyError> {
    let same = header.kind == spec.kind && header.family == spec.family;
    if same {
        return Ok(Step::Renew(spec));
    }
    let family = |family: Option<_>| family.map(|family| format!(" {family}")).unwrap_or_default();
    Err(ApplyError::SetChanged {
        origin: spec.origin.clone().into(),
        name: spec.name.clone(),
        was: format!("{}{}", header.kind.name(), family(header.family)),
        wanted: format!("{}{}", spec.kind.name(), family(spec.family)),
    })
}

fn create(client: &mut SetClient, spec: &SetSpec, name: &str) -> Result<(), ApplyError> {
    client
        .create_as(name, spec.kind, spec.family, &spec.options)
        .map_err(|source| ApplyError::Set { origin: spec.origin.clone().into(), source })
}

/// Fills a temporary set, and puts it in the place of the one that is there. While somebody lists that one, it is tried
/// anew from the beginning: what comes in meanwhile is not lost.
fn fill_and_swap(client: &mut SetClient, spec: &SetSpec, temporary: &str) -> Result<(), ApplyError> {
    let attempt = || {
        client.flush(temporary)?;
        // what came in while the container ran is kept
        if let Some(kept) = client.list(&spec.name)? {
            client.fill(temporary, spec.kind, &kept.entries, true)?;
        }
        fill(client, spec, temporary)?;
        Ok(client.swap(&spec.name, temporary)?)
    };
    while_listed(attempt, |error| matches!(error, ApplyError::Sets(error) if error.is_busy()))
}

/// An entry that comes twice is fine, the last counts: two names can have one address, and what was saved can be what
/// is configured.
fn fill(client: &mut SetClient, spec: &SetSpec, name: &str) -> Result<(), ApplyError> {
    client.fill(name, spec.kind, spec.entries.iter().map(|entry| &entry.entry), true).map_err(|source| {
        let entry = match &source {
            SetError::Entry { index, .. } => spec.entries.get(*index),
            _ => None,
        };
        let origin = entry.map_or_else(|| spec.origin.clone(), |entry| entry.origin.clone());
        ApplyError::Set { origin: origin.into(), source }
    })
}

/// Removes temporary sets that a killed call left behind. The namespace is locked, so nobody is at work on them.
pub(super) fn sweep(client: &mut SetClient) {
    if let Ok(there) = client.list_headers() {
        remove_temporary(client, &there);
    }
}

fn remove_temporary(client: &mut SetClient, there: &[SetHeader]) {
    for header in there.iter().filter(|header| header.name.starts_with(TEMPORARY)) {
        if let Err(error) = client.destroy(&header.name) {
            log::warn!("cannot remove set `{}`: {error}", header.name);
        }
    }
}
