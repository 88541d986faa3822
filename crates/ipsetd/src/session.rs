//! What one connection has said so far, and what its next lines are answered with. Lines come in, answers go out;
//! no sockets here.

use std::sync::Arc;

use crate::access::{self, Refusal, TokenShown};
use crate::connection::UNREAD_ALL;
use crate::executor::{Answer, printable};
use crate::frame::Frame;
use crate::limits::BatchRoom;
use crate::line::{Command, LineError, Request, Verb, parse_line, verb_of};
use crate::service::Service;

/// Answers lines, for [`crate::connection::run`].
pub trait Handler {
    /// Appends one answer line for each frame, in order. What is behind a frame that ends the connection is not
    /// looked at.
    fn answer(&mut self, frames: &[Frame<'_>], answers: &mut Vec<u8>) -> Next;

    /// Whether a line can take so long, or have so long an answer, that it is the last one of its turn.
    fn is_heavy(&self, line: &[u8]) -> bool {
        let _ = line;
        false
    }

    /// The connection ends.
    fn end(&mut self);
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// More lines may come.
    Continue,
    /// It is closed once the answers are read.
    Close,
}

/// The session of a peer with a [`Service`].
pub struct Session {
    service: Arc<Service>,
    /// Who it is, for log lines.
    peer: String,
    token: TokenShown,
    /// Whether a line was answered already.
    spoken: bool,
    batch: Option<Batch>,
    /// Lines that were refused as others before, or one bad line too many, and are in no log.
    unlogged: usize,
    /// Whether one that was refused for good is.
    logged: bool,
    /// Bad lines that are.
    bad_lines: usize,
    /// Whether a `list` that was refused for the moment is.
    list_logged: bool,
}

/// Bad lines of one connection that are logged, each with what it was answered; the others are counted.
const BAD_LINES_LOGGED: usize = 10;

/// The lines since `begin`.
struct Batch {
    room: BatchRoom,
    lines: Vec<Vec<u8>>,
    /// The first that cannot be carried out, from 1, and why.
    bad: Option<(usize, String)>,
    count: usize,
}

/// A line that waits for the executor, or its answer.
enum Slot {
    Answered(Answer),
    Waiting,
}

impl Session {
    /// A session that nothing was said in yet.
    pub fn new(service: Arc<Service>, peer: impl Into<String>) -> Self {
        Self {
            service,
            peer: peer.into(),
            token: TokenShown::Absent,
            spoken: false,
            batch: None,
            unlogged: 0,
            logged: false,
            bad_lines: 0,
            list_logged: false,
        }
    }

    /// What can be answered without the executor; a request that cannot.
    fn judge<'a>(
        &mut self,
        line: &[u8],
        command: Result<Command<'a>, LineError>,
    ) -> Result<Request<'a>, (Answer, Next)> {
        let go_on = |answer| Err((answer, Next::Continue));
        let first = !std::mem::replace(&mut self.spoken, true);
        if let Ok(Command::Auth(token)) = command {
            return go_on(self.authenticate(first, token));
        }
        if let Err(refusal) = access::authenticate(self.service.access(), self.token)
            && command != Err(LineError::Http)
        {
            return go_on(self.refuse(&refusal));
        }
        match command {
            Err(error) => {
                let next = if error == LineError::Http { Next::Close } else { Next::Continue };
                Err((self.bad_line(error.to_string()), next))
            }
            Ok(Command::Begin) if self.batch.is_some() => {
                go_on(self.bad_line("a batch has begun already".into()))
            }
            Ok(Command::Begin) => {
                let room = self.service.connections().batch();
                self.batch = Some(Batch { room, lines: Vec::new(), bad: None, count: 0 });
                go_on(Answer::Done)
            }
            Ok(Command::Commit) => go_on(self.commit()),
            // taken above
            Ok(Command::Auth(token)) => go_on(self.authenticate(first, token)),
            Ok(Command::Request(request)) => {
                if let Err(refusal) = self.permit(&request) {
                    let answer = self.refuse(&refusal);
                    return go_on(self.bad_batch_line(answer));
                }
                if self.batch.is_some() {
                    return go_on(self.add_to_batch(line, &request));
                }
                match request {
                    Request::List { .. } if self.service.connections().unread() > UNREAD_ALL => {
                        go_on(self.refuse_list())
                    }
                    Request::List { set: None } => go_on(self.names()),
                    request => Ok(request),
                }
            }
        }
    }

    /// May the request be carried out, whatever it names?
    fn permit(&self, request: &Request<'_>) -> Result<(), Refusal> {
        let access = self.service.access();
        access::permit(access, request.verb(), request.sets())?;
        if access.sets.is_none() {
            return Ok(());
        }
        let members = self.service.executor().members(request);
        access::permit(access, request.verb(), members.iter().map(String::as_str))
    }

