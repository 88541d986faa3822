//! One connection of the unix socket: registrations by the plugin, lines of operators, questions. Lines come in, one
//! answer line for each goes out; what a connection got ready and did not commit goes with it.

use std::sync::{Arc, PoisonError};

use fwn_node::causes::with_causes;
use fwn_node::message::{self, Answer, Request, decode_line, encode_line};

use super::attachment::{Prepared, Refusal};
use super::operator;
use super::registry::Registry;
use super::socket::{Fds, Peer};
use crate::executor;
use crate::frame::Frame;
use crate::session::{Handler, Next};

/// What was said on one connection so far.
pub struct Talk {
    registry: Arc<Registry>,
    peer: Peer,
    fds: Fds,
    /// Longest line.
    line_max: usize,
    prepared: Option<Box<Prepared>>,
}

impl Talk {
    /// A talk in which nothing was said yet.
    pub fn new(registry: Arc<Registry>, peer: Peer, fds: Fds, line_max: usize) -> Self {
        Self { registry, peer, fds, line_max, prepared: None }
    }

    fn request(&mut self, line: &[u8]) -> (Answer, Next) {
        let request = match decode_line(line) {
            Ok(request) => request,
            Err(error) => {
                let hint = matches!(error, message::MessageError::Version(_))
                    .then_some("plugin and ipsetd have to be of one release");
                let refusal = Refusal { message: with_causes(&error), hint };
                return (self.refused("a request", refusal), Next::Close);
            }
        };
        (self.decide(request).unwrap_or_else(|refusal| self.refused("a request", refusal)), Next::Continue)
    }

    fn decide(&mut self, request: Request) -> Result<Answer, Refusal> {
        let failed = |error: super::store::StoreError| Refusal::new(with_causes(&error));
        match request {
            Request::Status { containers } => return Ok(Answer::Status(self.registry.status(containers))),
            _ if self.peer.uid != 0 => {
                return Err(Refusal::new("only root may register containers"));
            }
            Request::Register(registration) => {
                let fds = std::mem::take(&mut *self.fds.lock().unwrap_or_else(PoisonError::into_inner));
                let mut fds = fds.into_iter();
                let (Some(fd), None) = (fds.next(), fds.next()) else {
                    return Err(Refusal::new("one descriptor of a network namespace has to come with it"));
                };
                // one connection gets one ready
                self.prepared = None;
                let record = self.registry.record_file(&registration.attachment);
                self.prepared = Some(Box::new(self.registry.prepare(registration, fd)?));
                return Ok(Answer::Ready { record });
            }
            Request::Commit => {
                let prepared = self.prepared.take();
                self.registry.commit(*prepared.ok_or_else(|| Refusal::new("nothing was registered"))?)?;
            }
            Request::Unregister { attachment, netns } => {
                self.registry.unregister(&attachment, netns).map_err(failed)?;
            }
            Request::Check { attachment, netns } => self.registry.check(&attachment, &netns)?,
            Request::Keep { network, attachments } => {
                self.registry.keep(&network, &attachments).map_err(failed)?;
            }
        }
        Ok(Answer::Done)
    }

    fn refused(&self, what: &str, Refusal { message, hint }: Refusal) -> Answer {
        let said = executor::printable(&message);
        log::warn!("{what} of process {} (user {}) refused: {said}", self.peer.pid, self.peer.uid);
        Answer::Refused { message, hint: hint.map(str::to_owned) }
    }
}

impl Handler for Talk {
    fn answer(&mut self, frames: &[Frame<'_>], answers: &mut Vec<u8>) -> Next {
        for frame in frames {
            let Frame::Line(line) = frame else {
                log::warn!("process {} (user {}) sent a line that is too long", self.peer.pid, self.peer.uid);
                executor::Answer::Error(format!("a line has at most {} bytes", self.line_max))
                    .render(answers);
                answers.push(b'\n');
                return Next::Close;
            };
            if !line.starts_with(b"{") {
                operator::answer(&self.registry, self.peer, line).render(answers);
                answers.push(b'\n');
                continue;
            }
            let (answer, next) = self.request(line);
            match encode_line(&answer) {
                Ok(line) => answers.extend_from_slice(&line),
                Err(error) => log::error!("cannot answer: {}", with_causes(&error)),
            }
            if next == Next::Close {
                return Next::Close;
            }
        }
        Next::Continue
    }

    /// Each: one line can be about a thousand containers, and an answer as long as a set.
    fn is_heavy(&self, _line: &[u8]) -> bool {
        true
    }

    fn end(&mut self) {
        self.prepared = None;
    }
}
