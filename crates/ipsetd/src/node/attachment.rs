//! One attachment on its way to being served: what the plugin asked for is checked once more, and everything that can
//! fail is tried, before anybody is let in.

use std::net::{IpAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use fwn_kernel::firewall::record::RecordedNetns;
use fwn_kernel::ipset::{SetClient, SetError};
use fwn_kernel::netns::TargetNetns;
use fwn_kernel::route::IpPrefix;
use fwn_node::causes::with_causes;
use fwn_node::message::{self, Registration};
use fwn_plan::set::check_set_name;

use super::sets::SharedSets;
use super::store::Record;
use crate::access::{self, Access, DEFAULT_VERBS, InputPolicy};
use crate::kernel_sets::KernelSets;
use crate::line::Verb;
use crate::listen::{self, ListenError};
use crate::service::Surroundings;
use crate::settings::TlsFiles;
use crate::surroundings::{KernelSurroundings, SurroundingsError};
use crate::tls::Tls;
use crate::token::Token;

/// Why an attachment is not served, and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// What to do.
    pub hint: Option<&'static str>,
}

impl Refusal {
    /// A refusal without a hint.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(self, hint: &'static str) -> Self {
        Self { hint: Some(hint), ..self }
    }
}

/// A port that is ours, or will be in a moment.
pub enum Port {
    /// Bound, and closed to everybody.
    Bound(OwnedFd),
    /// That of the registration before.
    Open(TcpListener),
}

/// An attachment that can be served.
pub struct Prepared {
    /// What to remember of it.
    pub record: Record,
    /// Who may do what.
    pub access: Access,
    /// The token, if there has to be one.
    pub token: Option<Token>,
    /// How it speaks TLS, if it does.
    pub tls: Option<Tls>,
    /// The port.
    pub port: Port,
    /// The sets of the namespace.
    pub sets: SharedSets,
    /// What the namespace can tell.
    pub surroundings: KernelSurroundings,
}

/// What of an earlier registration can be used again.
#[derive(Default)]
pub struct Reuse {
    /// The port, of the same attachment.
    pub listener: Option<TcpListener>,
    /// The sets, of any attachment in the same namespace.
    pub sets: Option<SharedSets>,
}

/// Whether the path leads to this namespace, for this process at this time.
pub fn leads_to(path: &Path, netns: &RecordedNetns) -> bool {
    std::fs::metadata(path).is_ok_and(|file| (file.dev(), file.ino()) == (netns.device, netns.inode))
}

/// Tries everything that a registration needs.
///
/// # Errors
/// [`Refusal`]; nothing is left behind.
pub fn prepare(target: &TargetNetns, registration: Registration, reuse: Reuse) -> Result<Prepared, Refusal> {
    let asked = &registration.access;
    let access = parse_access(asked)?;
    let tls = asked.tls.as_ref().map(|files| {
        let (certificate, key) = (files.certificate.clone(), files.key.clone());
        Tls::load(&TlsFiles { certificate, key, authorities: files.client_ca.clone() })
    });
    let tls = tls.transpose().map_err(|error| Refusal::new(with_causes(&error)))?;
    let token = asked.token_file.as_deref().map(Token::read).transpose();
    let token = token.map_err(|error| Refusal::new(with_causes(&error)))?;
    let (port, Reuse { listener, sets }) = (asked.port, reuse);
    let inside = move || -> Result<_, Refusal> {
        let port = match listener {
            Some(listener) => Port::Open(listener),
            None => Port::Bound(listen::bind_on(port).map_err(|error| unbound(&error))?),
        };
        let sets = match sets {
            Some(sets) => sets,
            None => open_sets().map_err(|error| Refusal::new(with_causes(&error)))?,
        };
        let surroundings = KernelSurroundings::open_here()
            .map_err(|error: SurroundingsError| Refusal::new(with_causes(&error)))?;
        Ok((port, sets, surroundings))
    };
    let opened = target.run(inside).map_err(|error| Refusal::new(with_causes(&error)))?;
    let (port, sets, surroundings) = opened?;
    let record = Record { netns: target.id().into(), registration };
    Ok(Prepared { record, access, token, tls, port, sets, surroundings })
}

fn open_sets() -> Result<SharedSets, SetError> {
    Ok(SharedSets::new(KernelSets::new(SetClient::open_here()?)?))
}

impl Prepared {
    /// Opens the port, if something guards it now.
    ///
    /// # Errors
    /// [`Refusal`]
    pub fn open(&mut self) -> Result<TcpListener, Refusal> {
        let input = match access::open(&self.access, InputPolicy::Open) {
            Ok(()) => InputPolicy::Open,
            Err(_) => self.surroundings.input_policy(),
        };
        access::open(&self.access, input).map_err(|refusal| {
            Refusal::new(refusal.to_string()).hint(
                "`allowFrom`, `tokenFile`, `tlsClientCa`, an INPUT policy DROP, or `\"allowAny\": true`",
            )
        })?;
        let failed = |error: ListenError| unbound(&error);
        let no_copy = |error| Refusal::new(format!("cannot use the listener once more: {error}"));
        match &self.port {
            Port::Open(listener) => listener.try_clone().map_err(no_copy),
            Port::Bound(socket) => {
                let socket = socket.try_clone().map_err(no_copy)?;
                listen::start(socket, self.record.registration.access.port).map_err(failed)
            }
        }
    }
}

fn unbound(error: &ListenError) -> Refusal {
    match error {
        ListenError::Taken(port) => Refusal::new(format!("port {port} is taken in this network namespace"))
            .hint("another `port`, or end what listens there"),
        ListenError::Socket { .. } => Refusal::new(with_causes(error)),
    }
}

fn parse_access(asked: &message::Access) -> Result<Access, Refusal> {
    let network = |text: &String| match text.parse::<IpAddr>() {
        Ok(address) => Ok(IpPrefix::host(address)),
        Err(_) => {
            text.parse().map_err(|_| Refusal::new(format!("`{text}` is neither an address nor a network")))
        }
    };
    let allow_from: Vec<IpPrefix> = asked.allow_from.iter().map(network).collect::<Result<_, _>>()?;
    let set = |name: &String| check_set_name(name).map(|()| name.clone()).map_err(Refusal::new);
    let verb = |word: &String| Verb::parse(word).ok_or_else(|| Refusal::new(format!("`{word}` is no verb")));
    Ok(Access {
        allow_from: (!allow_from.is_empty()).then_some(allow_from),
        token: asked.token_file.is_some(),
        certificate: asked.tls.as_ref().is_some_and(|files| files.client_ca.is_some()),
        any: asked.allow_any,
        sets: asked.sets.as_ref().map(|sets| sets.iter().map(set).collect()).transpose()?,
        verbs: match &asked.verbs {
            Some(verbs) => verbs.iter().map(verb).collect::<Result<_, _>>()?,
            None => DEFAULT_VERBS.into(),
        },
    })
}
