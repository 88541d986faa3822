//! A listener and the connections that come out of it. Everything runs on the thread of a current-thread runtime.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::access::{self, Certificate, InputPolicy, PeerAddress, Refusal};
use crate::connection::{self, End};
use crate::executor::Answer;
use crate::service::Service;
use crate::session::Session;

/// How long connections may take to send their last answers when the daemon ends.
const DRAIN: Duration = Duration::from_secs(2);
/// How long to wait where no more sockets can be had.
const NO_SOCKETS: Duration = Duration::from_millis(100);

/// Whether it is time to end. Clones see the same.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

/// Tells that it is time to end; dropping it does too.
#[derive(Debug)]
pub struct Stopper(watch::Sender<bool>);

/// A pair of them.
pub fn shutdown() -> (Stopper, Shutdown) {
    let (sender, receiver) = watch::channel(false);
    (Stopper(sender), Shutdown(receiver))
}

impl Stopper {
    /// It is time to end.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Shutdown {
    /// Returns when it is time to end.
    pub async fn requested(&mut self) {
        // an error means that nobody can ask any more
        let _ = self.0.wait_for(|stop| *stop).await;
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
    let drained = async { while tasks.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, drained).await;
    Ok(())
}

/// One connection: whether it may be, then its lines.
async fn admit(mut stream: TcpStream, peer: SocketAddr, service: Arc<Service>, mut shutdown: Shutdown) {
    let address = canonical(peer.ip());
    let name = SocketAddr::new(address, peer.port()).to_string();
    let permit = match service.connections().enter(Some(address), service.limits()) {
        Ok(permit) => permit,
        Err(full) => return turn_away(stream, &service, &name, &full.to_string()).await,
    };
    let certificate = Certificate::Absent;
    if let Err(reason) = judge(&service, address, certificate) {
        drop(permit);
        return turn_away(stream, &service, &name, &reason).await;
    }
    // answers are small and somebody waits for each
    let _ = stream.set_nodelay(true);
    log::debug!("{}{name} connected", service.label());
    let mut session = Session::new(Arc::clone(&service), name.clone());
    let end = connection::run(&mut stream, &mut session, service.limits(), &permit, &mut shutdown).await;
    report(&service, &name, &end);
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
async fn turn_away(mut stream: TcpStream, service: &Service, name: &str, reason: &str) {
    log::warn!("{}{name} refused: {reason}", service.label());
    let mut line = Vec::new();
    Answer::Error(reason.to_owned()).render(&mut line);
    line.push(b'\n');
    // the socket's buffer has room for one line
    let _ = stream.write_all(&line).await;
    let _ = stream.shutdown().await;
}

fn report(service: &Service, name: &str, end: &End) {
    let label = service.label();
    match end {
        End::Closed | End::Shutdown => log::debug!("{label}{name} left"),
        End::Refused => log::warn!("{label}{name} refused: it speaks another protocol"),
        End::Tls => log::warn!("{label}{name} refused: it speaks TLS, this port does not"),
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
