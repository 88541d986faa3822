//! What the daemon is told: flags before environment, one table for both. Text comes in; checked values go out. No
//! file is opened here.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches};
use fwn_kernel::route::IpPrefix;
use fwn_plan::nearest::nearest;
use fwn_plan::set::check_set_name;

use crate::access::{Access, DEFAULT_VERBS};
use crate::limits::Limits;
use crate::line::Verb;

/// Something that can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its environment variable.
    pub variable: &'static str,
    /// Its flag, without dashes.
    pub flag: &'static str,
    /// What it takes, for help; empty where it is 0 or 1 in the environment and stands alone as a flag.
    pub value: &'static str,
    /// What it does.
    pub help: &'static str,
}

const fn setting(
    variable: &'static str,
    flag: &'static str,
    value: &'static str,
    help: &'static str,
) -> Setting {
    Setting { variable, flag, value, help }
}

/// All settings, in the order of the documentation.
pub const SETTINGS: [Setting; 18] = [
    setting("IPSET", "enable", "", "Serve; without it nothing is done"),
    setting("IPSET_PORT", "port", "PORT", "TCP port, on all addresses; default 9999"),
    setting("IPSET_ALLOW_FROM", "allow-from", "LIST", "Addresses and networks whose commands are taken"),
    setting("IPSET_TOKEN_FILE", "token-file", "FILE", "Token that has to come first, as `auth TOKEN`"),
    setting("IPSET_TLS_CERT", "tls-cert", "FILE", "Certificates of this server, PEM: speak TLS"),
    setting("IPSET_TLS_KEY", "tls-key", "FILE", "Its private key, PEM"),
    setting("IPSET_TLS_CA", "tls-ca", "FILE", "Authorities of client certificates, PEM: ask for one"),
    setting("IPSET_ALLOW_ANY", "allow-any", "", "Open the port even if nothing guards it"),
    setting("IPSET_SETS", "sets", "LIST", "Sets that may be named; default: all"),
    setting("IPSET_VERBS", "verbs", "LIST", "Verbs that may be used; default add,del,test,list"),
    setting("IPSET_MAX_LINE", "max-line", "BYTES", "Longest line; default 4096"),
    setting(
        "IPSET_MAX_RATE",
        "max-rate",
        "LINES",
        "Lines a second of one peer, more have to wait; default: any",
    ),
    setting("IPSET_MAX_BATCH", "max-batch", "LINES", "Lines between begin and commit; default 100000"),
    setting("IPSET_MAX_CONNECTIONS", "max-connections", "NUMBER", "Connections in all; default 1024"),
    setting("IPSET_MAX_PER_PEER", "max-per-peer", "NUMBER", "Connections of one peer; default 64"),
    setting("IPSET_IDLE", "idle", "SECONDS", "Silence after which a connection is closed; default 300"),
    setting(
        "IPSET_PATIENCE",
        "patience",
        "SECONDS",
        "Time for a begun line to end and for answers to be read; default 10",
    ),
    setting("IPSET_DEBUG", "debug", "", "Log every line and its answer"),
];

/// What is wrong with a setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// A value that is none.
    #[error("{from} is `{value}`: {problem}")]
    Value {
        /// `--flag` or `VARIABLE`.
        from: String,
        /// As given.
        value: String,
        /// What it should be.
        problem: String,
    },
    /// Settings that need each other.
    #[error("{0} needs {1}")]
    Needs(&'static str, &'static str),
    /// A variable that looks like one of ours.
    #[error("unknown variable {name}{}", .near.map(|near| format!("; hint: did you mean {near}?")).unwrap_or_default())]
    Unknown {
        /// The variable.
        name: String,
        /// One that is known.
        near: Option<&'static str>,
    },
}

/// Files of TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the server.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of client certificates, if they are asked for.
    pub authorities: Option<PathBuf>,
}

/// All settings, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// The port.
    pub port: u16,
    /// The rules; whether there is a token and a certificate is in them.
    pub access: Access,
    /// Where the token is.
    pub token_file: Option<PathBuf>,
    /// Where the certificates are.
    pub tls: Option<TlsFiles>,
    /// The limits.
    pub limits: Limits,
    /// Whether lines are logged.
    pub debug: bool,
}

/// Where settings come from.
pub struct Given<'a> {
    /// The flags.
    pub flags: &'a ArgMatches,
    /// The environment.
    pub environment: &'a [(String, String)],
}

/// The flags, for clap.
pub fn flags() -> impl Iterator<Item = Arg> {
    SETTINGS.iter().map(|setting| {
        let help = format!("{} [{}]", setting.help, setting.variable);
        let arg = Arg::new(setting.flag).long(setting.flag).help(help);
        if setting.value.is_empty() { arg.action(ArgAction::SetTrue) } else { arg.value_name(setting.value) }
    })
}

/// One setting as given.
struct Value {
    /// `--flag` or `VARIABLE`.
    from: String,
    text: String,
}

