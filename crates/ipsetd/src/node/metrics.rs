//! Metrics for Prometheus, over HTTP on an address or a unix socket of their own. Whoever can connect may read them:
//! they are numbers without names of containers. Off unless asked for.

use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpListener as BlockingTcp};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, text};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinSet;

use super::registry::Registry;
use super::socket::{ListenError, Socket};
use crate::server::Shutdown;

/// Where metrics can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `ADDRESS:PORT`
    Tcp(SocketAddr),
    /// A path: a unix socket, for root.
    Unix(PathBuf),
}

/// What is neither an address with a port nor an absolute path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`ADDRESS:PORT` or an absolute path is wanted")]
pub struct BadAddress;

impl std::str::FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| BadAddress)
    }
}

/// Why metrics cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The address cannot be had.
    #[error("cannot listen on `{address}` for metrics")]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The unix socket cannot be had.
    #[error(transparent)]
    Unix(#[from] ListenError),
}

/// Readers at the same time.
const READERS: usize = 16;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes of a request.
const REQUEST_MAX: usize = 8 << 10;

/// A listener for readers of metrics.
pub struct Metrics(Listener);

enum Listener {
    Tcp(TcpListener),
    Unix {
        listener: UnixListener,
        /// The file goes with the value.
        _socket: Socket,
    },
}

/// Listens.
///
/// # Errors
/// [`MetricsError`]
pub fn listen(address: &Address) -> Result<Metrics, MetricsError> {
    match address {
        Address::Tcp(address) => {
            let listen = || {
                let listener = BlockingTcp::bind(address)?;
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            };
            let failed = |source| MetricsError::Tcp { address: *address, source };
            listen().map(|listener| Metrics(Listener::Tcp(listener))).map_err(failed)
        }
        Address::Unix(path) => {
            let socket = Socket::bind(path, None)?;
            let listen = || {
                let listener = socket.listener.try_clone()?;
                listener.set_nonblocking(true)?;
                UnixListener::from_std(listener)
            };
            let failed = |source| ListenError::Io { action: "listen on", path: path.clone(), source };
            let listener = listen().map_err(failed)?;
            Ok(Metrics(Listener::Unix { listener, _socket: socket }))
        }
    }
}

impl Metrics {
    /// Answers readers until `shutdown`.
    pub async fn serve(self, registry: Arc<Registry>, mut shutdown: Shutdown) {
        let mut readers = JoinSet::new();
        loop {
            let stream = tokio::select! {
                stream = self.accept(), if readers.len() < READERS => stream,
                Some(_) = readers.join_next(), if !readers.is_empty() => continue,
                () = shutdown.requested() => return,
            };
            match stream {
                Ok(stream) => {
                    let registry = Arc::clone(&registry);
                    readers.spawn(async move {
                        let _ = tokio::time::timeout(PATIENCE, answer(stream, &registry)).await;
                    });
                }
                Err(error) => {
                    log::error!("cannot accept readers of metrics: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn accept(&self) -> io::Result<Box<dyn Duplex>> {
        match &self.0 {
            Listener::Tcp(listener) => Ok(Box::new(listener.accept().await?.0)),
            Listener::Unix { listener, .. } => Ok(Box::new(listener.accept().await?.0)),
        }
    }
}

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

async fn answer(mut stream: Box<dyn Duplex>, registry: &Arc<Registry>) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_MAX {
        if stream.read_buf(&mut request).await? == 0 {
            break;
        }
    }
    let mut words = request.split(u8::is_ascii_whitespace);
    let (status, body) = match (words.next(), words.next()) {
        (Some(b"GET"), Some(b"/metrics")) => ("200 OK", render(registry)),
        (Some(b"GET"), Some(_)) => ("404 Not Found", "metrics are at /metrics\n".to_owned()),
        _ => ("400 Bad Request", "only GET is understood\n".to_owned()),
    };
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let kind = if status.starts_with("200") { kind } else { "text/plain; charset=utf-8" };
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    stream.shutdown().await
}

/// The metrics as text.
fn render(registry: &Arc<Registry>) -> String {
    let mut metrics = prometheus_client::registry::Registry::with_prefix("ipsetd");
    metrics.register_collector(Box::new(Numbers(Arc::clone(registry))));
    let mut text = String::new();
    // writing to a string cannot fail
    let _ = text::encode(&mut text, &metrics);
    text
}

/// The numbers of a registry at the time they are asked for.
struct Numbers(Arc<Registry>);

impl fmt::Debug for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Numbers")
    }
}

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let status = self.0.status(false);
        let gauges = [
            ("registered", "Attachments that are registered", status.registered),
            ("listening", "Attachments whose port is open", status.listening),
            ("connections", "Connections to ports of containers", status.connections),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(value as u64);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        let counters = [
            ("requests", "Requests about sets, by peers and operators", status.requests),
            ("changes", "Requests that changed a set", status.changes),
            ("errors", "Requests that were answered by an error", status.errors),
            ("gone", "Attachments whose namespace went without a DEL", status.gone),
        ];
        for (name, help, value) in counters {
            let counter = ConstCounter::new(value);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        Ok(())
    }
}
