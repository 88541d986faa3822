//! Where a thing was written: file, JSON pointer, byte range; and from it line, column and the text shown.
//!
//! Every item of the configuration and every planned operation carries an [`Origin`], so that even an errno of
//! the kernel comes back as `allow-ping.fw: rules[2].rule`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// A piece of configuration text and the name that messages give it.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// `allow-ping.fw`, or `network configuration` for the inline part.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl Source {
    /// A source to share between the origins in it.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Arc<Self> {
        Arc::new(Self { name: name.into(), text: text.into() })
    }

    /// Line and column (both from 1, columns in characters) of a byte offset; past the end means the end.
    pub fn line_column(&self, offset: usize) -> (usize, usize) {
        let mut offset = offset.min(self.text.len());
        while !self.text.is_char_boundary(offset) {
            offset -= 1;
        }
        let before = &self.text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

/// One step of the way to a JSON value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A member of an object.
    Key(Cow<'static, str>),
    /// An element of an array, from 0.
    Index(usize),
}

/// The way to a JSON value from the root. Values of one list or object share the way to it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(Option<Arc<Link>>);

#[derive(Debug, PartialEq, Eq)]
struct Link {
    parent: Path,
    step: Step,
}

impl Path {
    /// The way to a value inside.
    #[must_use]
    pub fn join(&self, step: Step) -> Self {
        Self(Some(Arc::new(Link { parent: self.clone(), step })))
    }

    /// The way to what the value stands in; from the root none.
    #[must_use]
    pub fn parent(&self) -> Self {
        self.0.as_ref().map(|link| link.parent.clone()).unwrap_or_default()
    }

    /// Whether it leads to, or into, the value at `outer`.
    pub fn starts_with(&self, outer: &Self) -> bool {
        self == outer || self.0.as_ref().is_some_and(|link| link.parent.starts_with(outer))
    }

    /// Whether it leads nowhere but to the root.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }
}

impl FromIterator<Step> for Path {
    fn from_iter<T: IntoIterator<Item = Step>>(steps: T) -> Self {
        steps.into_iter().fold(Self::default(), |path, step| path.join(step))
    }
}

/// Where a value stands in its source.
#[derive(Clone, PartialEq, Eq)]
pub struct Origin {
    /// The text that it stands in.
    pub source: Arc<Source>,
    /// The way to the value: `rules`, 2, `rule`.
    pub path: Path,
    /// Byte range of the value in the text, quotes of a string included.
    pub range: Range<usize>,
    /// Byte range of the words meant, inside the *decoded* string at this place; `None` means all of it.
    pub span: Option<Range<usize>>,
}

impl Origin {
    /// The same place, narrowed to some bytes of the decoded string.
    #[must_use]
    pub fn with_span(&self, span: Range<usize>) -> Self {
        Self { span: Some(span), ..self.clone() }
    }

    /// The bytes of the source to underline: the span where it can be followed through the string's escapes,
    /// else the whole value.
    pub fn highlight(&self) -> Range<usize> {
        let Some(span) = &self.span else { return self.range.clone() };
        let Some(raw) = self.source.text.get(self.range.clone()) else { return self.range.clone() };
        let (Some(start), Some(end)) = (raw_offset(raw, span.start), raw_offset(raw, span.end)) else {
            return self.range.clone();
        };
        self.range.start + start..self.range.start + end
    }

    /// The way to the value, to show: `rules[2].rule`; nothing for the whole text.
    pub fn pointer(&self) -> impl fmt::Display {
        Pointer(&self.path)
    }

    /// Line and column of the first highlighted byte.
    pub fn line_column(&self) -> (usize, usize) {
        self.source.line_column(self.highlight().start)
    }
}

/// Offset in a quoted JSON string of byte `decoded` of what it decodes to; `None` where the two cannot be
/// matched (not a string, or past its end).
fn raw_offset(raw: &str, decoded: usize) -> Option<usize> {
    let mut chars = raw.char_indices().peekable();
    chars.next_if(|(_, c)| *c == '"' || *c == '\'')?;
    let mut seen = 0;
    while let Some((at, c)) = chars.next() {
        if seen >= decoded {
            return Some(at);
        }
        seen += match c {
            '\\' => match chars.next()?.1 {
                'u' => {
                    let hex: String = (0..4).map_while(|_| chars.next().map(|(_, digit)| digit)).collect();
                    let code = u32::from_str_radix(&hex, 16).ok()?;
                    match code {
                        // a surrogate pair is two escapes for four bytes of UTF-8
                        0xd800..=0xdfff => 2,
                        _ => char::from_u32(code)?.len_utf8(),
                    }
                }
                _ => 1,
            },
            _ => c.len_utf8(),
        };
    }
    None
}

struct Pointer<'a>(&'a Path);

impl fmt::Display for Pointer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(link) = &self.0.0 else { return Ok(()) };
        // no deeper than the JSON is nested
        Pointer(&link.parent).fmt(f)?;
        match &link.step {
            Step::Key(key) if link.parent.is_empty() => f.write_str(key),
            Step::Key(key) => {
                f.write_str(".")?;
                f.write_str(key)
            }
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

impl fmt::Display for Origin {
    /// `allow-ping.fw: rules[2].rule`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source.name)?;
        if self.path.is_empty() {
            return Ok(());
        }
        f.write_str(": ")?;
        Pointer(&self.path).fmt(f)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Origin({self} @{:?}", self.range)?;
        if let Some(span) = &self.span {
            write!(f, " span {span:?}")?;
        }
        f.write_str(")")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(text: &str, value: &str, span: Range<usize>) -> Origin {
        let start = text.find(value).expect("value is in the text");
        Origin {
            source: Source::new("a.fw", text),
            path: [Step::Key("rules".into()), Step::Index(2), Step::Key("rule".into())].into_iter().collect(),
            range: start..start + value.len(),
            span: Some(span),
        }
    }

    #[test]
    fn names_file_and_pointer() {
        assert_eq!(origin("\"x\"", "\"x\"", 0..1).to_string(), "a.fw: rules[2].rule");
    }

    #[test]
    fn highlight_follows_escapes() {
        let text = "{\n  \"rule\": \"--comment \\\"a b\\\" -j DROPP\" }";
        let at = origin(text, "\"--comment \\\"a b\\\" -j DROPP\"", 19..24);
        assert_eq!(&text[at.highlight()], "DROPP");
        assert_eq!(at.line_column(), (2, 33));
    }

    #[test]
    fn highlight_follows_unicode_escapes() {
        let text = r#""\u00e9\ud83d\ude00x""#;
        assert_eq!(&text[origin(text, text, 6..7).highlight()], "x");
    }

    #[test]
    fn a_span_past_the_end_means_the_whole_value() {
        let text = "\"ab\"";
        assert_eq!(origin(text, text, 0..9).highlight(), 0..4);
    }
}
