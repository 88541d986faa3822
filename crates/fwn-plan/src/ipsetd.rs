//! The `ipsetd` key, checked: variables expanded, ports, networks and names as what they are. Opens no file and asks
//! no daemon: whether the port may be opened at all is the daemon's to say, which knows the namespace.

use crate::config::{IpsetdConf, Text};
use crate::expand::Variables;
use crate::origin::Origin;
use crate::problem::{Problem, Problems};
use crate::rule::Network;
use crate::rule::address::{Host, parse_hosts};
use crate::ruleset::expand_text;

/// The port of the original's daemon.
const PORT: u16 = 9999;

/// Who may change the sets of one container, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IpsetdSpec {
    /// Place of the whole object.
    pub origin: Origin,
    /// Port to listen on, inside the namespace.
    pub port: u16,
    /// Peers that may connect; none given: peers are not looked at.
    pub allow_from: Vec<Network>,
    /// Whether the port may be open to everybody.
    pub allow_any: bool,
    /// The sets that may be changed, and where each was written; all where not given.
    pub sets: Option<Vec<(String, Origin)>>,
    /// The verbs that may be used; ipsetd's own default where not given.
    pub verbs: Option<Vec<&'static str>>,
    /// File with the token.
    pub token_file: Option<String>,
    /// TLS, where it is wanted.
    pub tls: Option<TlsSpec>,
}

/// Files for TLS, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsSpec {
    /// The server's certificates.
    pub certificate: String,
    /// Their key.
    pub key: String,
    /// Whose clients may connect.
    pub client_ca: Option<String>,
}

impl IpsetdSpec {
    /// Expands and checks the key.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn build(conf: &IpsetdConf, variables: &Variables) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let port = conf.port.as_ref().map(|text| port(text, variables));
        let port = port.and_then(|port| problems.collect(port)).unwrap_or(PORT);
        let mut allow_from = Vec::new();
        if let Some(list) = conf.allow_from.as_ref().filter(|list| list.elements.is_empty()) {
            problems.push(nothing_allowed(&list.origin));
        }
        for text in conf.allow_from.iter().flat_map(|list| &list.elements) {
            allow_from.extend(problems.collect(networks(text, variables)).unwrap_or_default());
        }
        let sets = conf.sets.as_ref().map(|list| {
            if list.elements.is_empty() {
                problems.push(nothing_allowed(&list.origin));
            }
            let name = |text: &Text| Ok((expand_text(text, variables)?, text.origin.clone()));
            list.elements.iter().filter_map(|text| problems.collect(name(text))).collect()
        });
        let verbs = conf.verbs.as_ref().map(|list| {
            if list.elements.is_empty() {
                problems.push(nothing_allowed(&list.origin));
            }
            list.elements.clone()
        });
        let token_file = problems.collect(file(conf.token_file.as_ref(), variables)).flatten();
        let tls = problems.collect(tls(conf, variables)).flatten();
        let origin = conf.origin.clone();
        let allow_any = conf.allow_any;
        problems.finish(Self { origin, port, allow_from, allow_any, sets, verbs, token_file, tls })
    }
}

fn port(text: &Text, variables: &Variables) -> Result<u16, Problems> {
    let value = expand_text(text, variables)?;
    value.parse().ok().filter(|port| *port > 0).ok_or_else(|| {
        let message = format!("`{value}` is not a port");
        Problem::new(text.origin.clone(), message).hint("a whole number from 1 to 65535").into()
    })
}

/// A list of addresses and networks, from one string: a variable may hold several.
fn networks(text: &Text, variables: &Variables) -> Result<Vec<Network>, Problems> {
    let problem = |message: String, hint: &str| -> Problems {
        Problem::new(text.origin.clone(), message).hint(hint).into()
    };
    let value = expand_text(text, variables)?;
    let everybody = |word: &str| {
        problem(
            format!("`{word}` lets everybody in"),
            "if that is meant, write `\"allowAny\": true` in place of the list",
        )
    };
    let Some(hosts) = parse_hosts(&value).map_err(|wrong| {
        let problem = Problem::new(text.origin.clone(), wrong.message);
        Problems::from(Problem { hint: wrong.hint, ..problem })
    })?
    else {
        return Err(everybody(&value));
    };
    let mut networks = Vec::with_capacity(hosts.len());
    for host in hosts {
        match host {
            Host::Name(name) => {
                let hint =
                    "who may connect is said in addresses and networks: a name can come to mean another host";
                return Err(problem(format!("`{name}` is a name"), hint));
            }
            Host::Network(network) => match network.prefix() {
                None => {
                    return Err(problem(
                        format!("the mask of `{network}` has holes"),
                        "write a prefix length",
                    ));
                }
                Some(0) => return Err(everybody(&network.to_string())),
                Some(_) => networks.push(network),
            },
        }
    }
    Ok(networks)
}

fn file(text: Option<&Text>, variables: &Variables) -> Result<Option<String>, Problems> {
    let Some(text) = text else { return Ok(None) };
    let path = expand_text(text, variables)?;
    if !path.starts_with('/') {
        return Err(Problem::new(text.origin.clone(), format!("`{path}` is not an absolute path")).into());
    }
    Ok(Some(path))
}

fn tls(conf: &IpsetdConf, variables: &Variables) -> Result<Option<TlsSpec>, Problems> {
    let mut problems = Problems::default();
    let mut read = |text: Option<&Text>| problems.collect(file(text, variables)).flatten();
    let files =
        (read(conf.tls_cert.as_ref()), read(conf.tls_key.as_ref()), read(conf.tls_client_ca.as_ref()));
    problems.finish(())?;
    match files {
        (Some(certificate), Some(key), client_ca) => Ok(Some(TlsSpec { certificate, key, client_ca })),
        (None, None, None) => Ok(None),
        _ => {
            let message = "TLS needs both `tlsCert` and `tlsKey`";
            Err(Problem::new(conf.origin.clone(), message).into())
        }
    }
}

fn nothing_allowed(list: &Origin) -> Problem {
    Problem::new(list.clone(), "an empty list allows nothing")
        .hint("leave the key out for what is the default")
}
