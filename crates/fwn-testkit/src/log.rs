//! What a child writes to its standard error, line by line as it comes, so that a test can wait for it.

use std::io::{BufRead, BufReader};
use std::process::ChildStderr;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// The lines of a child.
#[derive(Debug)]
pub struct Log {
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Log {
    /// Reads them on a thread that ends with the child.
    pub fn of(stderr: ChildStderr) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { lines, seen: Vec::new() }
    }

    /// Waits for a line with this text in it, among those that were not waited for yet.
    ///
    /// # Panics
    /// None comes.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no log line with `{text}` after {:#?}", self.seen)
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Every line so far.
    pub fn so_far(&mut self) -> &[String] {
        self.seen.extend(self.lines.try_iter());
        &self.seen
    }

    /// Every line, once the child has ended.
    pub fn to_end(&mut self) -> &[String] {
        self.seen.extend(self.lines.iter());
        &self.seen
    }
}
