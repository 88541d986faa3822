//! Stand-ins for the sets that rules name, in the scratch namespace where iptables encodes them.

use std::collections::BTreeMap;

use fwn_plan::set::{CreateOptions, SetKind};

use crate::ipset::{SetClient, SetError};

/// Makes sets of these names under these indexes in the namespace of the calling thread.
///
/// A set match holds no more of its set than the index, so a set of any type stands for it; a list of sets has no
/// family, and so iptables takes it in both halves. Indexes are given lowest free first (`find_free_id`, `net/netfilter/ipset/ip_set_core.c`), so fillers take those between.
///
/// # Errors
/// The kernel has no ip_set, or refuses a set.
pub fn make_scratch_sets(sets: &BTreeMap<String, u16>) -> Result<(), SetError> {
    let by_index: BTreeMap<u16, &str> = sets.iter().map(|(name, index)| (*index, name.as_str())).collect();
    let Some(last) = by_index.keys().next_back() else { return Ok(()) };
    let mut client = SetClient::open_here()?;
    for index in 0..=*last {
        let filler = format!("fwn-filler-{index}");
        let name = by_index.get(&index).copied().unwrap_or(&filler);
        client.create_as(name, SetKind::ListSet, None, &CreateOptions::default())?;
    }
    Ok(())
}
