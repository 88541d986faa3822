//! Log lines to standard error, written by a thread of their own: a pipe that nobody reads must not stop the daemon.
//! What does not fit meanwhile is counted and told later; but lines of debugging are waited for, as every one counts.

use std::io::Write;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use log::{LevelFilter, Log, Metadata, Record};

/// Lines that may wait to be written.
const WAITING: usize = 1024;
/// How long to wait at the end for lines to be written.
const FLUSH: Duration = Duration::from_secs(1);

struct Logger {
    lines: SyncSender<Message>,
    lost: AtomicU64,
}

enum Message {
    Line(String),
    /// To be told when everything before it is written.
    Flush(SyncSender<()>),
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts logging at `level`; later calls change the level. The thread for it is started here, so what it may do is
/// what the caller may do.
pub fn start(level: LevelFilter) {
    let logger = LOGGER.get_or_init(|| {
        let (lines, written) = sync_channel(WAITING);
        // a daemon without log lines still serves
        let _ = std::thread::Builder::new().name("log".into()).spawn(move || write(&written));
        Logger { lines, lost: AtomicU64::new(0) }
    });
    // the second call finds it set already
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

fn write(lines: &Receiver<Message>) {
    while let Ok(message) = lines.recv() {
        match message {
            // a log that cannot be written must not fail what is logged
            Message::Line(line) => drop(std::io::stderr().write_all(line.as_bytes())),
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level() && metadata.target().starts_with("ipsetd")
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let level = record.level().as_str().to_lowercase();
        let line = Message::Line(format!("ipsetd: {level}: {}\n", record.args()));
        if log::max_level() >= LevelFilter::Debug {
            // fails only if the thread could not be started
            let _ = self.lines.send(line);
            return;
        }
        let lost = self.lost.load(Ordering::Relaxed);
        if lost > 0 {
            let told = Message::Line(format!("ipsetd: warn: {lost} log lines were lost\n"));
            if self.lines.try_send(told).is_ok() {
                self.lost.fetch_sub(lost, Ordering::Relaxed);
            }
        }
        if self.lines.try_send(line).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.lines.try_send(Message::Flush(done)).is_ok()
            && written.recv_timeout(FLUSH) == Err(RecvTimeoutError::Timeout)
        {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}
