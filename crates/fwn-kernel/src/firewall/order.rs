//! Where rules end up that are appended and inserted one after the other. Pure; no step costs more than the
//! logarithm of the chain's length.

use fwn_plan::config::Placement;

/// What stands at one place of the finished chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Slot {
    /// The rule of this index that was there before.
    Old(usize),
    /// The placed rule of this index.
    New(usize),
}

/// A rule was to become number `position` of a chain that has only `length` rules at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooBig {
    /// Index of the placed rule.
    pub(super) index: usize,
    /// Where it was to go.
    pub(super) position: u32,
    /// Rules in the chain before it.
    pub(super) length: usize,
}

/// The order of a chain of `old` rules after all of `places`, one after the other.
pub(super) fn arrange(old: usize, places: &[Placement]) -> Result<Vec<Slot>, TooBig> {
    for (index, place) in places.iter().enumerate() {
        let length = old + index;
        if let Placement::Insert(position) = *place
            && (position == 0 || position as usize > length + 1)
        {
            return Err(TooBig { index, position, length });
        }
    }
    let total = old + places.len();
    let mut taken = vec![None; total];
    let mut free = Ranks::all(total);
    // backwards: the last one stands where it was put, the one before it counts only the places that are left
    for (index, place) in places.iter().enumerate().rev() {
        let rank = match *place {
            Placement::Append => old + index,
            Placement::Insert(position) => position as usize - 1,
        };
        let at = free.take(rank);
        if let Some(slot) = taken.get_mut(at) {
            *slot = Some(Slot::New(index));
        }
    }
    let mut rest = 0..old;
    Ok(taken
        .into_iter()
        .map(|slot| slot.or_else(|| rest.next().map(Slot::Old)))
        .map_while(|slot| slot)
        .collect())
}

/// The numbers from 0 that are still free: a binary indexed tree of how many there are.
struct Ranks {
    /// `tree[i]`: free numbers among the `lowest set bit of i` that end before `i`; index 0 is not used.
    tree: Vec<usize>,
}

impl Ranks {
    fn all(count: usize) -> Self {
        Self { tree: (0..=count).map(|i| i & i.wrapping_neg()).collect() }
    }

    /// Takes the free number that has `rank` free ones before it.
    fn take(&mut self, rank: usize) -> usize {
        let mut left = rank;
        let mut before = 0;
        let mut step = self.tree.len().next_power_of_two();
        while step > 0 {
            if let Some(free) = self.tree.get(before + step)
                && *free <= left
            {
                left -= free;
                before += step;
            }
            step /= 2;
        }
        let mut i = before + 1;
        while let Some(free) = self.tree.get_mut(i) {
            *free -= 1;
            i += i & i.wrapping_neg();
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What iptables does: one after the other.
    fn one_by_one(old: usize, places: &[Placement]) -> Result<Vec<Slot>, TooBig> {
        let mut chain: Vec<_> = (0..old).map(Slot::Old).collect();
        for (index, place) in places.iter().enumerate() {
            let length = chain.len();
            match *place {
                Placement::Append => chain.push(Slot::New(index)),
                Placement::Insert(position) if position == 0 || position as usize > length + 1 => {
                    return Err(TooBig { index, position, length });
                }
                Placement::Insert(position) => chain.insert(position as usize - 1, Slot::New(index)),
            }
        }
        Ok(chain)
    }

    fn place(limit: u32) -> impl Strategy<Value = Placement> {
        prop_oneof![
            Just(Placement::Append),
            (0..limit).prop_map(Placement::Insert),
            Just(Placement::Insert(1))
        ]
    }

    proptest! {
        #[test]
        fn same_as_one_by_one(old in 0usize..9, places in prop::collection::vec(place(5), 0..30)) {
            prop_assert_eq!(arrange(old, &places), one_by_one(old, &places));
        }

        #[test]
        fn same_as_one_by_one_in_long_chains(old in 0usize..40, places in prop::collection::vec(place(42), 0..90)) {
            prop_assert_eq!(arrange(old, &places), one_by_one(old, &places));
        }
    }

    #[test]
    fn an_index_too_big_is_an_error() {
        let insert = |position| arrange(2, &[Placement::Append, Placement::Insert(position)]);
        assert_eq!(insert(5), Err(TooBig { index: 1, position: 5, length: 3 }));
        assert!(insert(4).is_ok());
        assert!(insert(0).is_err());
    }
}