impl Value {
    fn bad(&self, problem: impl fmt::Display) -> SettingsError {
        SettingsError::Value {
            from: self.from.clone(),
            value: self.text.clone(),
            problem: problem.to_string(),
        }
    }

    fn number(&self, least: u64, most: u64) -> Result<u64, SettingsError> {
        let number = self.text.parse().ok().filter(|number| (least..=most).contains(number));
        number.ok_or_else(|| self.bad(format!("a number from {least} to {most} is wanted")))
    }

    /// Words between commas or blanks.
    fn words(&self) -> Result<Vec<&str>, SettingsError> {
        let words: Vec<&str> =
            self.text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()).collect();
        if words.is_empty() { Err(self.bad("nothing is in the list")) } else { Ok(words) }
    }
}

impl Given<'_> {
    /// The flag, else the variable. An empty variable is an unset one.
    fn value(&self, variable: &'static str) -> Option<Value> {
        let setting = SETTINGS.iter().find(|setting| setting.variable == variable)?;
        let flag = if setting.value.is_empty() {
            self.flags.get_flag(setting.flag).then(|| "1".to_owned())
        } else {
            self.flags.get_one::<String>(setting.flag).cloned()
        };
        if let Some(text) = flag {
            return Some(Value { from: format!("--{}", setting.flag), text });
        }
        let found = self.environment.iter().find(|(name, value)| name == variable && !value.is_empty());
        found.map(|(name, value)| Value { from: name.clone(), text: value.clone() })
    }

    fn is_on(&self, variable: &'static str) -> Result<bool, SettingsError> {
        match self.value(variable) {
            None => Ok(false),
            Some(value) => match value.text.as_str() {
                "1" => Ok(true),
                "0" => Ok(false),
                _ => Err(value.bad("1 or 0 is wanted")),
            },
        }
    }

    /// Whether lines are logged.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub fn is_debug(&self) -> Result<bool, SettingsError> {
        self.is_on("IPSET_DEBUG")
    }

    /// What `IPSET` says; `None` for 1.
    pub fn disabled(&self) -> Option<String> {
        match self.value("IPSET") {
            Some(value) if value.text == "1" => None,
            Some(value) => Some(format!("{} is `{}`, not 1", value.from, value.text)),
            None => Some("IPSET is not set to 1".into()),
        }
    }

    /// All settings.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub fn settings(&self) -> Result<Settings, SettingsError> {
        self.check_names()?;
        let path = |variable| self.value(variable).map(|value| PathBuf::from(value.text));
        let tls = self.tls()?;
        let token_file = path("IPSET_TOKEN_FILE");
        let access = Access {
            allow_from: self.value("IPSET_ALLOW_FROM").map(|value| parse_networks(&value)).transpose()?,
            token: token_file.is_some(),
            certificate: tls.as_ref().is_some_and(|files| files.authorities.is_some()),
            any: self.is_on("IPSET_ALLOW_ANY")?,
            sets: self.value("IPSET_SETS").map(|value| parse_sets(&value)).transpose()?,
            verbs: match self.value("IPSET_VERBS") {
                Some(value) => parse_verbs(&value)?,
                None => DEFAULT_VERBS.into(),
            },
        };
        let port = self.value("IPSET_PORT").map_or(Ok(9999), |value| value.number(1, 65535))? as u16;
        Ok(Settings {
            port,
            access,
            token_file,
            tls,
            limits: self.limits()?,
            debug: self.is_on("IPSET_DEBUG")?,
        })
    }

    fn tls(&self) -> Result<Option<TlsFiles>, SettingsError> {
        let path = |variable| self.value(variable).map(|value| PathBuf::from(value.text));
        match (path("IPSET_TLS_CERT"), path("IPSET_TLS_KEY"), path("IPSET_TLS_CA")) {
            (Some(certificate), Some(key), authorities) => {
                Ok(Some(TlsFiles { certificate, key, authorities }))
            }
            (None, None, None) => Ok(None),
            (Some(_), None, _) => Err(SettingsError::Needs("IPSET_TLS_CERT", "IPSET_TLS_KEY")),
            (None, Some(_), _) => Err(SettingsError::Needs("IPSET_TLS_KEY", "IPSET_TLS_CERT")),
            (None, None, Some(_)) => Err(SettingsError::Needs("IPSET_TLS_CA", "IPSET_TLS_CERT")),
        }
    }

    /// The limits of what peers may take.
    ///
    /// # Errors
    /// [`SettingsError`]
    pub fn limits(&self) -> Result<Limits, SettingsError> {
        let default = Limits::default();
        let number =
            |variable, most: u64| self.value(variable).map(|value| value.number(1, most)).transpose();
        let size = |variable, most, default: usize| -> Result<usize, SettingsError> {
            Ok(number(variable, most)?.map_or(default, |number| number as usize))
        };
        let seconds = |variable, default: Duration| -> Result<Duration, SettingsError> {
            Ok(number(variable, 1_000_000)?.map_or(default, Duration::from_secs))
        };
        Ok(Limits {
            line: size("IPSET_MAX_LINE", 65536, default.line)?,
            rate: number("IPSET_MAX_RATE", u64::from(u32::MAX))?.map(|rate| rate as u32),
            connections: size("IPSET_MAX_CONNECTIONS", 1_000_000, default.connections)?,
            per_peer: size("IPSET_MAX_PER_PEER", 1_000_000, default.per_peer)?,
            idle: seconds("IPSET_IDLE", default.idle)?,
            patience: seconds("IPSET_PATIENCE", default.patience)?,
            batch: size("IPSET_MAX_BATCH", 10_000_000, default.batch)?,
        })
    }

    /// A misspelt limit would be no limit.
    fn check_names(&self) -> Result<(), SettingsError> {
        let known = || SETTINGS.iter().map(|setting| setting.variable);
        let unknown = self
            .environment
            .iter()
            .map(|(name, _)| name)
            .find(|name| name.starts_with("IPSET_") && !known().any(|known| known == *name));
        match unknown {
            None => Ok(()),
            Some(name) => Err(SettingsError::Unknown { name: name.clone(), near: nearest(name, known()) }),
        }
    }
}

