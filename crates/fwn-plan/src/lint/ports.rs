//! Sets of ports, as ranges.

use crate::rule::typed::value::Range;

/// A set of ports: ranges in order that neither overlap nor touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports(Vec<Range<u16>>);

impl Ports {
    /// Every port.
    pub(super) fn all() -> Self {
        Self(vec![Range { first: 0, last: u16::MAX }])
    }

    /// The ports of some ranges; of a range that ends before it begins there is none.
    pub(super) fn of(ranges: &[Range<u16>]) -> Self {
        let mut ranges: Vec<_> = ranges.iter().filter(|range| range.first <= range.last).copied().collect();
        ranges.sort_by_key(|range| range.first);
        let mut merged: Vec<Range<u16>> = Vec::new();
        for range in ranges {
            match merged.last_mut() {
                Some(before) if range.first <= before.last.saturating_add(1) => {
                    before.last = before.last.max(range.last);
                }
                _ => merged.push(range),
            }
        }
        Self(merged)
    }

    /// The ports of a range, or all others.
    pub(super) fn of_range(range: Range<u16>, negated: bool) -> Self {
        let ports = Self::of(&[range]);
        if negated { ports.complement() } else { ports }
    }

    /// All others.
    pub(super) fn complement(&self) -> Self {
        let mut ranges = Vec::new();
        let mut next = Some(0);
        for range in &self.0 {
            if let Some(first) = next.filter(|first| *first < range.first) {
                ranges.push(Range { first, last: range.first - 1 });
            }
            next = range.last.checked_add(1);
        }
        ranges.extend(next.map(|first| Range { first, last: u16::MAX }));
        Self(ranges)
    }

    /// Those in both.
    pub(super) fn and(&self, other: &Self) -> Self {
        let pairs = self.0.iter().flat_map(|one| other.0.iter().map(move |two| (one, two)));
        let both =
            pairs.map(|(one, two)| Range { first: one.first.max(two.first), last: one.last.min(two.last) });
        Self::of(&both.collect::<Vec<_>>())
    }

    /// Whether all of them are in `other`.
    pub(super) fn within(&self, other: &Self) -> bool {
        self.0.iter().all(|one| other.0.iter().any(|two| two.first <= one.first && one.last <= two.last))
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it has this one.
    pub(super) fn contains(&self, port: u16) -> bool {
        self.0.iter().any(|range| (range.first..=range.last).contains(&port))
    }

    /// The only one, if there is one only.
    pub(super) fn single(&self) -> Option<u16> {
        match self.0.as_slice() {
            [range] if range.first == range.last => Some(range.first),
            _ => None,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        self.0.iter().map(|range| u32::from(range.last) - u32::from(range.first) + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(ranges: &[(u16, u16)], port: u16) -> bool {
        ranges.iter().any(|(first, last)| (*first..=*last).contains(&port))
    }

    fn ports(ranges: &[(u16, u16)]) -> Ports {
        Ports::of(
            &ranges.iter().map(|(first, last)| Range { first: *first, last: *last }).collect::<Vec<_>>(),
        )
    }

    /// Ends near the limits and near each other, where slips are.
    fn ranges() -> impl Strategy<Value = Vec<(u16, u16)>> {
        let end = prop_oneof![0_u16..6, (u16::MAX - 5)..=u16::MAX];
        prop::collection::vec((end.clone(), end), 0..4)
    }

    proptest! {
        #[test]
        fn they_are_sets(a in ranges(), b in ranges()) {
            let (one, two) = (ports(&a), ports(&b));
            let (not, both) = (one.complement(), one.and(&two));
            let all = (0..8).chain(u16::MAX - 8..=u16::MAX);
            let mut within = true;
            for port in all {
                let (in_a, in_b) = (member(&a, port), member(&b, port));
                prop_assert_eq!(one.contains(port), in_a);
                prop_assert_eq!(not.contains(port), !in_a);
                prop_assert_eq!(both.contains(port), in_a && in_b);
                within &= !in_a || in_b;
            }
            // what lies between is in a range that spans the gap
            let gap = |ranges: &[(u16, u16)]| member(ranges, 100);
            within &= !gap(&a) || gap(&b);
            prop_assert_eq!(one.within(&two), within);
            prop_assert_eq!(one.is_empty(), one.count() == 0);
            prop_assert_eq!(one.count() + not.count(), 1 << 16);
        }
    }
}
