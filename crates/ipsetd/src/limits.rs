//! What one peer may take of the daemon, and all together: numbers, and the counters that they are compared with.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Limits of one port, or of all ports of a daemon together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest line in bytes, without its newline.
    pub line: usize,
    /// Lines a second of one peer; `None`: as many as come. More are not refused but wait.
    pub rate: Option<u32>,
    /// Connections in all.
    pub connections: usize,
    /// Connections of one peer.
    pub per_peer: usize,
    /// How long a connection may be silent between two lines.
    pub idle: Duration,
    /// How long a line may take from its first byte to its last, answers may lie unread, and TLS may take to begin.
    pub patience: Duration,
    /// Lines of one batch.
    pub batch: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            line: 4096,
            rate: None,
            connections: 1024,
            per_peer: 64,
            idle: Duration::from_secs(300),
            patience: Duration::from_secs(10),
            batch: 100_000,
        }
    }
}

/// Why a connection is not served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Full {
    /// There are too many in all.
    #[error("too many connections")]
    All,
    /// There are too many of this peer.
    #[error("too many connections of this peer")]
    Peer,
}

/// The connections of a daemon, over all of its ports.
#[derive(Debug, Default)]
pub struct Connections {
    peers: Mutex<HashMap<IpAddr, Peer>>,
    count: AtomicUsize,
    /// Bytes of answers that peers have not read.
    unread: AtomicUsize,
}

#[derive(Debug, Default)]
struct Peer {
    connections: usize,
    /// When its next line may be answered.
    next: Option<Instant>,
}

impl Connections {
    /// A place for a connection of `peer`; it is given back when the [`Permit`] is dropped.
    ///
    /// # Errors
    /// [`Full`]
    pub fn enter(self: &Arc<Self>, peer: Option<IpAddr>, limits: &Limits) -> Result<Permit, Full> {
        if self.count.load(Ordering::Relaxed) >= limits.connections {
            return Err(Full::All);
        }
        if let Some(address) = peer {
            let mut peers = self.peers();
            let peer = peers.entry(address).or_default();
            if peer.connections >= limits.per_peer {
                return Err(Full::Peer);
            }
            peer.connections += 1;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(Permit { all: Arc::clone(self), peer })
    }

    /// Connections that are open.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes of answers that peers have not read.
    pub fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<IpAddr, Peer>> {
        // numbers are right at every point where a panic could be
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection.
#[derive(Debug)]
pub struct Permit {
    all: Arc<Connections>,
    peer: Option<IpAddr>,
}

impl Permit {
    /// How long to wait before the next lines, now that `lines` have been answered.
    pub fn pace(&self, lines: usize, rate: Option<u32>) -> Option<Instant> {
        let (Some(rate), Some(address)) = (rate, self.peer) else { return None };
        let now = Instant::now();
        let mut peers = self.all.peers();
        let peer = peers.entry(address).or_default();
        let cost = Duration::from_secs(1).saturating_mul(lines as u32) / rate.max(1);
        let next = peer.next.map_or(now, |next| next.max(now)) + cost;
        peer.next = Some(next);
        Some(next)
    }

    /// Notes that answers of so many bytes lie unread now, instead of `before`.
    pub fn note_unread(&self, before: usize, now: usize) {
        if now >= before {
            self.all.unread.fetch_add(now - before, Ordering::Relaxed);
        } else {
            self.all.unread.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// All connections.
    pub fn all(&self) -> &Connections {
        &self.all
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.all.count.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.peer else { return };
        let now = Instant::now();
        let mut peers = self.all.peers();
        if let Some(peer) = peers.get_mut(&address) {
            peer.connections = peer.connections.saturating_sub(1);
        }
        // who was too quick has to wait in the next connection, too
        peers.retain(|_, peer| peer.connections > 0 || peer.next.is_some_and(|next| next > now));
    }
}
