//! The options of iptables itself, with their values: `-p`, `-s`, `-d`, `-i`, `-o`, `-f`, `-4`, `-6`, `-m`, `-j`, `-g`.
//! Each sets its field of the rule, loads an extension, or is a problem.

use super::super::address::{Host, parse_hosts};
use super::super::extensions::{Content, Kind, MATCHES, find_match, find_target, implicit_match};
use super::super::{Negatable, Span, Target, Value, Verdict};
use super::lookup::{self, Base, PROTOCOLS};
use super::{Head, Hosts, Parser, Taken};
use crate::nearest::nearest;
use crate::netfilter::{CHAIN_NAME_MAX, Families, INTERFACE_NAME_MAX, Table};

/// Why iptables takes no user chain of this name; `None` if it does. That no target has this name is part of it.
pub fn chain_name_problem(name: &str) -> Option<String> {
    if name.is_empty() {
        return Some("empty chain name".into());
    }
    if name.len() > CHAIN_NAME_MAX {
        return Some(format!("chain name `{name}` has more than {CHAIN_NAME_MAX} bytes"));
    }
    if name.starts_with(['-', '!']) {
        return Some(format!("chain name `{name}` starts with `-` or `!`"));
    }
    if name.contains(char::is_whitespace) {
        return Some(format!("chain name `{name}` has a space in it"));
    }
    if verdict(name).is_some() || name == "QUEUE" || find_target(name).is_some() {
        return Some(format!("chain name `{name}` is the name of a target"));
    }
    None
}

