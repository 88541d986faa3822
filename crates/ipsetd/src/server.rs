//! A listener and the connections that come out of it. Everything runs on the thread of a current-thread runtime.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::server::TlsStream;

use crate::access::{self, Certificate, InputPolicy, PeerAddress, Refusal};
use crate::connection::{self, End, TLS_HANDSHAKE};
use crate::limits::Permit;
use crate::service::Service;
use crate::session::Session;
use crate::tls::Tls;

/// How long connections may take to send their last answers, unless it is said.
const DRAIN: Duration = Duration::from_secs(2);
/// How long to wait where no more sockets can be had.
const NO_SOCKETS: Duration = Duration::from_millis(100);

/// Whether it is time to end, and how long that may take. Clones see the same.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<Option<Duration>>);

/// Tells that it is time to end; dropping it does too.
#[derive(Debug)]
pub struct Stopper(watch::Sender<Option<Duration>>);

/// A pair of them.
pub fn shutdown() -> (Stopper, Shutdown) {
    let (sender, receiver) = watch::channel(None);
    (Stopper(sender), Shutdown(receiver))
}

impl Stopper {
    /// It is time to end.
    pub fn stop(&self) {
        self.stop_within(DRAIN);
    }

    /// It is time to end; connections have so long to send what they owe.
    pub fn stop_within(&self, deadline: Duration) {
        self.0.send_replace(Some(deadline));
    }
}

impl Shutdown {
    /// Whether it is time to end.
    pub fn is_requested(&self) -> bool {
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Returns when it is time to end.
    pub async fn requested(&mut self) {
        // an error means that nobody can ask any more
        let _ = self.0.wait_for(Option::is_some).await;
    }
}

/// Serves `listener` until `shutdown`. The listener is closed at once then, and with it what keeps a namespace; the
/// connections have a moment to send what they owe.
///
/// # Errors
/// The listener cannot be used at all. What befalls single connections is logged.
pub async fn serve(
    listener: std::net::TcpListener,
    service: Arc<Service>,
    mut shutdown: Shutdown,
) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let mut tasks = JoinSet::new();
    let mut log_after: Option<Instant> = None;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    tasks.spawn(admit(stream, peer, Arc::clone(&service), shutdown.clone()));
                }
                // of one connection that is gone already
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    if log_after.is_none_or(|time| time < Instant::now()) {
                        log::error!("{}cannot accept connections: {error}", service.label());
                        log_after = Some(Instant::now() + Duration::from_secs(10));
                    }
                    tokio::time::sleep(NO_SOCKETS).await;
                }
            },
            Some(_) = tasks.join_next(), if !tasks.is_empty() => {}
            () = shutdown.requested() => break,
        }
    }
    drop(listener);
    let deadline = shutdown.0.borrow().unwrap_or(DRAIN);
    let drained = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(deadline, drained).await.is_err() {
        log::warn!("{}connections were broken off after {} s", service.label(), deadline.as_secs());
    }
    Ok(())
}

/// One connection: whether it may be, then its lines.
async fn admit(stream: TcpStream, peer: SocketAddr, service: Arc<Service>, mut shutdown: Shutdown) {
    let address = canonical(peer.ip());
    let name = SocketAddr::new(address, peer.port()).to_string();
    // what only the certificate can be refused for comes once it is seen
    if let Err(reason) = judge(&service, address, Certificate::Right) {
        return turn_away(stream, &service, &name, &reason).await;
    }
    let permit = match service.connections().enter(Some(address), service.limits()) {
        Ok(permit) => permit,
        Err(full) => return turn_away(stream, &service, &name, &full.to_string()).await,
    };
    // answers are small and somebody waits for each
    let _ = stream.set_nodelay(true);
    log::debug!("{}{name} connected", service.label());
    match service.tls().cloned() {
        None => converse(stream, &service, &name, &permit, &mut shutdown).await,
        // apart: a connection without TLS needs no room for it
        Some(tls) => Box::pin(secure(tls, stream, address, &name, &service, permit, shutdown)).await,
    }
}

