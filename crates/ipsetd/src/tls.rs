//! TLS of a port: files to an acceptor, and what a handshake says about the peer's certificate. Who may connect is
//! decided in [`crate::access`]; here it is only found out what was shown.

use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::{CertificateError, Error, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

use crate::access::Certificate;
use crate::settings::TlsFiles;

/// Largest file that is read.
const FILE_MAX: u64 = 1 << 20;

/// A port that speaks TLS.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Others can read the key.
    #[error("key file `{0}` is not for its owner alone; hint: chmod 0400")]
    Mode(PathBuf),
    /// Somebody else owns it, and can change it.
    #[error("key file `{0}` belongs to another user")]
    Owner(PathBuf),
    /// It holds nothing of the kind.
    #[error("`{path}` holds no {kind} in PEM form")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What was looked for.
        kind: &'static str,
    },
    /// What they hold does not go together, or is not fit.
    #[error("the certificates cannot be used")]
    Unfit(#[source] Error),
    /// The authorities cannot be used.
    #[error("the authorities of client certificates cannot be used: {0}")]
    Authorities(String),
}

/// A handshake that failed.
#[derive(Debug)]
pub struct Failed {
    /// What is wrong with the peer's certificate, if it is that.
    pub certificate: Option<Certificate>,
    /// For the log.
    pub message: String,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`]
    pub fn load(files: &TlsFiles) -> Result<Self, TlsError> {
        let provider = Arc::new(default_provider());
        let (key_text, metadata) = read(&files.key)?;
        if metadata.mode() & 0o077 != 0 {
            return Err(TlsError::Mode(files.key.clone()));
        }
        if ![0, geteuid().as_raw()].contains(&metadata.uid()) {
            return Err(TlsError::Owner(files.key.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(&key_text)
            .map_err(|_| TlsError::Pem { path: files.key.clone(), kind: "private key" })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unfit)?;
        let builder = match &files.authorities {
            None => builder.with_no_client_auth(),
            Some(path) => {
                let mut roots = RootCertStore::empty();
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(TlsError::Unfit)?;
                }
                // who has none gets an answer that says so, not a broken handshake
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider)
                    .allow_unauthenticated()
                    .build()
                    .map_err(|error| TlsError::Authorities(error.to_string()))?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut config =
            builder.with_single_cert(certificates(&files.certificate)?, key).map_err(TlsError::Unfit)?;
        // a session that is resumed shows no certificate, which may have expired meanwhile
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }

    /// Agrees with the peer; says what it showed.
    ///
    /// # Errors
    /// [`Failed`], and the stream, on which an alert has been sent.
    pub async fn accept<S>(&self, stream: S) -> Result<(Box<TlsStream<S>>, Certificate), (Failed, S)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        match self.0.accept(stream).into_fallible().await {
            Ok(stream) => {
                let shown = stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty());
                let certificate = if shown { Certificate::Right } else { Certificate::Absent };
                Ok((Box::new(stream), certificate))
            }
            Err((error, stream)) => {
                let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
                Err((Failed { certificate: cause.and_then(classify), message: error.to_string() }, stream))
            }
        }
    }
}

/// What an error says about the peer's certificate.
fn classify(error: &Error) -> Option<Certificate> {
    match error {
        Error::NoCertificatesPresented => Some(Certificate::Absent),
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Some(Certificate::Expired),
        Error::InvalidCertificate(_) => Some(Certificate::Wrong),
        _ => None,
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let (text, _) = read(path)?;
    let bad = || TlsError::Pem { path: path.to_owned(), kind: "certificate" };
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    all.ok().filter(|all| !all.is_empty()).ok_or_else(bad)
}

/// Content of a file, and whose it is.
fn read(path: &Path) -> Result<(Vec<u8>, Metadata), TlsError> {
    let read = || {
        // a fifo must not hang us
        let file = File::options().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(path)?;
        let metadata = file.metadata()?;
        let mut text = Vec::new();
        file.take(FILE_MAX).read_to_end(&mut text)?;
        Ok((text, metadata))
    };
    read().map_err(|source| TlsError::Read { path: path.to_owned(), source })
}
