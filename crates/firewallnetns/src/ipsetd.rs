//! The plugin's side of serving sets: an attachment is registered with the daemon of the node at ADD and unregistered
//! at DEL. The daemon may be dead at any time: that fails an ADD and a CHECK, and never a DEL.

use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use fwn_kernel::firewall::record::{RecordedAttachment, RecordedNetns};
use fwn_kernel::netns::TargetNetns;
use fwn_node::causes::with_causes;
use fwn_node::client::{ClientError, NodeClient};
use fwn_node::message::{self, Access, Answer, Request, TlsFiles};
use fwn_plan::ipsetd::IpsetdSpec;
use fwn_plan::origin::Origin;
use fwn_plan::plan::Attachment;
use serde::{Deserialize, Serialize};

use crate::call::Call;
use crate::failure::Failure;

/// Where the daemon is, and how long it may take.
#[derive(Debug, Clone)]
pub(crate) struct Daemon {
    /// Its unix socket.
    pub socket: PathBuf,
    /// How long an answer is waited for.
    pub timeout: Duration,
}

impl Default for Daemon {
    fn default() -> Self {
        Self { socket: fwn_node::SOCKET.into(), timeout: Duration::from_secs(5) }
    }
}

/// That an attachment is served, as its state remembers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Served {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The daemon's own file about it.
    pub record: PathBuf,
}

/// A registration that the daemon is ready for. Dropped without a commit, it leaves nothing behind.
pub(crate) struct Registration {
    client: NodeClient,
    origin: Origin,
    /// What the state has to remember.
    pub served: Served,
}

impl Registration {
    /// Has the daemon get ready for the attachment of a call.
    ///
    /// # Errors
    /// [`Failure::Ipsetd`]
    pub(crate) fn begin(call: &Call<'_>, spec: &IpsetdSpec, target: &TargetNetns) -> Result<Self, Failure> {
        let Daemon { socket, timeout } = &call.settings.daemon;
        let origin = spec.origin.clone();
        let registration = message::Registration {
            attachment: RecordedAttachment::from(&call.attachment),
            netns_path: target.path().to_owned(),
            access: access(spec),
        };
        let begin = || {
            let mut client = NodeClient::connect(socket, *timeout)?;
            match client.ask(&Request::Register(registration), Some(target.as_fd()))? {
                Answer::Ready { record } => Ok((client, Served { socket: socket.clone(), record })),
                _ => Err(client.unexpected()),
            }
        };
        match begin() {
            Ok((client, served)) => Ok(Self { client, origin, served }),
            Err(error) => Err(Failure::Ipsetd(error, origin)),
        }
    }

    /// The firewall is in force: the daemon lets peers in from now on.
    ///
    /// # Errors
    /// [`Failure::Ipsetd`]
    pub(crate) fn commit(&mut self) -> Result<(), Failure> {
        self.client.tell(&Request::Commit).map_err(|error| Failure::Ipsetd(error, self.origin.clone()))
    }
}

impl Served {
    /// Unregisters the attachment of a call, as far as it is in this namespace. Where the daemon is not there, its own
    /// file goes, so that it does not serve the attachment when it comes back.
    pub(crate) fn end(&self, call: &Call<'_>, netns: Option<RecordedNetns>) {
        let Err(error) = unregister(&self.socket, call, netns) else { return };
        log::warn!("{}", with_causes(&error));
        match fs::remove_file(&self.record) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                log::warn!("cannot remove `{}`: {error}", self.record.display());
            }
            _ => {}
        }
    }

    /// Whether the daemon serves an attachment in this namespace.
    ///
    /// # Errors
    /// It does not, or is not there.
    pub(crate) fn check(&self, call: &Call<'_>, netns: RecordedNetns) -> Result<(), ClientError> {
        let attachment = RecordedAttachment::from(&call.attachment);
        let mut client = NodeClient::connect(&self.socket, call.settings.daemon.timeout)?;
        client.tell(&Request::Check { attachment, netns })
    }
}

/// Unregisters an attachment of which no state tells, if the configuration has it served.
pub(crate) fn end_unknown(call: &Call<'_>, netns: Option<RecordedNetns>) {
    if call.settings.conf.ipsetd.is_some()
        && let Err(error) = unregister(&call.settings.daemon.socket, call, netns)
    {
        log::warn!("{}", with_causes(&error));
    }
}

/// Has the daemon forget all attachments of the call's network but the valid ones.
///
/// # Errors
/// It is not there.
pub(crate) fn keep(call: &Call<'_>, valid: Vec<message::Interface>) -> Result<(), ClientError> {
    if call.settings.conf.ipsetd.is_none() {
        return Ok(());
    }
    let Daemon { socket, timeout } = &call.settings.daemon;
    let network = call.attachment.network.clone();
    NodeClient::connect(socket, *timeout)?.tell(&Request::Keep { network, attachments: valid })
}

/// Whether a daemon is there, if the configuration needs one.
///
/// # Errors
/// It is not.
pub(crate) fn is_there(call: &Call<'_>) -> Result<(), ClientError> {
    if call.settings.conf.ipsetd.is_none() {
        return Ok(());
    }
    let Daemon { socket, timeout } = &call.settings.daemon;
    let mut client = NodeClient::connect(socket, *timeout)?;
    match client.ask(&Request::Status { containers: false }, None)? {
        Answer::Status(_) => Ok(()),
        _ => Err(client.unexpected()),
    }
}

fn unregister(
    socket: &std::path::Path,
    call: &Call<'_>,
    netns: Option<RecordedNetns>,
) -> Result<(), ClientError> {
    let attachment: &Attachment = &call.attachment;
    let request = Request::Unregister { attachment: attachment.into(), netns };
    NodeClient::connect(socket, call.settings.daemon.timeout)?.tell(&request)
}

fn access(spec: &IpsetdSpec) -> Access {
    Access {
        port: spec.port,
        allow_from: spec.allow_from.iter().map(ToString::to_string).collect(),
        allow_any: spec.allow_any,
        sets: spec.sets.as_ref().map(|sets| sets.iter().map(|(name, _)| name.clone()).collect()),
        verbs: spec.verbs.as_ref().map(|verbs| verbs.iter().map(|verb| (*verb).to_owned()).collect()),
        token_file: spec.token_file.as_ref().map(Into::into),
        tls: spec.tls.as_ref().map(|tls| TlsFiles {
            certificate: (&tls.certificate).into(),
            key: (&tls.key).into(),
            client_ca: tls.client_ca.as_ref().map(Into::into),
        }),
    }
}
