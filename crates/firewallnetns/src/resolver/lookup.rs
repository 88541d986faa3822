//! One name, asked for from the servers in turn: a name comes in, its addresses go out. Every socket stays open
//! until the end, so that a slow answer still counts after the next server has been asked.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Reason;
use super::files::ResolvConf;
use super::message::{Answer, Kind, decode_answer, encode_query};

/// Without EDNS an answer over UDP has 512 bytes at most (RFC 1035, 4.2.1); some servers send more.
const MAX_UDP: usize = 4096;

/// Whom to ask, and until when.
pub(super) struct Lookup<'c> {
    conf: &'c ResolvConf,
    deadline: Instant,
    timeout: Duration,
    /// For one server, before the next is asked too.
    interval: Duration,
}

/// A question of one type to all servers.
struct Query {
    kind: Kind,
    ids: Vec<u16>,
    /// Of each server.
    states: Vec<State>,
    answer: Option<Answer>,
}

#[derive(Clone)]
enum State {
    Unasked,
    Waiting,
    Failed(Reason),
}

impl<'c> Lookup<'c> {
    /// The timeout is shared out between all questions unless `conf` says how long to wait for one.
    pub(super) fn new(conf: &'c ResolvConf, deadline: Instant, timeout: Duration) -> Self {
        let turns = u32::try_from(conf.servers.len() * conf.attempts).unwrap_or(u32::MAX).max(1);
        let interval = conf.interval.unwrap_or(timeout / turns).max(Duration::from_millis(10));
        Self { conf, deadline, timeout, interval }
    }

    /// The addresses of a name, of the first of its full names that has any. A server that fails on the way ends
    /// it: another full name might be another host.
    pub(super) fn addresses(&self, name: &str) -> Result<BTreeSet<IpAddr>, Reason> {
        let mut exists = false;
        for candidate in self.conf.candidates(name) {
            match self.ask(&candidate)? {
                Some(addresses) if addresses.is_empty() => exists = true,
                Some(addresses) => return Ok(addresses),
                None => {}
            }
        }
        Err(if exists { Reason::NoAddresses } else { Reason::NotFound })
    }

    /// Both families of a full name; `None` if there is no such name.
    fn ask(&self, name: &str) -> Result<Option<BTreeSet<IpAddr>>, Reason> {
        let servers = self.conf.servers.len();
        let mut exchange = Exchange {
            lookup: self,
            name,
            queries: [Kind::A, Kind::Aaaa].map(|kind| Query {
                kind,
                ids: Vec::new(),
                states: vec![State::Unasked; servers],
                answer: None,
            }),
            sockets: (0..servers).map(|_| None).collect(),
            random: RandomState::new(),
        };
        for server in (0..self.conf.attempts).flat_map(|_| 0..servers) {
            exchange.send(server);
            let until = self.deadline.min(Instant::now() + self.interval);
            exchange.listen(until, |query| query.answer.is_some() || !query.waits_for(server));
            if exchange.queries.iter().all(|query| query.answer.is_some()) || Instant::now() >= self.deadline
            {
                break;
            }
        }
        // slow answers
        exchange.listen(self.deadline, |query| query.answer.is_some() || !query.waits());
        exchange.outcome()
    }
}

impl Query {
    fn waits_for(&self, server: usize) -> bool {
        matches!(self.states.get(server), Some(State::Waiting))
    }

    fn waits(&self) -> bool {
        self.states.iter().any(|state| matches!(state, State::Waiting))
    }
}

/// One full name on its way.
struct Exchange<'l> {
    lookup: &'l Lookup<'l>,
    name: &'l str,
    queries: [Query; 2],
    sockets: Vec<Option<UdpSocket>>,
    random: RandomState,
}

