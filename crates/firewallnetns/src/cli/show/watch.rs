//! `show --watch`: look again and again. On a terminal the whole is drawn anew, elsewhere only what moved is printed. Ends
//! after so many looks, when asked to, when nobody reads any more, and when the namespace is gone.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use fwn_cni::error::{CniError, ErrorCode};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::super::output::{Style, print, room};
use super::super::{Environment, SUCCESS};
use super::text::{Earlier, Layout, render, render_moved};
use super::{look, view_json};
use crate::Streams;
use crate::state::StateDir;

/// Home, and what is below cleared: less flicker than clearing first.
const REDRAW: &str = "\u{1b}[H\u{1b}[J";

/// What to watch.
pub(super) struct Watch<'a> {
    pub(super) path: &'a Path,
    pub(super) states: &'a StateDir,
    pub(super) interval: Duration,
    pub(super) count: Option<u32>,
}

/// Why it goes on or ends.
enum Next {
    Look,
    /// By this signal.
    Asked(u32),
    /// Nobody reads any more.
    Unread,
}

impl Watch<'_> {
    /// Watches to the end; the exit code.
    pub(super) fn run(
        &self,
        json: bool,
        environment: Environment<'_>,
        streams: &mut Streams<'_>,
    ) -> Result<u8, CniError> {
        let signals = signals().map_err(|errno| {
            CniError::new(ErrorCode::Internal, "cannot wait for signals").with_details(errno.desc())
        })?;
        let style = Style::of_stdout(environment);
        let terminal = std::io::stdout().is_terminal() && !json;
        let (id, mut seen) = look(self.path, self.states)?;
        let mut earlier = None;
        let mut looks = 0;
        loop {
            let (width, rows) = room(environment);
            let layout = Layout { style, width };
            let text = match (&earlier, json, terminal) {
                (earlier, true, _) => format!("{}\n", view_json(&seen, earlier.as_ref())),
                (earlier, false, true) => {
                    format!("{REDRAW}{}", cut(&render(&seen, layout, earlier.as_ref()), rows))
                }
                (None, false, false) => render(&seen, layout, None),
                (Some(earlier), false, false) => render_moved(&seen, layout, earlier),
            };
            print(streams.stdout, &text)?;
            looks += 1;
            if self.count.is_some_and(|count| looks >= count) {
                return Ok(SUCCESS);
            }
            match self.wait(&signals)? {
                Next::Look => {}
                // as a shell says of what a signal ended
                Next::Asked(signal) => return Ok(u8::try_from(128 + signal).unwrap_or(SUCCESS)),
                Next::Unread => return Ok(SUCCESS),
            }
            earlier = Some(Earlier::of(&seen));
            match look(self.path, self.states) {
                Ok((same, next)) if same == id => seen = next,
                Err(error) if !is_gone(&error) => return Err(error),
                // another one under the same name is not the one that was to be watched
                _ => {
                    let _ = writeln!(streams.stderr, "note: the namespace `{}` is gone", self.path.display());
                    return Ok(SUCCESS);
                }
            }
        }
    }

    /// Waits for the time of the next look, a signal, or a reader that goes away.
    fn wait(&self, signals: &SignalFd) -> Result<Next, CniError> {
        let until = Instant::now() + self.interval;
        let stdout = std::io::stdout();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Next::Look);
            }
            // rounded up, so that the last wait is none of no time
            let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
            // of a pipe without a reader, poll says so unasked
            let mut files = [
                PollFd::new(signals.as_fd(), PollFlags::POLLIN),
                PollFd::new(stdout.as_fd(), PollFlags::empty()),
            ];
            match poll(&mut files, timeout) {
                Err(Errno::EINTR) | Ok(0) => continue,
                Err(errno) => {
                    return Err(CniError::new(ErrorCode::Internal, "cannot wait").with_details(errno.desc()));
                }
                Ok(_) => {}
            }
            if let Ok(Some(signal)) = signals.read_signal() {
                return Ok(Next::Asked(signal.ssi_signo));
            }
            let gone = PollFlags::POLLERR | PollFlags::POLLHUP | PollFlags::POLLNVAL;
            if files[1].revents().is_some_and(|events| events.intersects(gone)) {
                return Ok(Next::Unread);
            }
        }
    }
}

/// Signals that ask to end are read, instead of ending the process in the middle of a line.
fn signals() -> Result<SignalFd, Errno> {
    let mut signals = SigSet::empty();
    for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
        signals.add(signal);
    }
    signals.thread_block()?;
    SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)
}

fn is_gone(error: &CniError) -> bool {
    // a path of a name in /run/netns stays for a moment as an empty file
    [ErrorCode::UnknownContainer, ErrorCode::BadNetns].iter().any(|code| error.code == *code as u32)
}

/// As much as a screen holds.
fn cut(text: &str, rows: Option<usize>) -> String {
    let lines = text.lines().count();
    let Some(room) = rows.map(|rows| rows.saturating_sub(2)).filter(|room| lines > *room) else {
        return text.to_owned();
    };
    let shown: String = text.split_inclusive('\n').take(room).collect();
    format!("{shown}... {} more lines\n", lines - room)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_not_overrun() {
        assert_eq!(cut("1\n2\n3\n", Some(5)), "1\n2\n3\n");
        assert_eq!(cut("1\n2\n3\n", Some(4)), "1\n2\n... 1 more lines\n");
        assert_eq!(cut("1\n2\n3\n", None), "1\n2\n3\n");
    }
}
