//! What one peer may take of the daemon, and all together: numbers, and the counters that they are compared with.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

/// Limits of one port, or of all ports of a daemon together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Longest line in bytes, without its newline.
    pub line: usize,
    /// Lines a second of one peer; `None`: as many as come. More are not refused but wait.
    pub rate: Option<u32>,
    /// Connections in all.
    pub connections: usize,
    /// Connections of one peer: an IPv4 address, or an IPv6 network of 64 bits.
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
    /// Those of all ports of a daemon, and how many they may be.
    together: Option<(Arc<Connections>, usize)>,
    /// Bytes of answers that peers have not read.
    unread: AtomicUsize,
    /// Connections that have achieved nothing yet, by age: they go first when others want in.
    idlers: Mutex<BTreeMap<u64, Arc<Idler>>>,
    /// The number of the next connection.
    next: AtomicU64,
    /// Bytes of batches that are not committed yet.
    batches: AtomicUsize,
    /// Connections that are being told why they are not served.
    turned_away: AtomicUsize,
}

/// A connection that may have to go.
#[derive(Debug, Default)]
struct Idler {
    /// It has been told so: it is still counted, but makes room once only.
    told: AtomicBool,
    evicted: Notify,
}

#[derive(Debug, Default)]
struct Peer {
    connections: usize,
    /// When its next line may be answered.
    next: Option<Instant>,
}

impl Connections {
    /// None yet, of one port among several: `most` of all together are taken.
    pub fn part_of(all: &Arc<Self>, most: usize) -> Self {
        Self { together: Some((Arc::clone(all), most)), ..Self::default() }
    }

    /// A place for a connection of `peer`; it is given back when the [`Permit`] is dropped. Where all are taken, the
    /// oldest connection that has achieved nothing yet has to go: of this port, or of any where all of these together
    /// have too many.
    ///
    /// # Errors
    /// [`Full`]
    pub fn enter(self: &Arc<Self>, peer: Option<IpAddr>, limits: &Limits) -> Result<Permit, Full> {
        let peer = peer.map(network);
        if let Some(address) = peer
            && self.peers().get(&address).is_some_and(|peer| peer.connections >= limits.per_peer)
        {
            return Err(Full::Peer);
        }
        let together = self.together.as_ref();
        // one of its own makes room for both
        let full = if self.count() >= limits.connections {
            Some(self.as_ref())
        } else {
            together.filter(|(all, most)| all.count() >= *most).map(|(all, _)| all.as_ref())
        };
        if full.is_some_and(|connections| !connections.evict_oldest()) {
            return Err(Full::All);
        }
        if let Some(address) = peer {
            self.peers().entry(address).or_default().connections += 1;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        if let Some((all, _)) = together {
            all.count.fetch_add(1, Ordering::Relaxed);
        }
        let idler = Arc::<Idler>::default();
        let number = self.all().next.fetch_add(1, Ordering::Relaxed);
        self.idlers().insert(number, Arc::clone(&idler));
        if let Some((all, _)) = together {
            all.idlers().insert(number, Arc::clone(&idler));
        }
        Ok(Permit { port: Arc::clone(self), peer, number, idler, unread: AtomicUsize::new(0) })
    }

    /// Tells the oldest idler to go; whether there was one.
    fn evict_oldest(&self) -> bool {
        while let Some((_, idler)) = self.idlers().pop_first() {
            if !idler.told.swap(true, Ordering::Relaxed) {
                idler.evicted.notify_one();
                return true;
            }
        }
        false
    }

    /// A place among those that are told why they are not served; `None` where there are so many that they are not.
    pub fn turn_away(self: &Arc<Self>) -> Option<TurnedAway> {
        if self.all().turned_away.load(Ordering::Relaxed) >= TURNED_AWAY_MAX {
            return None;
        }
        self.all().turned_away.fetch_add(1, Ordering::Relaxed);
        Some(TurnedAway(Arc::clone(self)))
    }

    /// Room for a batch.
    pub fn batch(self: &Arc<Self>) -> BatchRoom {
        BatchRoom { port: Arc::clone(self), bytes: 0 }
    }

    /// Connections that are open.
    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Bytes of answers that peers have not read.
    pub fn unread(&self) -> usize {
        self.all().unread.load(Ordering::Relaxed)
    }

    /// Memory is one, however many ports there are.
    fn all(&self) -> &Self {
        self.together.as_ref().map_or(self, |(all, _)| all)
    }

    fn idlers(&self) -> MutexGuard<'_, BTreeMap<u64, Arc<Idler>>> {
        self.idlers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn peers(&self) -> MutexGuard<'_, HashMap<IpAddr, Peer>> {
        // numbers are right at every point where a panic could be
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most bytes of one batch, and of all that are not committed yet.
const BATCH_MAX: usize = 16 << 20;
const BATCHES_MAX: usize = 64 << 20;

/// The room of a batch; it is given back when this is dropped.
#[derive(Debug)]
pub struct BatchRoom {
    port: Arc<Connections>,
    bytes: usize,
}

impl BatchRoom {
    /// Room for a line more; whether there is some.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let fits = self.bytes + bytes <= BATCH_MAX
            && self.port.all().batches.load(Ordering::Relaxed) + bytes <= BATCHES_MAX;
        if fits {
            self.bytes += bytes;
            self.port.all().batches.fetch_add(bytes, Ordering::Relaxed);
        }
        fits
    }
}

impl Drop for BatchRoom {
    fn drop(&mut self) {
        self.port.all().batches.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Most connections at a time that are told why they are not served.
const TURNED_AWAY_MAX: usize = 256;

/// Who counts as one peer: an IPv4 address, or an IPv6 network of 64 bits, in which a machine has as many addresses
/// as it likes.
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64)).into(),
    }
}

