//! The daemon alone in a container: it serves the namespace that it was started in.

use std::ffi::OsString;
use std::pin::{Pin, pin};
use std::sync::Arc;

use fwn_kernel::ipset::{SetClient, SetError};
use fwn_node::causes::with_causes;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};

use crate::access::{self, InputPolicy, Refusal};
use crate::entry::{EntryError, Task};
use crate::kernel_sets::KernelSets;
use crate::limits::Connections;
use crate::listen::{ListenError, listen_on};
use crate::server;
use crate::service::{Service, Surroundings};
use crate::settings::Settings;
use crate::surroundings::{KernelSurroundings, SurroundingsError};
use crate::tls::{Tls, TlsError};
use crate::token::{Token, TokenError};

/// Why the daemon does not serve.
#[derive(Debug, thiserror::Error)]
pub enum AloneError {
    /// ip_set cannot be used.
    #[error("cannot serve the sets of this network namespace")]
    Sets(#[from] SetError),
    /// The namespace cannot be asked.
    #[error(transparent)]
    Surroundings(#[from] SurroundingsError),
    /// The token is not fit.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The certificates are not fit.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The command does not run.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The port is not opened.
    #[error("port {port} stays closed: {refusal}; hint: {HINT}")]
    Unguarded {
        /// The port.
        port: u16,
        /// What is missing.
        refusal: Refusal,
    },
    /// The port cannot be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// No event loop.
    #[error("cannot start the event loop")]
    Runtime(#[source] std::io::Error),
}

const HINT: &str = "set IPSET_ALLOW_FROM, IPSET_TOKEN_FILE, IPSET_TLS_CA, or IPSET_ALLOW_ANY=1 for everybody";

/// A port that is open, and what is behind it.
pub struct Opened {
    listener: std::net::TcpListener,
    service: Arc<Service>,
}

/// Opens everything that can fail.
///
/// # Errors
/// [`AloneError`]
pub fn open(settings: Settings) -> Result<Opened, AloneError> {
    let sets = KernelSets::new(SetClient::open_here()?)?;
    let mut surroundings = KernelSurroundings::open_here()?;
    let input = surroundings.input_policy();
    let port = settings.port;
    access::open(&settings.access, input).map_err(|refusal| AloneError::Unguarded { port, refusal })?;
    let token = settings.token_file.as_deref().map(Token::read).transpose()?;
    let tls = settings.tls.as_ref().map(Tls::load).transpose()?;
    let listener = listen_on(port)?;
    let guards = guards(&settings, input);
    log::info!("listening on port {port}, guarded by {guards}");
    let mut service = Service::new("", settings.access, Box::new(sets), Box::new(surroundings))
        .with_limits(settings.limits, Arc::new(Connections::default()));
    if let Some(token) = token {
        service = service.with_token(token);
    }
    if let Some(tls) = tls {
        service = service.with_tls(tls);
    }
    Ok(Opened { listener, service: Arc::new(service) })
}

/// What guards the port, for the log.
fn guards(settings: &Settings, input: InputPolicy) -> String {
    let access = &settings.access;
    let all = [
        (access.allow_from.is_some(), "an allow-list"),
        (access.token, "a token"),
        (access.certificate, "client certificates"),
        (input == InputPolicy::Closed, "a closed INPUT policy"),
    ];
    let named: Vec<&str> = all.into_iter().filter(|(there, _)| *there).map(|(_, name)| name).collect();
    if named.is_empty() { "nothing (IPSET_ALLOW_ANY)".into() } else { named.join(" and ") }
}

/// As many files as the hard limit allows: each connection is one.
pub fn raise_file_limit() {
    if let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE)
        && soft < hard
    {
        // with fewer files there are fewer connections, no more
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

impl Opened {
    /// Serves until a signal asks to end; or, beside `command`, until that ends, whose exit code it gives then.
    ///
    /// # Errors
    /// [`AloneError`]
    pub fn serve(self, command: &[OsString]) -> Result<u8, AloneError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(AloneError::Runtime)?.block_on(async {
            let (stopper, shutdown) = server::shutdown();
            let ended: Pin<Box<dyn Future<Output = u8>>> = if command.is_empty() {
                Box::pin(asked_to_end()?)
            } else {
                Box::pin(Task::start(command)?.ended())
            };
            // not before: the task has the limit that it was given
            raise_file_limit();
            let mut serving = pin!(server::serve(self.listener, self.service, shutdown));
            let mut ended = ended;
            tokio::select! {
                code = &mut ended => {
                    stopper.stop();
                    serving.await.map_err(AloneError::Runtime)?;
                    Ok(code)
                }
                served = &mut serving => {
                    let error = served.err().map(AloneError::Runtime);
                    match error {
                        // the task does not need us
                        Some(error) if !command.is_empty() => log::error!("{}", with_causes(&error)),
                        Some(error) => return Err(error),
                        None => {}
                    }
                    Ok(ended.await)
                }
            }
        })
    }
}

/// Returns when a signal asks the daemon to end.
fn asked_to_end() -> Result<impl Future<Output = u8>, AloneError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(AloneError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(AloneError::Runtime)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        0
    })
}