impl Exchange<'_> {
    /// Asks `server` what is not answered yet.
    fn send(&mut self, server: usize) {
        let address = self.lookup.conf.servers[server];
        if self.sockets[server].is_none() {
            match connect(address) {
                Ok(socket) => self.sockets[server] = Some(socket),
                Err(error) => return self.fail(server, &unreachable(address, &error)),
            }
        }
        let Some(socket) = &self.sockets[server] else { return };
        let mut failure = None;
        for query in self.queries.iter_mut().filter(|query| query.answer.is_none()) {
            let seed = (query.kind == Kind::A, query.ids.len());
            let id = self.random.hash_one(seed) as u16;
            let Some(bytes) = encode_query(id, self.name, query.kind) else { continue };
            query.ids.push(id);
            query.states[server] = State::Waiting;
            // the first try may only report that the last datagram was refused
            if let Err(error) = socket.send(&bytes).or_else(|_| socket.send(&bytes)) {
                failure = Some(error);
            }
        }
        if let Some(error) = failure {
            self.fail(server, &unreachable(address, &error));
        }
    }

    /// Takes answers until every query is `settled`, or it is `until`.
    fn listen(&mut self, until: Instant, settled: impl Fn(&Query) -> bool) {
        while !self.queries.iter().all(&settled) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            // rounded up, so that the last millisecond is not spent in a loop
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            let open: Vec<_> = self
                .sockets
                .iter()
                .enumerate()
                .filter_map(|(at, socket)| Some((at, socket.as_ref()?)))
                .collect();
            let mut fds: Vec<_> =
                open.iter().map(|(_, socket)| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
            // an interrupted wait is taken up again; nothing else can go wrong with these sockets
            if poll(&mut fds, timeout).is_err() {
                continue;
            }
            let ready: Vec<_> = open
                .iter()
                .zip(&fds)
                .filter(|(_, fd)| fd.any() == Some(true))
                .map(|((at, _), _)| *at)
                .collect();
            for server in ready {
                self.receive(server);
            }
        }
    }

    /// Everything that has come from `server`.
    fn receive(&mut self, server: usize) {
        let address = self.lookup.conf.servers[server];
        let mut bytes = [0; MAX_UDP];
        while let Some(socket) = &self.sockets[server] {
            match socket.recv(&mut bytes) {
                Ok(length) => {
                    for at in 0..self.queries.len() {
                        self.take(server, at, &bytes[..length]);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.fail(server, &unreachable(address, &error)),
            }
        }
    }

    /// Takes a message if it answers query `at`.
    fn take(&mut self, server: usize, at: usize, bytes: &[u8]) {
        let address = self.lookup.conf.servers[server];
        let (name, lookup) = (self.name, self.lookup);
        let query = &mut self.queries[at];
        if query.answer.is_some() {
            return;
        }
        let mut answer = decode_answer(bytes, &query.ids, name, query.kind);
        if answer == Some(Answer::Truncated) {
            let until = lookup.deadline.min(Instant::now() + lookup.interval);
            // the id of the last question is as good as a new one: TCP cannot be spoofed by guessing it
            let id = query.ids.last().copied().unwrap_or_default();
            answer = match ask_by_tcp(address, id, name, query.kind, until) {
                Ok(bytes) => decode_answer(&bytes, &[id], name, query.kind)
                    .filter(|answer| *answer != Answer::Truncated)
                    .or(Some(Answer::Failure("malformed answer"))),
                Err(error) => {
                    query.states[server] = State::Failed(unreachable(address, &error));
                    return;
                }
            };
        }
        match answer {
            Some(Answer::Failure(code)) => {
                query.states[server] = State::Failed(Reason::ServerFailure { server: address, code });
            }
            Some(answer) => query.answer = Some(answer),
            None => {}
        }
    }

    fn fail(&mut self, server: usize, reason: &Reason) {
        for query in self.queries.iter_mut().filter(|query| query.answer.is_none()) {
            query.states[server] = State::Failed(reason.clone());
        }
    }

    fn outcome(self) -> Result<Option<BTreeSet<IpAddr>>, Reason> {
        let mut found: Option<BTreeSet<IpAddr>> = None;
        for query in self.queries {
            match query.answer {
                Some(Answer::Addresses(addresses)) => found.get_or_insert_default().extend(addresses),
                Some(Answer::NotFound) => {}
                Some(Answer::AliasLoop) => return Err(Reason::AliasLoop),
                Some(Answer::Truncated | Answer::Failure(_)) | None => {
                    return Err(failure(&query.states, self.lookup));
                }
            }
        }
        Ok(found)
    }
}

/// Why no server answered: a failure that one of them told says more than silence or a closed port.
fn failure(states: &[State], lookup: &Lookup<'_>) -> Reason {
    let mut silent = Vec::new();
    let mut unreachable = None;
    for (state, server) in states.iter().zip(&lookup.conf.servers) {
        match state {
            State::Failed(reason @ Reason::ServerFailure { .. }) => return reason.clone(),
            State::Failed(reason) => unreachable = Some(reason.clone()),
            State::Waiting => silent.push(*server),
            State::Unasked => {}
        }
    }
    match unreachable {
        Some(reason) if silent.is_empty() => reason,
        _ => Reason::NoAnswer { servers: silent, timeout: lookup.timeout },
    }
}

fn connect(server: SocketAddr) -> io::Result<UdpSocket> {
    // a port of its own for every name; connected, so that the kernel drops what comes from elsewhere
    let any: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A question and its answer by TCP: each with its length in front (RFC 1035, 4.2.2).
fn ask_by_tcp(server: SocketAddr, id: u16, name: &str, kind: Kind, until: Instant) -> io::Result<Vec<u8>> {
    let left = || {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::Error::from(io::ErrorKind::TimedOut)) } else { Ok(left) }
    };
    let query = encode_query(id, name, kind).ok_or(io::ErrorKind::InvalidInput)?;
    let length = u16::try_from(query.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let mut stream = TcpStream::connect_timeout(&server, left()?)?;
    stream.set_write_timeout(Some(left()?))?;
    stream.write_all(&[&length.to_be_bytes(), query.as_slice()].concat())?;
    let mut read = |wanted: usize| {
        let mut bytes = vec![0; wanted];
        let mut filled = 0;
        // not read_exact: the timeout is of one read, and a byte at a time would never end
        while filled < wanted {
            stream.set_read_timeout(Some(left()?))?;
            match stream.read(&mut bytes[filled..]) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    };
    let length = read(2)?;
    read(length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

fn unreachable(server: SocketAddr, error: &io::Error) -> Reason {
    Reason::Unreachable { server, error: error.kind() }
}
