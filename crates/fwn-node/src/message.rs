//! Requests and answers, and their form as lines. Neither file nor socket is touched here.

use std::path::PathBuf;

use fwn_kernel::firewall::record::{RecordedAttachment, RecordedNetns};
use serde::{Deserialize, Serialize};

/// Version of these messages: plugin and daemon may be of different age for a while.
pub const VERSION: u32 = 1;
/// Most bytes of a request: a garbage collection names every container.
pub const MAX_REQUEST: usize = 4 * 1024 * 1024;
/// Most bytes of an answer: a status names every container.
pub const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What the daemon is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase")]
pub enum Request {
    /// Get ready to serve an attachment; the namespace comes with it as a descriptor. One that is served already is
    /// replaced by the commit.
    Register(Registration),
    /// Serve what was registered on this connection.
    Commit,
    /// Serve an attachment no longer; one that is not served is fine.
    Unregister {
        /// Which.
        attachment: RecordedAttachment,
        /// In which namespace; in another one it stays.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        netns: Option<RecordedNetns>,
    },
    /// Is this attachment served?
    Check {
        /// Which.
        attachment: RecordedAttachment,
        /// In which namespace.
        netns: RecordedNetns,
    },
    /// Serve of a network no other attachments than these.
    Keep {
        /// The network.
        network: String,
        /// The attachments that are valid.
        attachments: Vec<Interface>,
    },
    /// Is anybody there, and what is served?
    Status {
        /// Whether each container is to be listed.
        containers: bool,
    },
}

/// An interface of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// `CNI_CONTAINERID`
    pub container: String,
    /// `CNI_IFNAME`
    pub interface: String,
}

/// An attachment whose sets are to be served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registration {
    /// Whose sets.
    pub attachment: RecordedAttachment,
    /// A path by which the namespace is found again after a restart of the daemon.
    pub netns_path: PathBuf,
    /// Who may change them, and how.
    pub access: Access,
}

/// Who may change the sets of one container, and how. Checked by both sides, each on its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    /// Port to listen on, inside the namespace.
    pub port: u16,
    /// Addresses and networks (`10.0.0.0/8`) of peers; none given: peers are not looked at.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_from: Vec<String>,
    /// Whether the port may be open to everybody.
    #[serde(default)]
    pub allow_any: bool,
    /// Sets that may be changed; all where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<Vec<String>>,
    /// Verbs that may be used; the daemon's default where not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verbs: Option<Vec<String>>,
    /// File with the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_file: Option<PathBuf>,
    /// TLS, where it is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsFiles>,
}

/// Files for TLS, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsFiles {
    /// The server's certificates.
    pub certificate: PathBuf,
    /// Their key.
    pub key: PathBuf,
    /// Whose clients may connect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "lowercase")]
pub enum Answer {
    /// A registration can be committed.
    Ready {
        /// The file in which the daemon will remember it: where the daemon is not there to be asked, removing this
        /// unregisters.
        record: PathBuf,
    },
    /// It is done, or it is so.
    Done,
    /// It is not, and nothing was changed.
    Refused {
        /// Why: lower case, no full stop.
        message: String,
        /// What to do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        hint: Option<String>,
    },
    /// What is served.
    Status(Status),
}

/// What is served.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub release: String,
    /// Its process.
    pub pid: u32,
    /// Attachments that are registered.
    pub registered: usize,
    /// Listeners that are open.
    pub listening: usize,
    /// Connections at the moment.
    pub connections: usize,
    /// Requests about sets since it started.
    pub requests: u64,
    /// Those of them that changed a set.
    pub changes: u64,
    /// Those that were answered by an error.
    pub errors: u64,
    /// Attachments whose namespace went without a DEL.
    pub gone: u64,
    /// Each attachment, where asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<ContainerStatus>,
}

/// One attachment that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerStatus {
    /// Whose sets.
    pub attachment: RecordedAttachment,
    /// Where its namespace was found.
    pub netns_path: PathBuf,
    /// Port it is served on.
    pub port: u16,
    /// Requests about its sets since it is served.
    pub requests: u64,
    /// Why it is not served at the moment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Why a line is no message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// It is no JSON, or not of the form of a message.
    #[error("not a message of this protocol")]
    Malformed(#[source] serde_json::Error),
    /// It is of another version.
    #[error("the message has version {0}, this program speaks version {VERSION}")]
    Version(u32),
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    message: &'a T,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

/// A request or answer as a line, with its end.
///
/// # Errors
/// A path in it is no UTF-8.
pub fn encode_line(message: &impl Serialize) -> Result<Vec<u8>, MessageError> {
    let versioned = Versioned { version: VERSION, message };
    let mut line = serde_json::to_vec(&versioned).map_err(MessageError::Malformed)?;
    line.push(b'\n');
    Ok(line)
}

/// A request or answer from a line, with or without its end.
///
/// # Errors
/// [`MessageError`]
pub fn decode_line<T: for<'a> Deserialize<'a>>(line: &[u8]) -> Result<T, MessageError> {
    let VersionOnly { version } = serde_json::from_slice(line).map_err(MessageError::Malformed)?;
    if version != VERSION {
        return Err(MessageError::Version(version));
    }
    serde_json::from_slice(line).map_err(MessageError::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_lines_of_json() {
        let attachment =
            RecordedAttachment { network: "net".into(), container: "c1".into(), interface: "eth0".into() };
        let access = Access {
            port: 9999,
            allow_from: vec!["10.0.0.0/8".into()],
            allow_any: false,
            sets: None,
            verbs: Some(vec!["add".into()]),
            token_file: None,
            tls: None,
        };
        let registration = Registration { attachment, netns_path: "/run/netns/c1".into(), access };
        let line = encode_line(&Request::Register(registration.clone())).expect("UTF-8");
        assert_eq!(
            String::from_utf8_lossy(&line),
            concat!(
                r#"{"version":1,"request":"register","attachment":{"network":"net","container":"c1","#,
                r#""interface":"eth0"},"netns_path":"/run/netns/c1","access":{"port":9999,"#,
                r#""allow_from":["10.0.0.0/8"],"allow_any":false,"verbs":["add"]}}"#,
                "\n"
            )
        );
        assert_eq!(decode_line::<Request>(&line).expect("a request"), Request::Register(registration));
        assert_eq!(
            encode_line(&Request::Commit).expect("UTF-8"),
            b"{\"version\":1,\"request\":\"commit\"}\n"
        );
    }

    #[test]
    fn what_is_no_message_is_told_from_one_of_another_version() {
        let shown = |line: &str| decode_line::<Request>(line.as_bytes()).expect_err("no message").to_string();
        assert_eq!(shown("add blocked 10.0.0.1"), "not a message of this protocol");
        assert_eq!(shown(r#"{"request":"commit"}"#), "not a message of this protocol");
        assert_eq!(shown(r#"{"version":1,"request":"sing"}"#), "not a message of this protocol");
        assert_eq!(
            shown(r#"{"version":2,"request":"sing"}"#),
            "the message has version 2, this program speaks version 1"
        );
    }
}
