//! The sets of one namespace for several users: the ports of its attachments and the operators' lines share one
//! netlink socket. What each asks for is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::executor::{Answer, BatchError, Executor};
use crate::kernel_sets::KernelSets;
use crate::line::Request;

/// What was asked for since the daemon started.
#[derive(Debug, Default)]
pub struct Counters {
    requests: AtomicU64,
    changes: AtomicU64,
    errors: AtomicU64,
}

/// The sets of a namespace, as one user sees them.
#[derive(Debug, Clone)]
pub struct SharedSets {
    sets: Arc<Mutex<KernelSets>>,
    counters: Vec<Arc<Counters>>,
}

/// Sets that are open as long as somebody uses them.
pub type WeakSets = Weak<Mutex<KernelSets>>;

impl Counters {
    /// Requests that were carried out, or not.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Those that changed a set.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Those that were answered by an error.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    fn count(&self, requests: usize, changes: usize, errors: usize) {
        self.requests.fetch_add(requests as u64, Ordering::Relaxed);
        self.changes.fetch_add(changes as u64, Ordering::Relaxed);
        self.errors.fetch_add(errors as u64, Ordering::Relaxed);
    }
}

impl SharedSets {
    /// The sets behind a socket.
    pub fn new(sets: KernelSets) -> Self {
        Self { sets: Arc::new(Mutex::new(sets)), counters: Vec::new() }
    }

    /// Those that somebody else has open.
    pub fn of(sets: &WeakSets) -> Option<Self> {
        Some(Self { sets: sets.upgrade()?, counters: Vec::new() })
    }

    /// For others to find.
    pub fn weak(&self) -> WeakSets {
        Arc::downgrade(&self.sets)
    }

    /// The same, counted there too.
    #[must_use]
    pub fn counted(mut self, counters: &Arc<Counters>) -> Self {
        self.counters.push(Arc::clone(counters));
        self
    }

    fn sets(&self) -> MutexGuard<'_, KernelSets> {
        // each request leaves it ready for the next
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, requests: usize, changes: usize, errors: usize) {
        self.counters.iter().for_each(|counters| counters.count(requests, changes, errors));
    }
}

/// Whether a request that is done has changed a set.
fn is_change(request: &Request<'_>) -> bool {
    matches!(request, Request::Change(_) | Request::Flush { .. } | Request::Swap { .. })
}

impl Executor for SharedSets {
    fn execute(&mut self, requests: &[Request<'_>], answers: &mut Vec<Answer>) {
        let start = answers.len();
        self.sets().execute(requests, answers);
        let (mut changes, mut errors) = (0, 0);
        for (request, answer) in requests.iter().zip(answers.iter().skip(start)) {
            match answer {
                Answer::Error(_) => errors += 1,
                Answer::Done | Answer::Told(_) => changes += usize::from(is_change(request)),
            }
        }
        self.count(requests.len(), changes, errors);
    }

    fn names(&mut self) -> Result<Vec<String>, String> {
        let names = self.sets().names();
        self.count(1, 0, usize::from(names.is_err()));
        names
    }

    fn is_slow(&mut self, request: &Request<'_>) -> bool {
        self.sets().is_slow(request)
    }

    fn members(&mut self, request: &Request<'_>) -> Vec<String> {
        self.sets().members(request)
    }

    fn check(&mut self, request: &Request<'_>) -> Result<(), String> {
        self.sets().check(request)
    }

    fn commit(&mut self, requests: &[Request<'_>]) -> Result<(), BatchError> {
        let committed = self.sets().commit(requests);
        let (changes, errors) = if committed.is_ok() { (requests.len(), 0) } else { (0, 1) };
        self.count(requests.len(), changes, errors);
        committed
    }
}