/// The same over TLS.
async fn secure(
    tls: Tls,
    stream: TcpStream,
    address: IpAddr,
    name: &str,
    service: &Arc<Service>,
    permit: Permit,
    mut shutdown: Shutdown,
) {
    let agreed = tokio::select! {
        agreed = tokio::time::timeout(service.limits().patience, agree(tls, stream)) => agreed,
        () = permit.evicted() => return report(service, name, &End::Evicted),
        () = shutdown.requested() => return,
    };
    match agreed {
        Err(_) => log::warn!("{}{name} closed: TLS was not agreed on in time", service.label()),
        Ok(Agreed::Plain(stream)) => {
            drop(permit);
            turn_away(stream, service, name, "this port speaks TLS only").await;
        }
        Ok(Agreed::Failed { stream, certificate, message }) => {
            drop(permit);
            let refused = certificate.and_then(|certificate| judge(service, address, certificate).err());
            log::warn!("{}{name} refused: {}", service.label(), refused.unwrap_or(message));
            // it has been sent an alert, which a reset would take away
            linger(stream, service).await;
        }
        Ok(Agreed::Tls(stream, certificate)) => match judge(service, address, certificate) {
            Ok(()) => converse(stream, service, name, &permit, &mut shutdown).await,
            Err(reason) => {
                drop(permit);
                turn_away(stream, service, name, &reason).await;
            }
        },
    }
}

/// What came of a handshake.
enum Agreed {
    Tls(Box<TlsStream<TcpStream>>, Certificate),
    /// The peer does not speak TLS.
    Plain(TcpStream),
    Failed {
        stream: TcpStream,
        certificate: Option<Certificate>,
        message: String,
    },
}

async fn agree(tls: Tls, stream: TcpStream) -> Agreed {
    // whoever sends a line in the clear shall read why it is not taken
    let mut first = [0];
    if !matches!(stream.peek(&mut first).await, Ok(1)) || first != [TLS_HANDSHAKE] {
        return Agreed::Plain(stream);
    }
    match tls.accept(stream).await {
        Ok((stream, certificate)) => Agreed::Tls(stream, certificate),
        Err((failed, stream)) => {
            Agreed::Failed { stream, certificate: failed.certificate, message: failed.message }
        }
    }
}

async fn converse<S: AsyncRead + AsyncWrite>(
    stream: S,
    service: &Arc<Service>,
    name: &str,
    permit: &Permit,
    shutdown: &mut Shutdown,
) {
    let mut session = Session::new(Arc::clone(service), name);
    let end = connection::run(stream, &mut session, service.limits(), permit, shutdown).await;
    report(service, name, &end);
}

/// Whether the peer may connect; the reason why not.
fn judge(service: &Service, address: IpAddr, certificate: Certificate) -> Result<(), String> {
    let own = service.surroundings().is_own(address)?;
    let access = service.access();
    // the firewall is only looked at where it matters
    let input = match access::open(access, InputPolicy::Open) {
        Ok(()) => InputPolicy::Open,
        Err(_) => service.surroundings().input_policy(),
    };
    let refused = |refusal: Refusal| refusal.to_string();
    access::admit(access, input, PeerAddress { address, own }, certificate).map_err(refused)
}

/// Says why, and closes.
async fn turn_away<S: AsyncRead + AsyncWrite>(stream: S, service: &Service, name: &str, reason: &str) {
    log::warn!("{}{name} refused: {reason}", service.label());
    if let Some(_place) = service.connections().turn_away() {
        connection::turn_away(stream, reason).await;
    }
}

/// Closes, and leaves the peer time to read what it was sent.
async fn linger(stream: TcpStream, service: &Service) {
    if let Some(_place) = service.connections().turn_away() {
        let (mut reader, mut writer) = tokio::io::split(stream);
        connection::close(&mut reader, &mut writer).await;
    }
}

fn report(service: &Service, name: &str, end: &End) {
    let label = service.label();
    match end {
        End::Closed | End::Shutdown => log::debug!("{label}{name} left"),
        End::Refused => log::warn!("{label}{name} refused: it speaks another protocol"),
        End::Tls => log::warn!("{label}{name} refused: it speaks TLS, this port does not"),
        End::Evicted => log::warn!("{label}{name} closed: it said nothing, and others waited"),
        End::Idle => log::info!("{label}{name} closed: it was idle"),
        End::HalfLine => log::warn!("{label}{name} closed: it did not end its line"),
        End::Unread => log::warn!("{label}{name} closed: it did not read its answers"),
        End::Broken(error) => log::info!("{label}{name} broke off: {error}"),
    }
}

/// IPv4 in IPv6 is IPv4.
fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}