impl Parser<'_> {
    /// An option of iptables itself.
    pub(super) fn base(&mut self, base: Base, head: &Head<'_>) {
        if let Base::Foreign(hint) = base {
            self.problem(
                head.span.clone(),
                format!("`{}` has no place in a rule", head.text),
                Some(hint.to_owned()),
            );
            return self.skip_values();
        }
        if head.inline.is_some() && !base.takes_value() {
            return self.problem(head.span.clone(), format!("`{}` takes no value", head.text), None);
        }
        if head.negated && !base.negatable() {
            self.cannot_negate(head.start..head.span.end, head.text);
        }
        if base != Base::Match {
            let jumps =
                |given: &Base| matches!((given, base), (Base::Jump | Base::Goto, Base::Jump | Base::Goto));
            if self.given.iter().any(jumps) {
                self.problem(head.span.clone(), "a rule has one `-j` or `-g` at most", None);
            } else if self.given.contains(&base) {
                self.problem(head.span.clone(), format!("`{}` is given twice", head.text), None);
            }
            self.given.push(base);
        }
        match base {
            Base::Fragment => {
                self.parsed.rule.fragment = Some(!head.negated);
                self.bind(Families::IPV4, head.text.into(), head.span.clone());
                return;
            }
            Base::Ipv4 | Base::Ipv6 => {
                let families = if base == Base::Ipv4 { Families::IPV4 } else { Families::IPV6 };
                self.bind(families, head.text.into(), head.span.clone());
                return;
            }
            _ => {}
        }
        let Some(Taken { value, negated }) = self.value(head, base.negatable(), Content::Plain) else {
            return;
        };
        let negated = negated || head.negated;
        let span = head.start..value.span.end;
        match base {
            Base::Protocol => self.protocol(&value, negated, span),
            Base::Source => self.parsed.source = self.hosts("-s", &value, negated, span),
            Base::Destination => self.parsed.destination = self.hosts("-d", &value, negated, span),
            Base::InInterface => {
                self.parsed.rule.in_interface = self.interface(&value, negated);
                self.parsed.in_interface = Some(span);
            }
            Base::OutInterface => {
                self.parsed.rule.out_interface = self.interface(&value, negated);
                self.parsed.out_interface = Some(span);
            }
            Base::Match => self.match_extension(&value, span),
            Base::Jump => self.jump(value, span),
            Base::Goto => self.goto(value),
            Base::Fragment | Base::Ipv4 | Base::Ipv6 | Base::Foreign(_) => {}
        }
    }

    fn protocol(&mut self, value: &Value, negated: bool, span: Span) {
        let name = value.text.to_ascii_lowercase();
        let number = parse_number(&name)
            .or_else(|| lookup::builtin_protocol(&name))
            .or_else(|| self.databases.protocol(&name));
        let Some(number) = number else {
            let hint = nearest(&name, PROTOCOLS.iter().map(|(known, _)| *known))
                .map(|known| format!("did you mean `{known}`?"));
            self.unknown_owner = true;
            return self.problem(value.span.clone(), format!("unknown protocol `{}`", value.text), hint);
        };
        if number == 0 {
            if negated {
                self.problem(span, format!("`! -p {}` never matches", value.text), None);
            }
            return;
        }
        self.parsed.rule.protocol = Some(Negatable { negated, value: number });
        self.implicit = implicit_match(number);
        let families = match number {
            1 if !negated => Families::IPV4,
            58 if !negated => Families::IPV6,
            _ => return,
        };
        self.bind(families, format!("-p {}", value.text), span);
    }

    fn hosts(&mut self, option: &str, value: &Value, negated: bool, span: Span) -> Option<Hosts> {
        let hosts = match parse_hosts(&value.text) {
            Ok(hosts) => hosts,
            Err(problem) => {
                self.problem(value.span.clone(), problem.message, problem.hint);
                return None;
            }
        };
        let everywhere = |host: &Host| matches!(host, Host::Network(network) if network.prefix() == Some(0));
        if negated && hosts.as_ref().is_none_or(|hosts| hosts.iter().any(everywhere)) {
            self.problem(span, format!("`! {option} {}` never matches", value.text), None);
            return None;
        }
        let hosts = hosts?;
        let families = hosts.iter().fold(Families::NONE, |all, host| all.or(host.families()));
        // if it is ruled out, that was said
        let fits = self.bind(families, format!("{option} {}", value.text), span.clone());
        fits.then_some(Hosts { negated, hosts, span })
    }

    fn interface(&mut self, value: &Value, negated: bool) -> Option<Negatable<String>> {
        let name = &value.text;
        let message = if name.is_empty() {
            "empty interface name".to_owned()
        } else if name.len() > INTERFACE_NAME_MAX {
            format!("interface name `{name}` has more than {INTERFACE_NAME_MAX} bytes")
        } else if name.contains(|c: char| c == '/' || c.is_whitespace()) {
            format!("interface name `{name}` has a slash or a space in it")
        } else {
            return Some(Negatable { negated, value: name.clone() });
        };
        self.problem(value.span.clone(), message, None);
        None
    }

    fn match_extension(&mut self, value: &Value, span: Span) {
        let Some(extension) = find_match(&value.text) else {
            let hint = if verdict(&value.text).is_some() || find_target(&value.text).is_some() {
                Some(format!("`{0}` is a target: `-j {0}`", value.text))
            } else {
                nearest(&value.text, MATCHES.iter().map(|known| known.name))
                    .map(|known| format!("did you mean `{known}`?"))
            };
            self.unknown_owner = true;
            return self.problem(value.span.clone(), format!("unknown match `{}`", value.text), hint);
        };
        self.bind(extension.families, format!("-m {}", value.text), span.clone());
        self.load(extension, span);
    }

    fn jump(&mut self, value: Value, span: Span) {
        let name = &value.text;
        if let Some(verdict) = verdict(name) {
            self.parsed.rule.target = Some(Target::Verdict(verdict));
        } else if let Some(extension) = find_target(name) {
            self.bind(extension.families, format!("-j {name}"), span.clone());
            if !self.loaded.iter().any(|loaded| loaded.extension.kind == Kind::Target) {
                self.load(extension, span);
            }
        } else if self.user_chain(&value) {
            self.parsed.rule.target = Some(Target::Jump(value));
        }
    }

    fn goto(&mut self, value: Value) {
        if verdict(&value.text).is_some() || find_target(&value.text).is_some() {
            let hint = format!("write `-j {}`", value.text);
            let message = format!("`-g` takes a user chain, and `{}` is none", value.text);
            self.problem(value.span.clone(), message, Some(hint));
        } else if self.user_chain(&value) {
            self.parsed.rule.target = Some(Target::Goto(value));
        }
    }

    fn user_chain(&mut self, value: &Value) -> bool {
        let name = &value.text;
        let builtin = Table::ALL.into_iter().any(|table| table.builtin(name).is_some());
        let (message, hint) = if builtin {
            (format!("`{name}` is a built-in chain, which no rule can jump to"), None)
        } else if name == "QUEUE" {
            ("the target `QUEUE` is gone from the kernel".into(), Some("use `-j NFQUEUE`".into()))
        } else if let Some(message) = chain_name_problem(name) {
            (message, None)
        } else {
            return true;
        };
        self.problem(value.span.clone(), message, hint);
        false
    }
}

fn verdict(name: &str) -> Option<Verdict> {
    match name {
        "ACCEPT" => Some(Verdict::Accept),
        "DROP" => Some(Verdict::Drop),
        "RETURN" => Some(Verdict::Return),
        _ => None,
    }
}

/// A number as C's `strtoul` takes it with base 0: decimal, `0x` hexadecimal, `0` octal.
fn parse_number(text: &str) -> Option<u8> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(hex) => (hex, 16),
        None if text.len() > 1 && text.starts_with('0') => (text, 8),
        None => (text, 10),
    };
    // from_str_radix takes a sign
    digits.starts_with(|c: char| c.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, radix).ok())?
}
