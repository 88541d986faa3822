//! An [`Executor`] over the ip_set of one network namespace. What a set is, the kernel says once; it is asked again
//! when it refuses, or when an entry does not fit: the set can have become another one meanwhile.

use std::collections::HashMap;

use fwn_kernel::ipset::message::Command;
use fwn_kernel::ipset::{SetClient, SetError, SetHeader};
use fwn_node::causes::with_causes;
use fwn_plan::set::{
    Addresses, Dimension, Element, Entry, Grammar, ListPlace, NumbersOnly, SetKind, Verb as EntryVerb,
    check_set_name,
};

use crate::copy::{self, Operation};
use crate::executor::{Answer, BatchError, Executor};
use crate::line::{Change, Request};

/// Longest answer to `list SET`, in bytes.
pub const LIST_MAX: usize = 4 << 20;
/// Fewest bytes of an entry in it.
const ENTRY_MIN: usize = 3;

/// The sets of a namespace.
#[derive(Debug)]
pub struct KernelSets {
    client: SetClient,
    known: HashMap<String, SetHeader>,
    /// How often a set turned out to be another one than was known.
    news: u64,
}

/// Most sets that are remembered: names come from peers, but only those of sets that are there.
const KNOWN_MAX: usize = 1024;

impl KernelSets {
    /// Works through `client`. Copies that a killed daemon left behind are destroyed.
    ///
    /// # Errors
    /// The kernel cannot be asked for its sets.
    pub fn new(mut client: SetClient) -> Result<Self, SetError> {
        copy::destroy_leftovers(&mut client)?;
        Ok(Self { client, known: HashMap::new(), news: 0 })
    }

    /// What the set is, as far as known; asks if nothing is.
    fn header(&mut self, set: &str) -> Result<&SetHeader, String> {
        if !self.known.contains_key(set) {
            self.renew(set)?;
        }
        self.known.get(set).ok_or_else(|| missing(set))
    }

    /// Asks what the set is. Gives whether it is another one than was known.
    fn renew(&mut self, set: &str) -> Result<bool, String> {
        let header = self.client.header(set).map_err(|error| with_causes(&error))?;
        let Some(header) = header else {
            self.known.remove(set);
            return Err(missing(set));
        };
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        let news = self.known.get(set).is_some_and(|known| !same(known, &header));
        self.news += u64::from(news);
        self.known.insert(set.to_owned(), header);
        Ok(news)
    }

    /// Reads an entry as the set's type wants it.
    fn parse(&mut self, verb: EntryVerb, set: &str, text: &str) -> Result<Entry, String> {
        let remembered = self.known.contains_key(set);
        match parse_entry(self.header(set)?, verb, text) {
            Err(_) if remembered && self.renew(set)? => parse_entry(self.header(set)?, verb, text),
            other => other,
        }
    }

