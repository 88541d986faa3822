//! Signals that ask the demo to end: noted when they come, acted on between two steps, so that all is taken down in
//! order. No handler runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::sys::signal::{SigSet, Signal};

use super::DemoError;

/// The signals that came.
#[derive(Debug, Clone)]
pub(super) struct Interrupts {
    /// Number of the first signal; 0 for none.
    seen: Arc<AtomicU8>,
}

impl Interrupts {
    /// From now on the signals are noted instead of ending the process. Must be called before other threads start.
    pub(super) fn watch() -> Result<Self, DemoError> {
        let mut signals = SigSet::empty();
        for signal in [Signal::SIGHUP, Signal::SIGINT, Signal::SIGTERM] {
            signals.add(signal);
        }
        signals.thread_block().map_err(DemoError::Signals)?;
        let seen = Arc::new(AtomicU8::new(0));
        let noted = Arc::clone(&seen);
        // not joined: it ends with the process
        std::thread::spawn(move || {
            if let Ok(signal) = signals.wait() {
                noted.store(signal as u8, Ordering::Relaxed);
            }
        });
        Ok(Self { seen })
    }

    /// To be asked between two steps.
    ///
    /// # Errors
    /// [`DemoError::Interrupted`]
    pub(super) fn check(&self) -> Result<(), DemoError> {
        match self.seen.load(Ordering::Relaxed) {
            0 => Ok(()),
            number => Err(DemoError::Interrupted(number)),
        }
    }
}
