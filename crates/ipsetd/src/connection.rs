//! One connection, from its first byte to its last: bytes in, answers out, with a bound on everything that a peer can
//! make it keep. Reads and writes at the same time, so that a peer may send all its lines before it reads an answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::sleep_until;

use crate::executor::Answer;
use crate::frame::Input;
use crate::limits::{Limits, Permit};
use crate::server::Shutdown;
use crate::session::{Handler, Next};

/// Lines that are answered in one go; then others have their turn.
const LINES: usize = 4096;
/// Bytes of answers that may lie unread before no more lines are read.
const UNREAD_MAX: usize = 1 << 20;
/// The same where all connections together have more than [`UNREAD_ALL`].
const UNREAD_FEW: usize = 16 << 10;
/// Bytes of answers of all connections that may lie unread before each has to be content with few.
pub(crate) const UNREAD_ALL: usize = 64 << 20;
/// Bytes read in one go at first, and at most.
const READ_MIN: usize = 2 << 10;
const READ_MAX: usize = 64 << 10;
/// What is read and thrown away after the last answer, so that it is not lost by a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// The peer closed it, and has its answers.
    Closed,
    /// It was broken off by the peer or the network.
    Broken(String),
    /// The handler wanted it so.
    Refused,
    /// No line came for too long.
    Idle,
    /// A line was begun and not ended for too long.
    HalfLine,
    /// Answers were not read for too long.
    Unread,
    /// The peer speaks TLS, and the port does not.
    Tls,
    /// It achieved nothing, and others wanted its place.
    Evicted,
    /// The daemon ends.
    Shutdown,
}

/// Serves `stream` until one side has had enough.
pub async fn run<S: AsyncRead + AsyncWrite>(
    stream: S,
    handler: &mut impl Handler,
    limits: &Limits,
    permit: &Permit,
    shutdown: &mut Shutdown,
) -> End {
    let (reader, writer) = tokio::io::split(stream);
    let mut connection = Connection {
        reader,
        outbox: Outbox { writer, bytes: Vec::new(), sent: 0, progress: Instant::now(), flushed: true },
        input: Input::new(limits.line),
        read_size: READ_MIN,
    };
    let end = connection.serve(handler, limits, permit, shutdown).await;
    handler.end();
    end
}

/// Tells a peer that is not served why, and closes.
pub async fn turn_away<S: AsyncRead + AsyncWrite>(stream: S, reason: &str) {
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut line = Vec::new();
    Answer::Error(reason.to_owned()).render(&mut line);
    line.push(b'\n');
    let told = async {
        if writer.write_all(&line).await.is_ok() {
            close(&mut reader, &mut writer).await;
        }
    };
    let _ = tokio::time::timeout(LINGER, told).await;
}

/// Closes our side first. What the peer still sends is read: a socket that is closed with unread bytes answers with a
/// reset, and that takes answers away that are on their way.
pub(crate) async fn close<S: AsyncRead + AsyncWrite>(reader: &mut ReadHalf<S>, writer: &mut WriteHalf<S>) {
    if writer.shutdown().await.is_err() {
        return;
    }
    let mut scratch = Vec::with_capacity(READ_MIN);
    let drain = async {
        while let Ok(1..) = reader.read_buf(&mut scratch).await {
            scratch.clear();
        }
    };
    // who does not stop in time has had time to read
    let _ = tokio::time::timeout(LINGER, drain).await;
}

struct Connection<S> {
    reader: ReadHalf<S>,
    outbox: Outbox<S>,
    input: Input,
    read_size: usize,
}

impl<S: AsyncRead + AsyncWrite> Connection<S> {
    async fn serve(
        &mut self,
        handler: &mut impl Handler,
        limits: &Limits,
        permit: &Permit,
        shutdown: &mut Shutdown,
    ) -> End {
        // who was told nothing loses nothing
        let mut told = false;
        // why no more lines are taken: what is left is to write
        let mut ending: Option<End> = None;
        let mut last_line = Instant::now();
        let mut line_began: Option<Instant> = None;
        let mut not_before: Option<Instant> = None;
        let mut first_byte = true;
        loop {
            let unread = self.outbox.len();
            told |= unread > 0;
            permit.note_unread(unread);
            let room = if permit.port().unread() > UNREAD_ALL { UNREAD_FEW } else { UNREAD_MAX };
            // by the next rules, or nobody's: what came before waits for no turn any more
            if ending.is_none() && shutdown.is_requested() {
                ending = Some(End::Shutdown);
            }
            let may_answer = ending.is_none() && unread < room;

            if may_answer && not_before.is_none_or(|time| time <= Instant::now()) {
                let most = limits.rate.map_or(LINES, |rate| LINES.min(rate as usize).max(1));
                let frames = self.input.take(most, |line| handler.is_heavy(line));
                if !frames.is_empty() {
                    let lines = frames.len();
                    self.outbox.expect_more();
                    let before = self.outbox.bytes.len();
                    if handler.answer(&frames, &mut self.outbox.bytes) == Next::Close {
                        ending = Some(End::Refused);
                    }
                    if self.outbox.bytes.get(before..).is_some_and(|answers| answers.starts_with(b"ok")) {
                        permit.keep();
                    }
                    last_line = Instant::now();
                    line_began = None;
                    not_before = permit.pace(lines, limits.rate);
                    // the others' turn
                    tokio::task::yield_now().await;
                    continue;
                }
            }
            let waits = not_before.is_some_and(|time| time > Instant::now());
            let may_read = may_answer && !waits && !self.input.has_ended();
            if self.outbox.is_done() && (ending.is_some() || (self.input.has_ended() && !waits)) {
                let end = ending.unwrap_or(End::Closed);
                if told {
                    close(&mut self.reader, &mut self.outbox.writer).await;
                }
                return end;
            }
            if may_read && self.input.is_partial() {
                line_began.get_or_insert_with(Instant::now);
            }

            let deadline = if !self.outbox.is_done() {
                self.outbox.progress + limits.patience
            } else if let Some(began) = line_began {
                began + limits.patience
            } else {
                last_line + limits.idle
            };
            let wake = match not_before {
                Some(time) if waits => time.min(deadline),
                _ => deadline,
            };
            tokio::select! {
                read = self.reader.read_buf(self.input.room(self.read_size)), if may_read => match read {
                    Ok(0) => self.input.end(),
                    Ok(length) => {
                        self.read_size = if length == self.read_size { READ_MAX.min(length * 2) } else { READ_MIN.max(length) };
                        if std::mem::take(&mut first_byte) && self.input.rest().first() == Some(&TLS_HANDSHAKE) {
                            self.outbox.push_error("this port does not speak TLS");
                            ending = Some(End::Tls);
                        }
                    }
                    Err(error) => return End::Broken(error.to_string()),
                },
                written = self.outbox.send(), if !self.outbox.is_done() => {
                    if let Err(error) = written {
                        return End::Broken(error.to_string());
                    }
                }
                () = sleep_until(wake.into()) => {
                    if Instant::now() < deadline {
                        continue; // the pace allows more lines
                    }
                    if !self.outbox.is_done() {
                        return End::Unread;
                    }
                    if line_began.is_some() {
                        let seconds = limits.patience.as_secs();
                        self.outbox.push_error(&format!("the line was not ended within {seconds} seconds"));
                        ending = Some(End::HalfLine);
                    } else {
                        ending = Some(End::Idle);
                    }
                }
                () = permit.evicted(), if ending.is_none() => ending = Some(End::Evicted),
                () = shutdown.requested(), if ending.is_none() => ending = Some(End::Shutdown),
            }
        }
    }
}