    /// A run of changes that differ in their entries only.
    fn change(&mut self, first: &Change<'_>, run: &[Request<'_>], answers: &mut Vec<Answer>) {
        let (start, news) = (answers.len(), self.news);
        let verb = if first.delete { EntryVerb::Delete } else { EntryVerb::Add };
        let mut entries = Vec::with_capacity(run.len());
        let mut places = Vec::with_capacity(run.len());
        for request in run {
            let Request::Change(change) = request else { continue };
            let answer = match self.parse(verb, first.set, &change.entry) {
                Err(message) => Answer::Error(message),
                Ok(entry) if self.is_divisible(change, &entry) => {
                    self.send(first, &mut entries, &mut places, answers);
                    self.whole(std::slice::from_ref(request))
                }
                Ok(entry) => {
                    places.push(answers.len());
                    entries.push(entry);
                    Answer::Done
                }
            };
            answers.push(answer);
        }
        self.send(first, &mut entries, &mut places, answers);

        // what was refused because the set has become another one, is tried once more as what it is now
        let failed = |answer: &Answer| matches!(answer, Answer::Error(_));
        if !answers.iter().skip(start).any(failed) || self.renew(first.set).is_err() || self.news == news {
            return;
        }
        for (answer, request) in answers.iter_mut().skip(start).zip(run) {
            if let (true, Request::Change(change)) = (failed(answer), request) {
                *answer = self.again(verb, change);
            }
        }
    }

    /// Sends the entries and notes in the answers, whose `places` are theirs, what the kernel refuses.
    fn send(
        &mut self,
        like: &Change<'_>,
        entries: &mut Vec<Entry>,
        places: &mut Vec<usize>,
        answers: &mut [Answer],
    ) {
        let Some(kind) = self.known.get(like.set).map(|header| header.kind) else {
            // it was there when they were read
            for place in places.drain(..) {
                if let Some(answer) = answers.get_mut(place) {
                    *answer = Answer::Error(missing(like.set));
                }
            }
            entries.clear();
            return;
        };
        let command = if like.delete { Command::Delete } else { Command::Add };
        let outcomes = self.client.change_each(command, like.set, kind, entries, like.exist);
        let mut refuse = |index: usize, error: &SetError| {
            if let Some(answer) = places.get(index).and_then(|place| answers.get_mut(*place)) {
                *answer = Answer::Error(with_causes(error));
            }
        };
        for error in &outcomes.refused {
            refuse(error.entry_index().unwrap_or_default(), error);
        }
        if let Some((done, error)) = &outcomes.stopped {
            (*done..entries.len()).for_each(|index| refuse(index, error));
        }
        entries.clear();
        places.clear();
    }

    fn again(&mut self, verb: EntryVerb, change: &Change<'_>) -> Answer {
        let entry = match self.parse(verb, change.set, &change.entry) {
            Ok(entry) => entry,
            Err(message) => return Answer::Error(message),
        };
        if self.is_divisible(change, &entry) {
            return self.whole(&[Request::Change(change.clone())]);
        }
        let mut answer = [Answer::Done];
        self.send(change, &mut vec![entry], &mut vec![0], &mut answer);
        let [answer] = answer;
        answer
    }

    /// Whether the kernel could refuse the entry with a part of it done: it stands for many elements.
    fn is_divisible(&self, change: &Change<'_>, entry: &Entry) -> bool {
        let Some(kind) = self.known.get(change.set).map(|header| header.kind) else { return false };
        let bitmap = matches!(kind, SetKind::BitmapIp | SetKind::BitmapIpMac | SetKind::BitmapPort);
        // nothing is in the way of a deletion then, nor of what has a place of its own
        let certain = change.exist && (change.delete || bitmap);
        !certain && stands_for_many(kind, entry)
    }

    /// Requests that must be done as a whole, alone in their batch.
    fn whole(&mut self, requests: &[Request<'_>]) -> Answer {
        match self.commit(requests) {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Error(error.message),
        }
    }

    fn test(&mut self, set: &str, text: &str) -> Result<bool, String> {
        let ask = |sets: &mut Self| {
            let entry = sets.parse(EntryVerb::Test, set, text)?;
            let kind = sets.header(set)?.kind;
            sets.client.test(set, kind, &entry).map_err(|error| with_causes(&error))
        };
        match ask(self) {
            Err(_) if self.renew(set)? => ask(self),
            other => other,
        }
    }

    fn list(&mut self, set: &str) -> Result<String, String> {
        let too_long = || format!("the entries of set `{set}` do not fit into an answer of {LIST_MAX} bytes");
        self.renew(set)?;
        let elements = self.header(set)?.elements.unwrap_or(0) as usize;
        if elements > LIST_MAX / ENTRY_MIN {
            return Err(too_long());
        }
        let listed =
            self.client.list(set).map_err(|error| with_causes(&error))?.ok_or_else(|| missing(set))?;
        let mut text = String::new();
        for entry in &listed.entries {
            if !text.is_empty() {
                text.push_str("; ");
            }
            text.push_str(&entry.to_string());
            if text.len() > LIST_MAX {
                return Err(too_long());
            }
        }
        Ok(text)
    }

    fn single(&mut self, request: &Request<'_>) -> Answer {
        let done = |done: Result<(), SetError>| match done {
            Ok(()) => Answer::Done,
            Err(error) => Answer::Error(with_causes(&error)),
        };
        let told = |told: Result<String, String>| told.map_or_else(Answer::Error, Answer::Told);
        match request {
            Request::Change(_) => self.whole(std::slice::from_ref(request)),
            Request::Test { set, entry } => {
                told(self.test(set, entry).map(|is_in| if is_in { "in".into() } else { "not in".into() }))
            }
            Request::List { set: None } => told(self.names().map(|names| names.join(" "))),
            Request::List { set: Some(set) } => told(self.list(set)),
            Request::Flush { set } => done(self.client.flush(set)),
            Request::Swap { set, other } => {
                self.known.remove(*set);
                self.known.remove(*other);
                done(self.client.swap(set, other))
            }
        }
    }
}

impl Executor for KernelSets {
    fn execute(&mut self, requests: &[Request<'_>], answers: &mut Vec<Answer>) {
        let mut rest = requests;
        while let Some(request) = rest.first() {
            let Request::Change(first) = request else {
                answers.push(self.single(request));
                rest = rest.get(1..).unwrap_or_default();
                continue;
            };
            let alike = |request: &&Request<'_>| {
                matches!(request, Request::Change(change)
                    if change.set == first.set && change.delete == first.delete && change.exist == first.exist)
            };
            let (run, after) = rest.split_at(rest.iter().take_while(alike).count());
            self.change(first, run, answers);
            rest = after;
        }
    }

