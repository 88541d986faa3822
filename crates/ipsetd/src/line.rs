//! The bytes of one line, without its end, to what it asks for. Pure, and total over any bytes; whether the peer may
//! ask for it, and whether the entry fits the set, others decide.

use std::borrow::Cow;
use std::fmt;

use fwn_plan::nearest::nearest;
use fwn_plan::set::check_set_name;

/// What can be allowed or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// `add SET ENTRY`
    Add,
    /// `del SET ENTRY`
    Delete,
    /// `test SET ENTRY`
    Test,
    /// `list [SET]`
    List,
    /// `flush SET`
    Flush,
    /// `swap SET SET`
    Swap,
}

impl Verb {
    /// All.
    pub const ALL: [Self; 6] = [Self::Add, Self::Delete, Self::Test, Self::List, Self::Flush, Self::Swap];

    /// The word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Delete => "del",
            Self::Test => "test",
            Self::List => "list",
            Self::Flush => "flush",
            Self::Swap => "swap",
        }
    }

    /// Reads the word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verb| verb.name() == word)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<'a> {
    /// `auth TOKEN`
    Auth(&'a str),
    /// `begin`: the lines up to `commit` are one change.
    Begin,
    /// `commit`
    Commit,
    /// Something about sets.
    Request(Request<'a>),
}

/// Something about sets. Entries are text in ipset's syntax: only the set's type says what they mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request<'a> {
    /// `add` or `del`
    Change(Change<'a>),
    /// `test SET ENTRY`
    Test {
        /// The set.
        set: &'a str,
        /// The entry.
        entry: Cow<'a, str>,
    },
    /// `list [SET]`
    List {
        /// The set; `None` for the names of all.
        set: Option<&'a str>,
    },
    /// `flush SET`
    Flush {
        /// The set.
        set: &'a str,
    },
    /// `swap SET SET`
    Swap {
        /// One set.
        set: &'a str,
        /// The other.
        other: &'a str,
    },
}

/// An entry to put in or to take out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change<'a> {
    /// Out instead of in.
    pub delete: bool,
    /// `-exist`: no error if it is in, or out, already.
    pub exist: bool,
    /// The set.
    pub set: &'a str,
    /// The entry with its options.
    pub entry: Cow<'a, str>,
}

impl Request<'_> {
    /// The verb of the line.
    pub fn verb(&self) -> Verb {
        match self {
            Self::Change(Change { delete: false, .. }) => Verb::Add,
            Self::Change(Change { delete: true, .. }) => Verb::Delete,
            Self::Test { .. } => Verb::Test,
            Self::List { .. } => Verb::List,
            Self::Flush { .. } => Verb::Flush,
            Self::Swap { .. } => Verb::Swap,
        }
    }

    /// The sets that it is about.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        let (first, second) = match self {
            Self::Change(Change { set, .. }) | Self::Test { set, .. } | Self::Flush { set } => {
                (Some(*set), None)
            }
            Self::List { set } => (*set, None),
            Self::Swap { set, other } => (Some(*set), Some(*other)),
        };
        first.into_iter().chain(second)
    }
}

/// Why a line is no [`Command`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// It has nothing but blanks.
    #[error("the line is empty")]
    Empty,
    /// It is no text.
    #[error("the line is not UTF-8, at byte {0}")]
    NotUtf8(usize),
    /// It has a NUL or another control character in it.
    #[error("the line has a control character ({character:?}) in it, at byte {at}")]
    Control {
        /// Where, from 1.
        at: usize,
        /// Which.
        character: char,
    },
    /// The first word is none that is known.
    #[error("unknown verb `{word}`; hint: {}", verb_hint(.word))]
    UnknownVerb {
        /// The word.
        word: String,
    },
    /// It is what a browser sends, and would be followed by more of it.
    #[error("this is no web server")]
    Http,
    /// No set is named.
    #[error("`{0}` needs a set")]
    NoSet(Verb),
    /// No entry is named.
    #[error("`{0}` needs an entry")]
    NoEntry(Verb),
    /// `swap` with one set.
    #[error("`swap` needs two sets")]
    NoSecondSet,
    /// No set can have this name.
    #[error("{0}")]
    SetName(String),
    /// There is more than the verb takes.
    #[error("`{verb}` takes no `{word}`")]
    Extra {
        /// The verb.
        verb: &'static str,
        /// The first word too many.
        word: String,
    },
    /// `auth` alone.
    #[error("`auth` needs a token")]
    NoToken,
}

