//! `ipsetd node` from its start to its end: one thread, one event loop for the unix socket, the ports of all containers,
//! and what is to be noticed.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinSet;

use super::registry::Registry;
use super::socket::{ListenError, Socket, Stream};
use super::store::{Store, StoreError};
use super::talk::Talk;
use super::watch::{Look, Watcher};
use super::{metrics, notify};
use crate::alone::raise_file_limit;
use crate::connection::{self, End};
use crate::limits::{Connections, Limits};
use crate::server::{Shutdown, shutdown};

use fwn_node::message::MAX_REQUEST;

/// What the daemon of a node is told.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// Its unix socket, unless systemd hands one over.
    pub socket: PathBuf,
    /// Group that may send operators' lines.
    pub group: Option<String>,
    /// Folder of what is registered.
    pub state_dir: PathBuf,
    /// Where metrics can be read, if anywhere.
    pub metrics: Option<metrics::Address>,
    /// How often all namespaces are looked at, whatever is noticed between.
    pub look_every: Duration,
    /// How long connections may take when the daemon ends.
    pub drain: Duration,
    /// Limits of the port of each container.
    pub limits: Limits,
    /// Connections of all ports together.
    pub connections: usize,
}

/// Why there is no daemon.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No unix socket.
    #[error(transparent)]
    Socket(#[from] ListenError),
    /// No folder for what is registered.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No metrics.
    #[error(transparent)]
    Metrics(#[from] metrics::MetricsError),
    /// Nobody would tell that a namespace is gone.
    #[error("cannot watch the mounts")]
    Watch(#[source] io::Error),
    /// No event loop.
    #[error("cannot start the event loop")]
    Runtime(#[source] io::Error),
}

/// How long a connection of the unix socket may be silent. A plugin needs less between registration and commit, an
/// operator may think.
const IDLE: Duration = Duration::from_secs(300);
/// Longest line of operators who are not root.
const OPERATORS_LINE: usize = 64 << 10;
/// Connections of the unix socket.
const TALKS: usize = 512;

/// Serves until a signal asks to end. `environment` tells of a socket that was handed over.
///
/// # Errors
/// [`NodeError`]
pub fn run(settings: &NodeSettings, environment: impl Fn(&str) -> Option<String>) -> Result<(), NodeError> {
    raise_file_limit();
    let socket = match Socket::inherit(&environment)? {
        Some(socket) => socket,
        None => Socket::bind(&settings.socket, settings.group.as_deref())?,
    };
    let store = Store::open(&settings.state_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(NodeError::Runtime)?;
    let served = runtime.block_on(serve(settings, &socket, store, environment("NOTIFY_SOCKET")));
    // nothing that is still open keeps us from ending
    runtime.shutdown_background();
    served
}

async fn serve(
    settings: &NodeSettings,
    socket: &Socket,
    store: Store,
    notify_socket: Option<String>,
) -> Result<(), NodeError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(NodeError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(NodeError::Runtime)?;
    let (looks, to_look) = unbounded_channel();
    let watcher = Watcher::new().map_err(NodeError::Watch)?;
    watcher.start(looks, settings.look_every).map_err(NodeError::Watch)?;
    let registry = Arc::new(Registry::new(store, settings.limits.clone(), settings.connections, watcher));
    registry.restore()?;
    let status = registry.status(false);
    log::info!("{} containers are served, of {} registered", status.listening, status.registered);

    let (stopper, shutdown) = shutdown();
    let mut tasks = JoinSet::new();
    if let Some(address) = &settings.metrics {
        let metrics = metrics::listen(address)?;
        tasks.spawn(metrics.serve(Arc::clone(&registry), shutdown.clone()));
    }
    let looking = tasks.spawn(look(Arc::clone(&registry), to_look));
    let listener = socket.listener.try_clone().map_err(NodeError::Runtime)?;
    listener.set_nonblocking(true).map_err(NodeError::Runtime)?;
    let listener = UnixListener::from_std(listener).map_err(NodeError::Runtime)?;
    let limits =
        Limits { connections: TALKS, idle: IDLE, patience: settings.limits.patience, ..Limits::default() };
    tasks.spawn(accept(listener, Arc::clone(&registry), limits, shutdown));
    notify::send(notify_socket.as_deref(), "READY=1");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    log::info!("ending");
    notify::send(notify_socket.as_deref(), "STOPPING=1");
    stopper.stop();
    // what is closed now is not tried once more
    looking.abort();
    registry.drain(settings.drain).await;
    tasks.abort_all();
    Ok(())
}

/// Looks where something was noticed.
async fn look(registry: Arc<Registry>, mut looks: UnboundedReceiver<Look>) {
    while let Some(look) = looks.recv().await {
        registry.look(&look);
    }
}

/// Takes connections of the unix socket.
async fn accept(listener: UnixListener, registry: Arc<Registry>, limits: Limits, mut shutdown: Shutdown) {
    /// How long to wait where no more sockets can be had.
    const NO_SOCKETS: Duration = Duration::from_millis(100);
    let connections = Arc::<Connections>::default();
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let talk = talk(Stream::new(stream), Arc::clone(&registry), limits.clone(), Arc::clone(&connections), shutdown.clone());
                    tasks.spawn(talk);
                }
                Err(error) => {
                    log::error!("cannot accept connections of the unix socket: {error}");
                    tokio::time::sleep(NO_SOCKETS).await;
                }
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            () = shutdown.requested() => return,
        }
    }
}

async fn talk(
    mut stream: Stream,
    registry: Arc<Registry>,
    limits: Limits,
    connections: Arc<Connections>,
    mut shutdown: Shutdown,
) {
    let peer = match stream.peer() {
        Ok(peer) => peer,
        Err(error) => return log::warn!("a peer of the unix socket cannot be told: {error}"),
    };
    let permit = match connections.enter(None, &limits) {
        Ok(permit) => permit,
        Err(full) => {
            log::warn!("process {} of user {} refused: {full}", peer.pid, peer.uid);
            // the socket's buffer has room for a line
            let _ = stream.write_all(format!("error: {full}\n").as_bytes()).await;
            return;
        }
    };
    // operators who are not root register nothing
    let limits = Limits { line: if peer.uid == 0 { MAX_REQUEST } else { OPERATORS_LINE }, ..limits };
    let fds = stream.fds();
    let mut talk = Talk::new(registry, peer, fds, limits.line);
    let end = connection::run(stream, &mut talk, &limits, &permit, &mut shutdown).await;
    match end {
        End::Closed | End::Shutdown | End::Idle | End::Evicted => {}
        End::HalfLine => log::warn!("process {} of user {} did not end its line", peer.pid, peer.uid),
        End::Unread => log::warn!("process {} of user {} did not read its answers", peer.pid, peer.uid),
        End::Broken(error) => log::debug!("process {} broke off: {error}", peer.pid),
        End::Refused | End::Tls => log::debug!("process {} was cut off", peer.pid),
    }
}