fn parse_networks(value: &Value) -> Result<Vec<IpPrefix>, SettingsError> {
    let parse = |word: &str| {
        let network = match word.parse::<IpAddr>() {
            Ok(address) => Ok(IpPrefix::host(address)),
            Err(_) => word.parse::<IpPrefix>(),
        };
        match network {
            Err(_) => Err(value.bad(format!("`{word}` is neither an address nor a network"))),
            // it would pass for a guard
            Ok(network) if network.length() == 0 => Err(value
                .bad(format!("`{word}` lets everybody in; hint: if that is meant, set IPSET_ALLOW_ANY=1"))),
            Ok(network) => Ok(network),
        }
    };
    value.words()?.into_iter().map(parse).collect()
}

fn parse_sets(value: &Value) -> Result<BTreeSet<String>, SettingsError> {
    let parse = |word: &str| check_set_name(word).map(|()| word.to_owned()).map_err(|error| value.bad(error));
    value.words()?.into_iter().map(parse).collect()
}

fn parse_verbs(value: &Value) -> Result<BTreeSet<Verb>, SettingsError> {
    let parse = |word: &str| {
        Verb::parse(word).ok_or_else(|| {
            let known = Verb::ALL.map(Verb::name).join(", ");
            value.bad(format!("`{word}` is no verb, known are {known}"))
        })
    };
    value.words()?.into_iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: [(&str, &str); 7] = [
        ("IPSET_MAX_LINE", "1"),
        ("IPSET_MAX_RATE", "2"),
        ("IPSET_MAX_CONNECTIONS", "3"),
        ("IPSET_MAX_PER_PEER", "4"),
        ("IPSET_IDLE", "5"),
        ("IPSET_PATIENCE", "6"),
        ("IPSET_MAX_BATCH", "7"),
    ];

    fn limits(arguments: &[String], environment: &[(&str, &str)]) -> Result<Limits, String> {
        let arguments = std::iter::once("ipsetd").chain(arguments.iter().map(String::as_str));
        let flags = clap::Command::new("ipsetd").args(flags()).get_matches_from(arguments);
        let environment: Vec<(String, String)> =
            environment.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        Given { flags: &flags, environment: &environment }.limits().map_err(|error| error.to_string())
    }

    #[test]
    fn each_limit_has_its_variable_and_its_flag() {
        let wanted = Limits {
            line: 1,
            rate: Some(2),
            connections: 3,
            per_peer: 4,
            idle: Duration::from_secs(5),
            patience: Duration::from_secs(6),
            batch: 7,
        };
        assert_eq!(limits(&[], &LIMITS), Ok(wanted.clone()));
        let flag = |variable: &str| {
            let setting = SETTINGS.iter().find(|setting| setting.variable == variable).expect("known");
            format!("--{}", setting.flag)
        };
        let flags: Vec<String> =
            LIMITS.iter().map(|(name, value)| format!("{}={value}", flag(name))).collect();
        assert_eq!(limits(&flags, &[("IPSET_MAX_BATCH", "8")]), Ok(wanted));
        assert_eq!(limits(&[], &[("IPSET_MAX_BATCH", "")]), Ok(Limits::default()));
    }

    #[test]
    fn no_limit_is_zero_or_no_number() {
        for (name, _) in LIMITS {
            for value in ["0", "-1", "1k", "99999999999"] {
                let error = limits(&[], &[(name, value)]).expect_err("refused");
                assert!(error.starts_with(&format!("{name} is `{value}`: a number from 1 to ")), "{error}");
            }
        }
    }
}