    fn authenticate(&mut self, first: bool, token: &str) -> Answer {
        if !self.service.access().token {
            return self.bad_line("this port takes no token".into());
        }
        if !first {
            return self.refuse(&Refusal::NoToken);
        }
        self.token = if self.service.is_token(token) { TokenShown::Right } else { TokenShown::Wrong };
        match access::authenticate(self.service.access(), self.token) {
            Ok(()) => Answer::Done,
            Err(refusal) => self.refuse(&refusal),
        }
    }

    fn refuse(&mut self, refusal: &Refusal) -> Answer {
        // one line for all: who may do nothing must not fill the log
        if refusal.is_final() && std::mem::replace(&mut self.logged, true) {
            self.unlogged += 1;
            return Answer::error(refusal);
        }
        log::warn!("{}{} refused: {}", self.service.label(), self.peer, printable(&refusal.to_string()));
        Answer::error(refusal)
    }

    /// A `list` at a time at which peers leave too much unread, whoever they are. Once for a connection: whoever asks
    /// again and again must not fill the log.
    fn refuse_list(&mut self) -> Answer {
        if std::mem::replace(&mut self.list_logged, true) {
            self.unlogged += 1;
        } else {
            let (label, peer) = (self.service.label(), &self.peer);
            let most = UNREAD_ALL >> 20;
            log::warn!("{label}{peer} was refused `list`: answers of more than {most} MiB lie unread in all");
        }
        Answer::Error("too many answers lie unread, ask again later".into())
    }

    /// A line that is wrong whoever sends it.
    fn bad_line(&mut self, message: String) -> Answer {
        self.log_bad_line(&message);
        self.bad_batch_line(Answer::Error(message))
    }

    /// Some of them, so that a client that has gone wrong is found and none fills the log.
    fn log_bad_line(&mut self, message: &str) {
        if self.bad_lines == BAD_LINES_LOGGED {
            self.unlogged += 1;
            return;
        }
        self.bad_lines += 1;
        log::warn!("{}{} sent a bad line: {}", self.service.label(), self.peer, printable(message));
    }

    fn bad_batch_line(&mut self, answer: Answer) -> Answer {
        if let (Some(batch), Answer::Error(message)) = (&mut self.batch, &answer) {
            batch.count += 1;
            let count = batch.count;
            batch.bad.get_or_insert_with(|| (count, message.clone()));
        }
        answer
    }

    /// Whether others should have their turn after this change. Asked only for those who may make it.
    fn is_slow(&self, line: &[u8]) -> bool {
        let access = self.service.access();
        let Ok(Command::Request(request)) = parse_line(line) else { return false };
        access::authenticate(access, self.token).is_ok()
            && access::permit(access, request.verb(), request.sets()).is_ok()
            && self.service.executor().is_slow(&request)
    }

    fn add_to_batch(&mut self, line: &[u8], request: &Request<'_>) -> Answer {
        let most = self.service.limits().batch;
        if self.batch.as_ref().is_some_and(|batch| batch.count >= most) {
            return self.bad_line(format!("a batch has at most {most} lines"));
        }
        let checked = self.service.executor().check(request);
        if let Err(message) = checked {
            return self.bad_line(message);
        }
        let Some(batch) = &mut self.batch else { return Answer::Done };
        // behind a bad line nothing will be carried out, so nothing is kept
        if batch.bad.is_none() {
            // a vector for each line
            if !batch.room.grow(line.len() + size_of::<Vec<u8>>()) {
                return self.bad_line("there is no room for so large a batch".into());
            }
            batch.lines.push(line.to_vec());
        }
        batch.count += 1;
        Answer::Done
    }

    fn commit(&mut self) -> Answer {
        let Some(batch) = self.batch.take() else {
            return self.bad_line("there is no batch: `begin` begins one".into());
        };
        let nothing = |session: &mut Self, at: Option<usize>, message: &str| {
            let place = at.map(|at| format!("line {at} of the batch: ")).unwrap_or_default();
            let message = format!("{place}{message}; nothing was changed");
            session.log_bad_line(&message);
            Answer::Error(message)
        };
        if let Some((at, message)) = &batch.bad {
            return nothing(self, Some(*at), message);
        }
        let requests: Vec<Request<'_>> = batch
            .lines
            .iter()
            .filter_map(|line| match parse_line(line) {
                Ok(Command::Request(request)) => Some(request),
                _ => None,
            })
            .collect();
        let done = self.service.executor().commit(&requests);
        match done {
            Ok(()) => {
                self.log_changes("in a batch ", requests.iter());
                Answer::Done
            }
            Err(error) => nothing(self, error.index.map(|index| index + 1), &error.message),
        }
    }

    /// The names of the sets that the peer may name.
    fn names(&self) -> Answer {
        match self.service.executor().names() {
            Ok(mut names) => {
                names.retain(|name| access::may_name(self.service.access(), name));
                Answer::Told(names.join(" "))
            }
            Err(message) => Answer::Error(message),
        }
    }

