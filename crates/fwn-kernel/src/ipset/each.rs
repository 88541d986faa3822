//! Many entries, each with its own outcome: for callers that answer for every one of them. Where one refusal is the
//! end of all, [`SetClient::fill`] is quicker.

use fwn_plan::set::{Entry, SetKind};

use super::client::{MESSAGE_BYTES, SetClient, refused, refused_line};
use super::encode::{be32, encode_entry};
use super::error::SetError;
use super::message::{Command, attr, push};
use crate::netlink::message::{Messages, NLM_F_ACK, NLM_F_EXCL};
use crate::netlink::socket::SocketError;

/// What became of each of many entries: all went through but these.
#[derive(Debug, Default)]
pub struct Outcomes {
    /// What was refused ([`SetError::Entry`]), by rising index.
    pub refused: Vec<SetError>,
    /// From this entry on nothing was done, and why: it is not an entry that is to blame.
    pub stopped: Option<(usize, SetError)>,
}

impl SetClient {
    /// Adds (or deletes: `command`) entries one after the other, in few messages, and goes on behind those that are
    /// refused: each fares as if it had been sent alone.
    pub fn change_each(
        &mut self,
        command: Command,
        set: &str,
        kind: SetKind,
        entries: &[Entry],
        exist: bool,
    ) -> Outcomes {
        let flags = if exist { NLM_F_ACK } else { NLM_F_ACK | NLM_F_EXCL };
        let mut outcomes = Outcomes::default();
        let mut done = 0;
        // behind a refused entry the rest of its message is sent again: where many are refused, messages are short
        let mut bytes = MESSAGE_BYTES;
        while let Some(rest) = entries.get(done..).filter(|rest| !rest.is_empty()) {
            let mut taken = 0;
            let mut messages = Messages::default();
            let pushed = push(&mut messages, command, flags, self.protocol, |writer| {
                writer.string(attr::SETNAME, set);
                be32(writer, attr::LINENO, Some(0));
                writer.nest(attr::ADT, |adt| {
                    let start = adt.position();
                    for entry in rest {
                        if taken > 0 && adt.position() - start >= bytes {
                            break;
                        }
                        taken += 1;
                        adt.nest(attr::DATA, |inner| encode_entry(inner, entry, Some(taken as u32)));
                    }
                });
            });
            if let Err(error) = pushed {
                outcomes.stopped = Some((done, error.into()));
                break;
            }
            let Err(error) = self.socket.exchange(&mut messages, |_| Ok(())) else {
                done += taken;
                bytes = (bytes * 2).min(MESSAGE_BYTES);
                continue;
            };
            // lines count from 1 in each message
            let refused_entry = match &error {
                SocketError::Kernel(errors) => errors.first().and_then(|error| {
                    let index = (refused_line(error)? as usize).checked_sub(1)?;
                    rest.get(index).map(|entry| (index, entry, error.errno))
                }),
                _ => None,
            };
            let Some((index, entry, errno)) = refused_entry else {
                outcomes.stopped = Some((done, refused(error, command, set, Some(kind))));
                break;
            };
            let (set, entry) = (set.to_owned(), entry.to_string());
            outcomes.refused.push(SetError::Entry { command, set, kind, index: done + index, entry, errno });
            done += index + 1;
            bytes = 1;
        }
        outcomes
    }
}
