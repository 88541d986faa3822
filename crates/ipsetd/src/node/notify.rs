//! Tells systemd that the daemon is ready, or ends (`sd_notify(3)`). Without systemd nothing is told.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Sends a state to the socket of `NOTIFY_SOCKET`, if there is one. What cannot be told is no reason to end.
pub fn send(socket: Option<&str>, state: &str) {
    let Some(path) = socket else { return };
    let address = match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    };
    let sent = address.and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address));
    if let Err(error) = sent {
        log::warn!("cannot tell systemd: {error}");
    }
}