    /// One log line for changes of one set that follow each other.
    fn log_changes<'a>(&self, how: &str, requests: impl Iterator<Item = &'a Request<'a>>) {
        let mut requests =
            requests.filter(|request| !matches!(request.verb(), Verb::Test | Verb::List)).peekable();
        while let Some(request) = requests.next() {
            let (verb, sets) = (request.verb(), request.sets().collect::<Vec<_>>().join(" "));
            let Request::Change(change) = request else {
                log::info!("{}{} {how}{verb} {sets}", self.service.label(), self.peer);
                continue;
            };
            let (mut count, mut last) = (1, change);
            while let Some(Request::Change(change)) = requests
                .next_if(|next| matches!(next, Request::Change(next) if (next.set, next.delete) == (change.set, change.delete)))
            {
                count += 1;
                last = change;
            }
            let entries = if count == 1 {
                change.entry.to_string()
            } else {
                format!("{count} entries: {} ... {}", change.entry, last.entry)
            };
            log::info!("{}{} {how}{verb} {sets} {}", self.service.label(), self.peer, printable(&entries));
        }
    }

    /// What the log may say of a line.
    fn shown(&self, frame: Frame<'_>) -> String {
        match frame {
            Frame::TooLong => "a line that is too long".into(),
            Frame::Line(line) if self.service.access().token && self.token != TokenShown::Right => {
                format!("a line of {} bytes", line.len())
            }
            Frame::Line(line) => {
                let text = printable(&String::from_utf8_lossy(line.trim_ascii()));
                let secret = verb_of(line).get(..4).is_some_and(|word| word.eq_ignore_ascii_case(b"auth"));
                if secret { "auth ...".into() } else { format!("`{text}`") }
            }
        }
    }

    /// Carries out what waits, and puts the answers where they belong.
    fn carry_out(&mut self, waiting: &mut Vec<Request<'_>>, slots: &mut [Slot]) {
        if waiting.is_empty() {
            return;
        }
        let mut answers = Vec::with_capacity(waiting.len());
        self.service.executor().execute(waiting, &mut answers);
        let done = waiting.iter().zip(&answers).filter(|(_, answer)| matches!(answer, Answer::Done));
        self.log_changes("", done.map(|(request, _)| request));
        for answer in &answers {
            if let Answer::Error(message) = answer {
                self.log_bad_line(message);
            }
        }
        waiting.clear();
        let places = slots.iter_mut().filter(|slot| matches!(slot, Slot::Waiting));
        for (slot, answer) in places.zip(answers) {
            *slot = Slot::Answered(answer);
        }
    }
}

impl Handler for Session {
    fn answer(&mut self, frames: &[Frame<'_>], answers: &mut Vec<u8>) -> Next {
        let mut slots = Vec::with_capacity(frames.len());
        let mut waiting = Vec::new();
        let mut shown = Vec::new();
        let mut next = Next::Continue;
        for frame in frames {
            if log::log_enabled!(log::Level::Debug) {
                shown.push(self.shown(*frame));
            }
            let judged = match frame {
                Frame::TooLong => {
                    self.spoken = true;
                    let limit = self.service.limits().line;
                    Err((self.bad_line(format!("the line is longer than {limit} bytes")), Next::Continue))
                }
                Frame::Line(line) => {
                    let command = parse_line(line);
                    if matches!(command, Ok(Command::Begin | Command::Commit)) {
                        // a batch sees the lines before it done
                        self.carry_out(&mut waiting, &mut slots);
                    }
                    self.judge(line, command)
                }
            };
            match judged {
                Ok(request) => {
                    waiting.push(request);
                    slots.push(Slot::Waiting);
                }
                Err((answer, then)) => {
                    slots.push(Slot::Answered(answer));
                    next = then;
                }
            }
            if next == Next::Close {
                break;
            }
        }
        self.carry_out(&mut waiting, &mut slots);
        for (at, slot) in slots.iter().enumerate() {
            let start = answers.len();
            match slot {
                Slot::Answered(answer) => answer.render(answers),
                // an executor that gives too few answers
                Slot::Waiting => Answer::Error("it was not carried out".into()).render(answers),
            }
            if let Some(shown) = shown.get(at) {
                let answer = String::from_utf8_lossy(answers.get(start..).unwrap_or_default()).into_owned();
                log::debug!("{}{} {shown} -> {answer}", self.service.label(), self.peer);
            }
            answers.push(b'\n');
        }
        next
    }

    fn is_heavy(&self, line: &[u8]) -> bool {
        match verb_of(line) {
            b"list" | b"commit" => true,
            b"add" | b"del" => line.iter().any(|byte| matches!(byte, b'-' | b'/')) && self.is_slow(line),
            _ => false,
        }
    }

    fn end(&mut self) {
        if self.unlogged > 0 {
            log::warn!(
                "{}{} was refused {} lines more",
                self.service.label(),
                self.peer,
                std::mem::take(&mut self.unlogged)
            );
        }
        if let Some(batch) = self.batch.take() {
            log::warn!(
                "{}{} left before `commit`: {} lines of a batch are forgotten",
                self.service.label(),
                self.peer,
                batch.count
            );
        }
    }
}