/// A connection that is told why it is not served.
#[derive(Debug)]
pub struct TurnedAway(Arc<Connections>);

impl Drop for TurnedAway {
    fn drop(&mut self) {
        self.0.all().turned_away.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The place of one connection.
#[derive(Debug)]
pub struct Permit {
    port: Arc<Connections>,
    peer: Option<IpAddr>,
    number: u64,
    idler: Arc<Idler>,
    /// Bytes of its answers that are among those that peers have not read.
    unread: AtomicUsize,
}

impl Permit {
    /// Returns when the connection has to go for another.
    pub async fn evicted(&self) {
        self.idler.evicted.notified().await;
    }

    /// The connection has achieved something: it stays.
    pub fn keep(&self) {
        self.port.idlers().remove(&self.number);
        if let Some((all, _)) = &self.port.together {
            all.idlers().remove(&self.number);
        }
    }

    /// How long to wait before the next lines, now that `lines` have been answered.
    pub fn pace(&self, lines: usize, rate: Option<u32>) -> Option<Instant> {
        let (Some(rate), Some(address)) = (rate, self.peer) else { return None };
        let now = Instant::now();
        let mut peers = self.port.peers();
        let peer = peers.entry(address).or_default();
        let cost = Duration::from_secs(1).saturating_mul(lines as u32) / rate.max(1);
        let next = peer.next.map_or(now, |next| next.max(now)) + cost;
        peer.next = Some(next);
        Some(next)
    }

    /// Notes that answers of so many bytes lie unread now. With the permit they are forgotten: a connection can be
    /// broken off at any time.
    pub fn note_unread(&self, now: usize) {
        let before = self.unread.swap(now, Ordering::Relaxed);
        let unread = &self.port.all().unread;
        if now >= before {
            unread.fetch_add(now - before, Ordering::Relaxed);
        } else {
            unread.fetch_sub(before - now, Ordering::Relaxed);
        }
    }

    /// The connections of its port.
    pub fn port(&self) -> &Connections {
        &self.port
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.keep();
        self.note_unread(0);
        self.port.count.fetch_sub(1, Ordering::Relaxed);
        if let Some((all, _)) = &self.port.together {
            all.count.fetch_sub(1, Ordering::Relaxed);
        }
        let Some(address) = self.peer else { return };
        let now = Instant::now();
        let mut peers = self.port.peers();
        if let Some(peer) = peers.get_mut(&address) {
            peer.connections = peer.connections.saturating_sub(1);
        }
        // who was too quick has to wait in the next connection, too
        peers.retain(|_, peer| peer.connections > 0 || peer.next.is_some_and(|next| next > now));
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn is_evicted(permit: &Permit) -> bool {
        pin!(permit.evicted()).poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_peer_is_an_address_or_a_network_of_64_bits() {
        let limits = Limits { per_peer: 1, ..Limits::default() };
        let connections = Arc::<Connections>::default();
        let enter = |text| connections.enter(Some(address(text)), &limits);
        let held =
            ["10.0.0.1", "10.0.0.2", "fd00::1", "fd00:0:0:1::1"].map(|text| enter(text).expect("a place"));
        for text in ["10.0.0.1", "fd00::2", "fd00::ffff:ffff:ffff:ffff"] {
            assert_eq!(enter(text).expect_err("none"), Full::Peer, "{text}");
        }
        drop(held);
        assert!(enter("fd00::2").is_ok());
        assert!(connections.peers().is_empty(), "nobody is remembered for nothing");
    }

    #[test]
    fn the_oldest_that_has_achieved_nothing_goes_first() {
        let limits = Limits { connections: 3, ..Limits::default() };
        let connections = Arc::<Connections>::default();
        let enter = || connections.enter(None, &limits);
        let [useful, old, young] = [(); 3].map(|()| enter().expect("a place"));
        useful.keep();
        let mut new = Vec::new();
        for gone in [[false, true, false], [false, false, true]] {
            new.push(enter().expect("a place"));
            assert_eq!([&useful, &old, &young].map(is_evicted), gone);
        }
        new.iter().for_each(Permit::keep);
        assert_eq!(enter().expect_err("none"), Full::All);
        drop((old, young, new));
        assert_eq!((connections.count(), enter().is_ok()), (1, true));
    }

    #[test]
    fn all_ports_have_so_many_connections_together() {
        let all = Arc::<Connections>::default();
        let [one, other] = [(); 2].map(|()| Arc::new(Connections::part_of(&all, 3)));
        let limits = Limits { connections: 2, ..Limits::default() };
        let useful = |port: &Arc<Connections>| port.enter(None, &limits).inspect(Permit::keep);
        let (first, second, third) = (useful(&one), useful(&one), useful(&other));
        assert!(first.is_ok() && second.is_ok() && third.is_ok());
        // one has two, its own limit; the other could have one more
        for port in [&one, &other] {
            assert_eq!(useful(port).expect_err("none"), Full::All);
        }
        drop(first);
        assert_eq!((all.count(), one.count(), other.count()), (2, 1, 1));
        assert!(useful(&other).is_ok());
    }

    #[test]
    fn the_oldest_of_all_ports_goes_where_all_have_too_many() {
        let all = Arc::<Connections>::default();
        let [one, other] = [(); 2].map(|()| Arc::new(Connections::part_of(&all, 3)));
        let limits = Limits { connections: 2, ..Limits::default() };
        let enter = |port: &Arc<Connections>| port.enter(None, &limits);
        let held = [&other, &one, &one].map(|port| enter(port).expect("a place"));
        let gone = || [0, 1, 2].map(|n: usize| is_evicted(&held[n]));
        // its own where its own are too many, and it was not told before
        let [_first, second] = [&one, &other].map(|port| enter(port).expect("a place"));
        assert_eq!(gone(), [true, true, false]);
        let _third = enter(&other).expect("a place");
        assert_eq!((gone(), is_evicted(&second)), ([false; 3], true));
        let _fourth = enter(&one).expect("a place");
        assert_eq!(gone(), [false, false, true]);
    }

    #[test]
    fn what_lies_unread_is_forgotten_with_its_connection() {
        let all = Arc::<Connections>::default();
        let [one, other] = [(); 2].map(|()| Arc::new(Connections::part_of(&all, 3)));
        let enter = |port: &Arc<Connections>| port.enter(None, &Limits::default()).expect("a place");
        let (first, second) = (enter(&one), enter(&other));
        for (now, together) in [(5, 5), (9, 9), (7, 7)] {
            first.note_unread(now);
            assert_eq!(all.unread(), together);
        }
        second.note_unread(100);
        assert_eq!([&all, &one, &other].map(|port| port.unread()), [107; 3]);
        drop(first);
        assert_eq!(all.unread(), 100);
        drop(second);
        assert_eq!(all.unread(), 0);
    }

    #[test]
    fn batches_have_so_much_room_alone_and_together() {
        let all = Arc::<Connections>::default();
        let ports = [(); 2].map(|()| Arc::new(Connections::part_of(&all, 1)));
        let mut rooms: Vec<BatchRoom> = (0..4).map(|n: usize| ports[n % 2].batch()).collect();
        for room in &mut rooms {
            assert!(room.grow(BATCH_MAX) && !room.grow(1));
        }
        let mut late = ports[0].batch();
        assert!(!late.grow(1));
        rooms.pop();
        assert!(late.grow(BATCH_MAX - 1) && late.grow(1) && !late.grow(1));
    }

    #[test]
    fn the_pace_is_that_of_all_connections_of_a_peer() {
        let limits = Limits::default();
        let connections = Arc::<Connections>::default();
        let enter = |text| connections.enter(Some(address(text)), &limits).expect("a place");
        let one = enter("10.0.0.1");
        let first = one.pace(10, Some(1)).expect("limited");
        drop(one);
        let next = enter("10.0.0.1").pace(5, Some(1)).expect("limited");
        assert_eq!(next - first, Duration::from_secs(5));
        assert!(enter("10.0.0.2").pace(5, Some(1)).expect("limited") < first);
        assert_eq!(enter("10.0.0.1").pace(5, None), None);
    }
}
