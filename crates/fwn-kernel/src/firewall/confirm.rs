//! Whether what was put in force is in force, and says what was sent: told by what the kernel gives back of the batch,
//! and where that does not suffice, by all that is there.
//!
//! Giving back every rule costs a third of putting it in force, and of thousands most differ in an address or a port
//! only. So one rule of each form comes back, with everything else that the batch makes. That is enough: the batch is
//! in force as a whole or not at all, and the kernel treats the rules of one form alike. Reasons and limits:
//! `docs/decisions/007-what-comes-back.md`.

use std::collections::{HashMap, HashSet};

use fwn_plan::netfilter::Family;

use super::compare::compare;
use super::compose::Request;
use super::observed::{ObservedRule, ObservedTable, Ruleset, observe, observe_in};
use super::record::Record;
use super::remove::Scene;
use super::{FirewallError, Journal};
use crate::netlink::socket::NetlinkSocket;
use crate::nft::echo::Echoes;
use crate::nft::observe::{NftError, is_generation};
use crate::nft::transaction::{Change, Changes, Place};

/// Most memory that what comes back may take, so that it fits the default receive buffer (`net.core.rmem_default`, 208 KiB)
/// also where the kernel's pieces are half empty.
const MOST: usize = 96 * 1024;
/// What a message takes of it besides its bytes where each is a piece of its own, as before Linux 5.10.
const PIECE: usize = 1024;

/// Asks the kernel to give back what tells whether the batch came to be as it was sent: everything that it makes, of
/// rules one of each form and the last of each table, which has the greatest handle. Whether that is asked for; nothing
/// is where it is too much, or where rules go between those of others: what comes back does not tell where it stands.
pub(super) fn ask_back(changes: &mut Changes<'_>) -> bool {
    let mut forms = HashSet::new();
    let mut last = HashMap::new();
    let mut appended = true;
    for (at, step) in changes.steps.iter_mut().enumerate() {
        step.echo = match &step.change {
            Change::AddTable { .. }
            | Change::AddBaseChain { .. }
            | Change::SetPolicy { .. }
            | Change::AddChain { .. } => true,
            Change::AddRule { sketch, place, .. } => {
                appended &= *place == Place::Append;
                last.insert((step.family, step.table), at);
                forms.insert((step.family, sketch.form))
            }
            Change::DeleteRule { .. } | Change::DeleteChain { .. } | Change::DeleteTable => false,
        };
    }
    for at in last.into_values() {
        if let Some(step) = changes.steps.get_mut(at) {
            step.echo = true;
        }
    }
    let echoes = changes.steps.iter().filter(|step| step.echo);
    let ask = appended && echoes.map(|step| step.length() + PIECE).sum::<usize>() <= MOST;
    if !ask {
        changes.steps.iter_mut().for_each(|step| step.echo = false);
    }
    ask
}

/// What the kernel gave back of a batch.
pub(super) struct Answer<'a> {
    /// The batch.
    pub(super) changes: &'a Changes<'a>,
    /// What came back.
    pub(super) echoes: &'a Echoes,
    /// What was there before.
    pub(super) observed: &'a Ruleset,
}

impl Answer<'_> {
    /// Completes the record, if all that was asked for came back as it was sent.
    pub(super) fn complete(&self, record: &mut Record) -> bool {
        let mut last: HashMap<(Family, &str), u64> = HashMap::new();
        for (at, step) in self.changes.steps.iter().enumerate().filter(|(_, step)| step.echo) {
            let Some(handle) = self.echoes.handle(at) else { return false };
            if let Change::AddRule { .. } = step.change {
                let last = last.entry((step.family, step.table)).or_default();
                *last = handle.max(*last);
            }
        }
        for table in &mut record.tables {
            let name = table.table.name();
            // of a table with policies only, what was there is no later than they are
            let before = || self.observed.table(table.family, name).map_or(0, ObservedTable::last_handle);
            table.last_handle = last.get(&(table.family, name)).copied().unwrap_or_else(before);
        }
        true
    }
}