    fn names(&mut self) -> Result<Vec<String>, String> {
        let headers = self.client.list_headers().map_err(|error| with_causes(&error))?;
        // a name that no line can have is of no use to the peer, and could look like two
        Ok(headers
            .into_iter()
            .map(|header| header.name)
            .filter(|name| check_set_name(name).is_ok())
            .collect())
    }

    fn is_slow(&mut self, request: &Request<'_>) -> bool {
        let Request::Change(change) = request else { return false };
        // without these an entry is one element
        if !change.entry.contains(['-', '/']) {
            return false;
        }
        let verb = if change.delete { EntryVerb::Delete } else { EntryVerb::Add };
        self.parse(verb, change.set, &change.entry).is_ok_and(|entry| self.is_divisible(change, &entry))
    }

    fn members(&mut self, request: &Request<'_>) -> Vec<String> {
        let (verb, set, entry) = match request {
            Request::Change(change) if change.delete => (EntryVerb::Delete, change.set, &change.entry),
            Request::Change(change) => (EntryVerb::Add, change.set, &change.entry),
            Request::Test { set, entry } => (EntryVerb::Test, *set, entry),
            Request::List { .. } | Request::Flush { .. } | Request::Swap { .. } => return Vec::new(),
        };
        if !self.header(set).is_ok_and(|header| header.kind == SetKind::ListSet) {
            return Vec::new();
        }
        // what cannot be read is not carried out
        let elements = self.parse(verb, set, entry).map_or_else(|_| Vec::new(), |entry| entry.elements);
        let names = elements.into_iter().flat_map(|element| match element {
            Element::Set { name, place: None } => vec![name],
            Element::Set { name, place: Some(ListPlace::Before(other) | ListPlace::After(other)) } => {
                vec![name, other]
            }
            _ => Vec::new(),
        });
        names.collect()
    }

    fn check(&mut self, request: &Request<'_>) -> Result<(), String> {
        match request {
            Request::Change(change) => {
                let verb = if change.delete { EntryVerb::Delete } else { EntryVerb::Add };
                self.parse(verb, change.set, &change.entry).map(drop)
            }
            Request::Flush { set } => self.header(set).map(drop),
            other => Err(format!("`{}` cannot stand in a batch", other.verb())),
        }
    }

    fn commit(&mut self, requests: &[Request<'_>]) -> Result<(), BatchError> {
        let mut operations = Vec::with_capacity(requests.len());
        for (index, request) in requests.iter().enumerate() {
            let at = |message| BatchError { index: Some(index), message };
            operations.push(match request {
                Request::Change(change) => {
                    let verb = if change.delete { EntryVerb::Delete } else { EntryVerb::Add };
                    let entry = self.parse(verb, change.set, &change.entry).map_err(at)?;
                    Operation::Change { set: change.set, delete: change.delete, exist: change.exist, entry }
                }
                Request::Flush { set } => Operation::Flush { set },
                other => return Err(at(format!("`{}` cannot stand in a batch", other.verb()))),
            });
        }
        copy::commit(&mut self.client, &operations)
    }
}

/// An entry of a set with this header.
fn parse_entry(header: &SetHeader, verb: EntryVerb, text: &str) -> Result<Entry, String> {
    let grammar = Grammar {
        kind: header.kind,
        family: header.family,
        options: &header.options,
        services: &NumbersOnly,
    };
    let template = grammar.parse(verb, text).map_err(|error| error.to_string())?;
    template.into_literal().map_err(|name| format!("`{name}` is a host name, ipsetd takes addresses only"))
}

/// Whether the kernel makes many elements of it.
fn stands_for_many(kind: SetKind, entry: &Entry) -> bool {
    entry.elements.iter().zip(kind.dimensions()).any(|(element, dimension)| match element {
        Element::Address(Addresses::Range(..)) => true,
        Element::Address(Addresses::Block(..)) => !matches!(dimension, Dimension::Net { .. }),
        Element::Port(port) => port.to.is_some(),
        Element::BarePort(_, to) => to.is_some(),
        _ => false,
    })
}

/// Whether entries mean the same in both.
fn same(one: &SetHeader, other: &SetHeader) -> bool {
    let shape = |header: &SetHeader| {
        // it grows by itself
        let options = fwn_plan::set::CreateOptions { hashsize: None, ..header.options.clone() };
        (header.kind, header.family, header.index, options)
    };
    shape(one) == shape(other)
}

fn missing(set: &str) -> String {
    format!("set `{set}` does not exist")
}
