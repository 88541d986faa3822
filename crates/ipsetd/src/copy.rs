//! All or nothing: changes are made to copies of the sets, which then take their places. A packet sees a set as it
//! was or as it has become, rules that use it stay, and what is refused was never seen by any.
//!
//! Between copying and swapping nobody else should change the set: such a change would be lost. A set is not locked
//! against others by anything that the kernel has.

use std::hash::{BuildHasher, Hasher, RandomState};

use fwn_kernel::ipset::message::Command;
use fwn_kernel::ipset::{SetClient, SetError};
use fwn_node::causes::with_causes;
use fwn_plan::set::{Entry, SetKind};

use crate::executor::BatchError;

/// What the names of copies begin with.
const PREFIX: &str = ".ipsetd-";

/// Most entries of a set that is copied: all of them are in memory at once, and everybody waits meanwhile.
const ENTRIES_MAX: u32 = 1 << 18;

/// One step of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    /// An entry in or out.
    Change { set: &'a str, delete: bool, exist: bool, entry: Entry },
    /// All entries out.
    Flush { set: &'a str },
}

impl Operation<'_> {
    fn set(&self) -> &str {
        match self {
            Self::Change { set, .. } | Self::Flush { set } => set,
        }
    }
}

/// A copy that is to take the place of `set`.
struct Copy<'a> {
    set: &'a str,
    name: String,
}

/// Destroys copies that nobody uses any more.
///
/// # Errors
/// The kernel cannot be asked for its sets.
pub(crate) fn destroy_leftovers(client: &mut SetClient) -> Result<(), SetError> {
    for header in client.list_headers()? {
        if header.name.starts_with(PREFIX) && header.references == 0 {
            log::warn!("set `{}` was left behind by a daemon that was killed: destroyed", header.name);
            client.destroy(&header.name)?;
        }
    }
    Ok(())
}

/// Carries out all operations, or none.
///
/// # Errors
/// The first operation that is refused.
pub(crate) fn commit(client: &mut SetClient, operations: &[Operation<'_>]) -> Result<(), BatchError> {
    let mut sets: Vec<&str> = Vec::new();
    for operation in operations {
        if !sets.contains(&operation.set()) {
            sets.push(operation.set());
        }
    }
    let mut copies = Vec::new();
    let done = sets
        .iter()
        .try_for_each(|set| {
            let name = format!("{PREFIX}{:016x}", RandomState::new().build_hasher().finish());
            // noted before it is there: it is destroyed whatever becomes of it
            copies.push(Copy { set, name: name.clone() });
            build(client, set, &name, operations)
        })
        .and_then(|()| swap(client, &copies));
    for copy in &copies {
        match client.destroy(&copy.name) {
            Err(error) if !error.is_missing() => log::warn!("{}", with_causes(&error)),
            _ => {}
        }
    }
    done
}

/// Makes a copy of one set as it will be.
fn build(
    client: &mut SetClient,
    set: &str,
    name: &str,
    operations: &[Operation<'_>],
) -> Result<(), BatchError> {
    let mut own = operations.iter().enumerate().filter(|(_, operation)| operation.set() == set).peekable();
    let first = own.peek().map(|(index, _)| *index);
    let general = |error: SetError| BatchError { index: first, message: with_causes(&error) };
    let from_nothing = matches!(own.peek(), Some((_, Operation::Flush { .. })));

    let refuse = |message| BatchError { index: first, message };
    let missing = || refuse(format!("set `{set}` does not exist"));
    let header = client.header(set).map_err(general)?.ok_or_else(missing)?;
    let (header, entries) = if from_nothing {
        (header, Vec::new())
    } else {
        let count = header.elements.unwrap_or(0);
        if count > ENTRIES_MAX {
            return Err(refuse(format!(
                "set `{set}` has {count} entries, and one of more than {ENTRIES_MAX} is not copied; hint: lines of one \
                 entry, outside of a batch, copy nothing"
            )));
        }
        let listed = client.list(set).map_err(general)?.ok_or_else(missing)?;
        (listed.header, listed.entries)
    };
    let kind = header.kind;
    client.create_as(name, kind, header.family, &header.options).map_err(general)?;
    client.fill(name, kind, &entries, true).map_err(general)?;
    drop(entries);

    while let Some((index, operation)) = own.next() {
        match operation {
            Operation::Flush { .. } => client.flush(name).map_err(general)?,
            Operation::Change { delete, exist, entry, .. } => {
                let mut run = Run { indexes: vec![index], entries: vec![entry.clone()] };
                let alike = |operation: &Operation<'_>| matches!(operation, Operation::Change { delete: d, exist: e, .. } if (d, e) == (delete, exist));
                while let Some((index, Operation::Change { entry, .. })) =
                    own.next_if(|(_, operation)| alike(operation))
                {
                    run.indexes.push(index);
                    run.entries.push(entry.clone());
                }
                run.apply(
                    client,
                    if *delete { Command::Delete } else { Command::Add },
                    set,
                    name,
                    kind,
                    *exist,
                )?;
            }
        }
    }
    Ok(())
}

/// Changes of one set that differ in their entries only.
struct Run {
    indexes: Vec<usize>,
    entries: Vec<Entry>,
}

impl Run {
    fn apply(
        &self,
        client: &mut SetClient,
        command: Command,
        set: &str,
        name: &str,
        kind: SetKind,
        exist: bool,
    ) -> Result<(), BatchError> {
        let outcomes = client.change_each(command, name, kind, &self.entries, exist);
        let refused = outcomes.refused.into_iter().next();
        let first = match refused {
            Some(error) => Some((error.entry_index().unwrap_or_default(), error)),
            None => outcomes.stopped,
        };
        match first {
            None => Ok(()),
            Some((at, error)) => Err(BatchError {
                index: self.indexes.get(at).copied(),
                // the peer knows nothing of copies
                message: with_causes(&error).replace(name, set),
            }),
        }
    }
}

/// Puts all copies in their places, or none.
fn swap(client: &mut SetClient, copies: &[Copy<'_>]) -> Result<(), BatchError> {
    for (done, copy) in copies.iter().enumerate() {
        let Err(error) = client.swap(copy.set, &copy.name) else { continue };
        for copy in copies.iter().take(done) {
            if let Err(error) = client.swap_released(copy.set, &copy.name) {
                log::error!(
                    "set `{}` keeps a part of a batch that failed: {}",
                    copy.set,
                    with_causes(&error)
                );
            }
        }
        return Err(BatchError { index: None, message: with_causes(&error).replace(&copy.name, copy.set) });
    }
    Ok(())
}