/// Whether a batch whose answer was lost came to be, that was to put `record` in force where `observed` was. It takes out
/// all rules that its owner had and makes new ones, which have other handles. `None` where what is there fits neither, or
/// the owner has no rules to tell by.
///
/// # Errors
/// See [`NftError`].
pub(super) fn came_to_be(
    socket: &mut NetlinkSocket,
    request: &Request<'_>,
    observed: &Ruleset,
    record: &Record,
) -> Result<Option<bool>, NftError> {
    if is_generation(socket, observed.generation)? {
        return Ok(Some(false));
    }
    let now = observe(socket)?;
    let owner = record.owner();
    let scene = Scene::new(observed, owner, request.previous, request.siblings);
    let old: HashSet<_> = handles(observed, |table, rule| scene.owns(table, rule)).collect();
    let is_left = handles(&now, |_, _| true).any(|handle| old.contains(&handle));
    let is_new = handles(&now, |_, rule| rule.is_of(owner)).any(|handle| !old.contains(&handle));
    let has_rules = record.tables.iter().any(|table| !table.rules.is_empty());
    Ok(match (is_left, is_new) {
        (true, true) => None,
        (true, false) => Some(false),
        (false, true) => Some(true),
        (false, false) if has_rules => old.is_empty().then_some(false),
        (false, false) => (!old.is_empty()).then_some(true),
    })
}

/// Family, table and handle of the rules that are `wanted`.
fn handles(
    ruleset: &Ruleset,
    wanted: impl Fn(&ObservedTable, &ObservedRule) -> bool,
) -> impl Iterator<Item = (Family, &str, u64)> {
    let rules = ruleset.tables.iter().flat_map(|table| table.rules().map(move |rule| (table, rule)));
    rules
        .filter(move |(table, rule)| wanted(table, rule))
        .map(|(table, rule)| (table.family, table.name.as_str(), rule.handle))
}

/// Makes sure that `record` is in force, and writes it down. Without `answered`, or if the generation is no longer the
/// batch's, all that is there is read.
///
/// # Errors
/// [`FirewallError::Observe`], [`FirewallError::NotInForce`], [`FirewallError::Journal`]
pub(super) fn confirm(
    socket: &mut NetlinkSocket,
    generation: u32,
    answered: bool,
    record: &mut Record,
    siblings: &[Record],
    journal: Journal<'_>,
) -> Result<(), FirewallError> {
    if !(answered && is_generation(socket, generation)?) {
        let observed = observe_in(socket, generation)?;
        record.read_back(&observed);
        let differences = compare(record, &observed, siblings);
        if !differences.is_empty() {
            return Err(FirewallError::NotInForce(differences));
        }
    }
    journal(record).map_err(FirewallError::Journal)
}

#[cfg(test)]
mod tests {
    use fwn_plan::netfilter::{Policy, Table};
    use fwn_plan::plan::Attachment;
    use fwn_testkit::Netns;

    use super::super::observed::ObservedChain;
    use super::super::record::{RecordedNetns, RecordedTable};
    use super::*;
    use crate::netlink::attr::AttrWriter;
    use crate::netlink::fake::with_kernel;
    use crate::netlink::message::{Messages, nfnl_type};
    use crate::netlink::socket::Protocol;
    use crate::nft::EncodedRule;
    use crate::nft::constants as c;
    use crate::nft::digest::sketch;
    use crate::nft::transaction::Place;

    fn encoded(fill: impl FnOnce(&mut AttrWriter<'_>)) -> EncodedRule {
        let mut expressions = Vec::new();
        let mut writer = AttrWriter::new(&mut expressions);
        fill(&mut writer);
        writer.finish().expect("short");
        EncodedRule { compat: None, expressions }
    }

    fn expression(list: &mut AttrWriter<'_>, name: &str, fill: impl FnOnce(&mut AttrWriter<'_>)) {
        list.nest(c::NFTA_LIST_ELEM, |element| {
            element.string(c::NFTA_EXPR_NAME, name).nest(c::NFTA_EXPR_DATA, fill);
        });
    }

    /// Compares the first `length` bytes of the network header with bytes that are all `value`.
    fn rule(length: usize, value: u8) -> EncodedRule {
        encoded(|list| {
            // into register 1 from base 1, offset 0
            expression(list, "payload", |data| {
                data.be32(1, 1).be32(2, 1).be32(3, 0).be32(4, length as u32);
            });
            // register 1, equal
            expression(list, "cmp", |data| {
                data.be32(1, 1).be32(2, 0).nest(c::NFTA_CMP_DATA, |nested| {
                    nested.bytes(1, &vec![value; length]);
                });
            });
        })
    }

    /// Has so many comments of 256 bytes.
    fn comments(number: usize) -> EncodedRule {
        encoded(|list| {
            for _ in 0..number {
                expression(list, "match", |data| {
                    data.string(c::NFTA_MATCH_NAME, "comment")
                        .be32(2, 0)
                        .bytes(c::NFTA_MATCH_INFO, &[0; 256]);
                });
            }
        })
    }