fn verb_hint(word: &str) -> String {
    let known: Vec<&str> = Verb::ALL.into_iter().map(Verb::name).chain(["begin", "commit", "auth"]).collect();
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the verbs are {}", known.join(", ")),
    }
}

/// Reads one line.
///
/// # Errors
/// [`LineError`]
pub fn parse_line(line: &[u8]) -> Result<Command<'_>, LineError> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let text = std::str::from_utf8(line).map_err(|error| LineError::NotUtf8(error.valid_up_to() + 1))?;
    if let Some((at, character)) = text.char_indices().find(|(_, c)| c.is_control() && *c != '\t') {
        return Err(LineError::Control { at: at + 1, character });
    }
    if text.ends_with(" HTTP/1.1") || text.ends_with(" HTTP/1.0") {
        return Err(LineError::Http);
    }
    let mut words = Words { rest: text, exist: false };
    let word = words.next();
    let verb = match word {
        "" => return Err(LineError::Empty),
        "auth" => {
            let token = words.rest.trim();
            return if token.is_empty() { Err(LineError::NoToken) } else { Ok(Command::Auth(token)) };
        }
        "begin" => return words.end("begin").map(|()| Command::Begin),
        "commit" => return words.end("commit").map(|()| Command::Commit),
        word => Verb::parse(word).ok_or_else(|| LineError::UnknownVerb { word: word.to_owned() })?,
    };
    let set = match words.next() {
        "" if verb == Verb::List => return Ok(Command::Request(Request::List { set: None })),
        "" => return Err(LineError::NoSet(verb)),
        set => checked(set)?,
    };
    let request = match verb {
        Verb::Add | Verb::Delete => {
            let entry = words.entry(verb)?;
            Request::Change(Change { delete: verb == Verb::Delete, exist: words.exist, set, entry })
        }
        Verb::Test => Request::Test { set, entry: words.entry(verb)? },
        Verb::List | Verb::Flush => {
            words.end(verb.name())?;
            if verb == Verb::List { Request::List { set: Some(set) } } else { Request::Flush { set } }
        }
        Verb::Swap => {
            let other = match words.next() {
                "" => return Err(LineError::NoSecondSet),
                other => checked(other)?,
            };
            words.end(verb.name())?;
            Request::Swap { set, other }
        }
    };
    Ok(Command::Request(request))
}

/// The word that stands for the verb, in a line that need not be a good one.
pub fn verb_of(line: &[u8]) -> &[u8] {
    let words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    words.into_iter().find(|word| !matches!(*word, b"-exist" | b"-!")).unwrap_or_default()
}

/// Splits words off the front of a line. `-exist` and `-!` may stand anywhere, as with ipset.
struct Words<'a> {
    rest: &'a str,
    exist: bool,
}

impl<'a> Words<'a> {
    /// The next word; empty at the end.
    fn next(&mut self) -> &'a str {
        loop {
            let text = self.rest.trim_ascii_start();
            let end = text.find(BLANKS).unwrap_or(text.len());
            let (word, rest) = text.split_at(end);
            self.rest = rest;
            if !is_exist(word) {
                return word;
            }
            self.exist = true;
        }
    }

    /// All that is left, but `-exist`.
    fn entry(&mut self, verb: Verb) -> Result<Cow<'a, str>, LineError> {
        let text = self.rest.trim_ascii();
        let entry = if text.contains('-') { self.without_exist(text) } else { Cow::Borrowed(text) };
        if entry.is_empty() { Err(LineError::NoEntry(verb)) } else { Ok(entry) }
    }

    /// Outside of quotes: a comment may say `-exist`.
    fn without_exist(&mut self, text: &'a str) -> Cow<'a, str> {
        let (mut quoted, mut kept, mut found) = (false, Vec::new(), false);
        for word in text.split(BLANKS) {
            if !quoted && is_exist(word) {
                found = true;
            } else {
                kept.push(word);
                quoted ^= word.matches('"').count() % 2 == 1;
            }
        }
        if !found {
            return Cow::Borrowed(text);
        }
        self.exist = true;
        Cow::Owned(kept.join(" ").trim_ascii().to_owned())
    }

    fn end(mut self, verb: &'static str) -> Result<(), LineError> {
        match self.next() {
            "" => Ok(()),
            word => Err(LineError::Extra { verb, word: word.to_owned() }),
        }
    }
}

const BLANKS: [char; 2] = [' ', '\t'];

fn is_exist(word: &str) -> bool {
    matches!(word, "-exist" | "-!")
}