/// First byte of a TLS connection: a record of type handshake.
pub const TLS_HANDSHAKE: u8 = 0x16;

/// Answers on their way to the peer.
struct Outbox<S> {
    writer: WriteHalf<S>,
    bytes: Vec<u8>,
    sent: usize,
    /// When the peer last took some.
    progress: Instant,
    flushed: bool,
}

impl<S: AsyncWrite> Outbox<S> {
    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    fn is_done(&self) -> bool {
        self.len() == 0 && self.flushed
    }

    /// Bytes are about to be appended: the peer's time to read them begins, unless it runs already.
    fn expect_more(&mut self) {
        if self.is_done() {
            self.progress = Instant::now();
        }
    }

    fn push_error(&mut self, message: &str) {
        self.expect_more();
        Answer::Error(message.to_owned()).render(&mut self.bytes);
        self.bytes.push(b'\n');
    }

    /// Sends some of it. Nothing is lost if the future is dropped.
    async fn send(&mut self) -> std::io::Result<()> {
        poll_fn(|context| self.poll_send(context)).await
    }

    fn poll_send(&mut self, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut moved = false;
        while let Some(rest) = self.bytes.get(self.sent..).filter(|rest| !rest.is_empty()) {
            self.flushed = false;
            match Pin::new(&mut self.writer).poll_write(context, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(length)) => {
                    self.sent += length;
                    self.progress = Instant::now();
                    moved = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending if moved => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        // one that sent a lot gives its memory back
        self.bytes = Vec::new();
        self.sent = 0;
        match Pin::new(&mut self.writer).poll_flush(context) {
            Poll::Ready(Ok(())) => {
                self.flushed = true;
                Poll::Ready(Ok(()))
            }
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::Arc;

    use super::*;
    use crate::frame::Frame;
    use crate::limits::Connections;

    const ANSWER: usize = 1 << 10;

    /// Answers every line alone, and counts them.
    struct Counter(usize);

    impl Handler for Counter {
        fn answer(&mut self, frames: &[Frame<'_>], answers: &mut Vec<u8>) -> Next {
            self.0 += frames.len();
            answers.resize(answers.len() + ANSWER, b'x');
            Next::Continue
        }

        fn is_heavy(&self, _line: &[u8]) -> bool {
            true
        }

        fn end(&mut self) {}
    }

    /// How many lines are answered to one who reads nothing, while others have so many bytes unread.
    fn answered(others: usize) -> usize {
        let limits = Limits::default();
        let connections = Arc::<Connections>::default();
        let enter = || connections.enter(None, &limits).expect("a place");
        let (other, permit) = (enter(), enter());
        other.note_unread(others);
        let (_stopper, mut shutdown) = crate::server::shutdown();
        let lines = "\n".repeat(3000);
        // one answer is on its way
        let (_peer, ours) = tokio::io::duplex(ANSWER);
        let stream = tokio::io::join(lines.as_bytes(), ours);
        let mut counter = Counter(0);
        let serving = async {
            let mut serving = pin!(run(stream, &mut counter, &limits, &permit, &mut shutdown));
            for _ in 0..10_000 {
                let step = poll_fn(|context| Poll::Ready(serving.as_mut().poll(context)));
                assert!(step.await.is_pending());
                tokio::task::yield_now().await;
            }
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime").block_on(serving);
        // broken off, as by the end of the daemon's patience
        assert!(connections.unread() > others);
        drop(permit);
        assert_eq!(connections.unread(), others);
        counter.0
    }

    #[test]
    fn no_more_lines_are_read_while_so_much_lies_unread() {
        assert_eq!(answered(0), 1 + UNREAD_MAX / ANSWER);
        assert_eq!(answered(UNREAD_ALL), 1 + UNREAD_FEW / ANSWER);
    }
}