    fn add(rule: &EncodedRule) -> Change<'_> {
        let sketch = sketch(&rule.expressions).expect("well formed");
        Change::AddRule { chain: "INPUT", place: Place::Append, rule, sketch, user_data: Vec::new() }
    }

    fn asked(changes: &Changes<'_>) -> Vec<usize> {
        let steps = changes.steps.iter().enumerate();
        steps.filter(|(_, step)| step.echo).map(|(at, _)| at).collect()
    }

    fn attachment() -> Attachment {
        Attachment { network: "net".into(), container: "box".into(), interface: "eth0".into() }
    }

    /// Uses both tables, with rules in one of them.
    fn record() -> Record {
        let table = |table| RecordedTable {
            family: Family::Ipv4,
            table,
            created: true,
            last_handle: 0,
            chains: Vec::new(),
            policies: Vec::new(),
            rules: Vec::new(),
        };
        let tables = vec![table(Table::Filter), table(Table::Nat)];
        Record { tables, ..Record::empty(&attachment(), RecordedNetns::default()) }
    }

    #[test]
    fn one_of_each_form_comes_back_and_the_last_of_each_table() {
        let rules =
            [(4, 1), (4, 2), (2, 1), (4, 3), (2, 2), (4, 4)].map(|(length, value)| rule(length, value));
        let mut changes = Changes::default();
        changes.push(Family::Ipv4, "filter", Change::DeleteRule { chain: "INPUT", handle: 3 });
        changes.push(Family::Ipv4, "filter", Change::SetPolicy { chain: "INPUT", policy: Policy::Drop });
        for rule in &rules {
            changes.push(Family::Ipv4, "filter", add(rule));
        }
        changes.push(Family::Ipv4, "nat", Change::AddTable { user_data: Vec::new() });
        changes.push(Family::Ipv4, "nat", add(&rules[1]));
        // the same form in another family is another one
        changes.push(Family::Ipv6, "filter", add(&rules[1]));
        changes.push(Family::Ipv6, "filter", add(&rules[3]));
        assert!(ask_back(&mut changes));
        assert_eq!(asked(&changes), [1, 2, 4, 7, 8, 9, 10, 11]);
    }

    #[test]
    fn too_much_is_not_asked_for() {
        let is_asked = |rules: Vec<EncodedRule>| {
            let mut changes = Changes::default();
            changes.push(Family::Ipv4, "filter", Change::AddTable { user_data: Vec::new() });
            for rule in &rules {
                changes.push(Family::Ipv4, "filter", add(rule));
            }
            let is_asked = ask_back(&mut changes);
            assert_eq!(asked(&changes).len(), if is_asked { 1 + rules.len() } else { 0 });
            is_asked
        };
        // many, and few that are long
        assert!(is_asked((1..50).map(|length| rule(length, 0)).collect()));
        assert!(!is_asked((1..100).map(|length| rule(length, 0)).collect()));
        assert!(!is_asked((1..50).map(comments).collect()));
    }

    #[test]
    fn rules_between_those_of_others_are_read() {
        let rule = rule(4, 1);
        for (place, expected) in [(Place::Append, true), (Place::First, false), (Place::Before(7), false)] {
            let mut changes = Changes::default();
            for place in [Place::Append, place, Place::Append] {
                let Change::AddRule { chain, rule, sketch, user_data, .. } = add(&rule) else {
                    panic!("a rule is added")
                };
                changes.push(
                    Family::Ipv4,
                    "filter",
                    Change::AddRule { chain, place, rule, sketch, user_data },
                );
            }
            assert_eq!(ask_back(&mut changes), expected, "{place:?}");
            assert_eq!(asked(&changes).is_empty(), !expected, "{place:?}");
        }
    }

    /// What the kernel gives back of a table with these rules: of how many steps it is asked, and whether that is enough.
    fn answered(rules: &[EncodedRule]) -> (usize, bool) {
        let netns = Netns::new();
        let mut socket = netns.run(|| NetlinkSocket::open(Protocol::Netfilter)).expect("a socket");
        let mut changes = Changes::default();
        changes.push(Family::Ipv4, "filter", Change::AddTable { user_data: vec![1] });
        changes.push(Family::Ipv4, "filter", Change::AddChain { chain: "INPUT", user_data: vec![1] });
        for rule in rules {
            changes.push(Family::Ipv4, "filter", add(rule));
        }
        assert!(ask_back(&mut changes));
        let echoes = changes.commit(&mut socket, None).expect("taken");
        let observed = Ruleset { generation: 1, tables: Vec::new() };
        let answer = Answer { changes: &changes, echoes: &echoes, observed: &observed };
        (asked(&changes).len(), answer.complete(&mut record()))
    }

    #[test]
    fn the_kernel_is_asked_for_few_of_many_and_gives_them_back() {
        let rules: Vec<_> = (0..1000).map(|at| rule(4 + at % 2 * 4, at as u8)).collect();
        assert_eq!(answered(&rules), (2 + 3, true));
    }

    /// It gives nothing back that does not fit the piece of memory that it takes for it, of `NLMSG_GOODSIZE`
    /// (`linux/netlink.h`) or more: 8 KiB here, 16 with larger pages.
    #[test]
    fn what_is_too_long_does_not_come_back() {
        assert_eq!(answered(&[rule(4, 1), comments(1)]), (2 + 2, true));
        assert_eq!(answered(&[rule(4, 1), comments(100)]), (2 + 2, false));
    }

    #[test]
    fn a_record_is_complete_if_all_came_back() {
        let rules = [rule(4, 1), rule(4, 2), rule(4, 3)];
        let mut changes = Changes::default();
        for rule in &rules {
            changes.push(Family::Ipv4, "filter", add(rule));
        }
        changes.push(Family::Ipv4, "nat", Change::SetPolicy { chain: "OUTPUT", policy: Policy::Drop });
        assert!(ask_back(&mut changes));
        let theirs = |handle| ObservedRule {
            handle,
            mark: None,
            digest: None,
            jump: None,
            accepts: false,
            expressions: Vec::new(),
        };
        let chain = ObservedChain {
            name: "OUTPUT".into(),
            handle: 1,
            hook: None,
            policy: None,
            jumps: 0,
            user_data: Vec::new(),
            rules: vec![theirs(5), theirs(4)],
        };
        let nat = ObservedTable {
            family: Family::Ipv4,
            name: "nat".into(),
            handle: 1,
            flags: 0,
            user_data: Vec::new(),
            chains: vec![chain],
            other: false,
        };
        let observed = Ruleset { generation: 3, tables: vec![nat] };
        let complete = |echoes: &Echoes| {
            let mut record = record();
            let answer = Answer { changes: &changes, echoes, observed: &observed };
            let complete = answer.complete(&mut record);
            complete.then(|| record.tables.iter().map(|table| table.last_handle).collect::<Vec<_>>())
        };
        assert_eq!(complete(&Echoes::of([(0, 7), (2, 9), (3, 1)])), Some(vec![9, 5]));
        for missing in [0, 2, 3] {
            let handles = [(0, 7), (2, 9), (3, 1)];
            let left = handles.into_iter().filter(|(at, _)| *at != missing);
            assert_eq!(complete(&Echoes::of(left)), None, "step {missing}");
        }
    }

    /// What is asked of a kernel that has nothing, in generation 7, and what comes of it.
    fn confirmed(generation: u32, answered: bool) -> (Vec<u16>, Result<bool, FirewallError>) {
        let questions = std::sync::Mutex::new(Vec::new());
        let kernel = |request: &[u8]| {
            let kind = u16::from_ne_bytes([request[4], request[5]]);
            questions.lock().expect("no panic").push(kind);
            if kind != nfnl_type(c::SUBSYSTEM, c::NFT_MSG_GETGEN) {
                return Vec::new();
            }
            let mut answer = Messages::default();
            let kind = nfnl_type(c::SUBSYSTEM, c::NFT_MSG_NEWGEN);
            let fill = |attrs: &mut AttrWriter<'_>| {
                attrs.be32(c::NFTA_GEN_ID, 7);
            };
            answer.push(kind, 0, &[0; 4], fill).expect("short");
            let mut datagram = answer.bytes().to_vec();
            datagram[8..12].copy_from_slice(&request[8..12]);
            vec![datagram]
        };
        let result = with_kernel(kernel, |mut socket| {
            let mut written = false;
            let mut journal = |_: &Record| {
                written = true;
                Ok(())
            };
            confirm(&mut socket, generation, answered, &mut record(), &[], &mut journal).map(|()| written)
        });
        let kinds = questions.into_inner().expect("no panic").into_iter();
        (kinds.map(|kind| kind & 0xff).collect(), result)
    }

    #[test]
    fn all_is_read_unless_it_came_back_and_nothing_has_changed_since() {
        let getgen = u16::from(c::NFT_MSG_GETGEN);
        let (questions, result) = confirmed(7, true);
        assert_eq!(questions, [getgen]);
        assert!(matches!(result, Ok(true)), "{result:?}");
        for (generation, answered) in [(6, true), (7, false)] {
            let (questions, result) = confirmed(generation, answered);
            assert!(questions.contains(&u16::from(c::NFT_MSG_GETTABLE)), "{questions:?}");
            assert!(matches!(result, Err(FirewallError::NotInForce(_))), "{result:?}");
        }
    }
}