fn checked(set: &str) -> Result<&str, LineError> {
    match check_set_name(set) {
        Ok(()) => Ok(set),
        Err(message) => Err(LineError::SetName(message)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change<'a>(delete: bool, exist: bool, set: &'a str, entry: &'a str) -> Command<'a> {
        Command::Request(Request::Change(Change { delete, exist, set, entry: entry.into() }))
    }

    #[test]
    fn reads_what_the_original_takes() {
        let line = b"add blacklistsmtp 12.12.13.12";
        assert_eq!(parse_line(line), Ok(change(false, false, "blacklistsmtp", "12.12.13.12")));
        let line = b"\tdel  blacklistsmtp\t12.12.13.12 \r";
        assert_eq!(parse_line(line), Ok(change(true, false, "blacklistsmtp", "12.12.13.12")));
    }

    #[test]
    fn exist_stands_anywhere_but_in_quotes() {
        for line in ["-exist add s 1.2.3.4", "add -! s 1.2.3.4", "add s -exist 1.2.3.4", "add s 1.2.3.4 -!"] {
            assert_eq!(parse_line(line.as_bytes()), Ok(change(false, true, "s", "1.2.3.4")), "{line}");
        }
        let line = b"add s 1.2.3.4 -exist timeout 5";
        assert_eq!(parse_line(line), Ok(change(false, true, "s", "1.2.3.4 timeout 5")));
        let line = br#"add s 1.2.3.4 comment "no  -exist here""#;
        assert_eq!(parse_line(line), Ok(change(false, false, "s", r#"1.2.3.4 comment "no  -exist here""#)));
        let line = br#"add s 1.2.3.4 -exist comment "no  -exist here""#;
        assert_eq!(parse_line(line), Ok(change(false, true, "s", r#"1.2.3.4 comment "no  -exist here""#)));
    }

    #[test]
    fn finds_the_verb_of_any_line() {
        for line in ["list", " list s", "-exist list\r", "\t-! -exist list s"] {
            assert_eq!(verb_of(line.as_bytes()), b"list", "{line}");
        }
        assert_eq!(verb_of(b"add blacklist 1.2.3.4"), b"add");
        assert_eq!(verb_of(b""), b"");
    }

    #[test]
    fn reads_the_other_verbs() {
        let request = |request| Ok(Command::Request(request));
        assert_eq!(
            parse_line(b"test s 1.2.3.4"),
            request(Request::Test { set: "s", entry: "1.2.3.4".into() })
        );
        assert_eq!(parse_line(b"list"), request(Request::List { set: None }));
        assert_eq!(parse_line(b"list s"), request(Request::List { set: Some("s") }));
        assert_eq!(parse_line(b"flush s"), request(Request::Flush { set: "s" }));
        assert_eq!(parse_line(b"swap s t"), request(Request::Swap { set: "s", other: "t" }));
        assert_eq!(parse_line(b"begin"), Ok(Command::Begin));
        assert_eq!(parse_line(b"commit "), Ok(Command::Commit));
        assert_eq!(parse_line(b"auth a b"), Ok(Command::Auth("a b")));
    }

    #[test]
    fn tells_what_is_wrong() {
        for (line, message) in [
            (&b""[..], "the line is empty"),
            (b" \t\r", "the line is empty"),
            (b"-exist", "the line is empty"),
            (b"ad s 1.2.3.4", "unknown verb `ad`; hint: did you mean `add`?"),
            (
                b"destroy s",
                "unknown verb `destroy`; hint: the verbs are add, del, test, list, flush, swap, begin, commit, auth",
            ),
            (b"add", "`add` needs a set"),
            (b"del s", "`del` needs an entry"),
            (b"test s -exist", "`test` needs an entry"),
            (b"swap s", "`swap` needs two sets"),
            (b"flush s t", "`flush` takes no `t`"),
            (b"begin it", "`begin` takes no `it`"),
            (b"auth ", "`auth` needs a token"),
            (b"add a,b 1.2.3.4", "set name `a,b` has a ',' in it"),
            (b"add s 1.2.3.4\0", "the line has a control character ('\\0') in it, at byte 14"),
            (b"add s \xff", "the line is not UTF-8, at byte 7"),
            (b"POST / HTTP/1.1\r", "this is no web server"),
        ] {
            let error = parse_line(line).expect_err("refused");
            assert_eq!(error.to_string(), message, "{line:?}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = parse_line(&line);
        }

        #[test]
        fn never_panics_at_words(words in prop::collection::vec(
            prop_oneof!["add|del|test|swap|list|-exist|-!|\"|s|t|begin", ".{0,4}"], 0..8,
        )) {
            let _ = parse_line(words.join(" ").as_bytes());
        }
    }
}
