//! Notices that a namespace is gone. An open listener or netlink socket keeps a namespace alive after its container, and
//! with it the interfaces in it, so somebody has to tell:
//!
//! - where the path is a mount (`/run/netns/NAME`), the kernel tells of every change of the mounts;
//! - where it is `/proc/PID/...`, the end of the process;
//! - whatever else may happen is found by looking, now and then.
//!
//! All of it is one thread that waits, and says where to look.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fwn_kernel::descriptor;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::sync::mpsc::UnboundedSender;

use super::registry::Key;

/// The mounts of this process; with `EPOLLPRI` when they change (`proc(5)`).
const MOUNTS: &str = "/proc/self/mountinfo";
/// What stands for the mounts in an event; processes are counted from 1.
const OF_MOUNTS: u64 = 0;
/// Mounts change in bursts: one look is enough for all that happens within this time.
const BURST: Duration = Duration::from_millis(100);

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// At one attachment.
    At(Key),
    /// At all.
    AtAll,
}

/// Waits for what can be noticed.
#[derive(Debug)]
pub struct Watcher {
    epoll: Epoll,
    /// Open, they are watched.
    _mounts: File,
    processes: Mutex<Processes>,
}

#[derive(Debug, Default)]
struct Processes {
    last: u64,
    keys: HashMap<u64, Key>,
}

/// A watch over one attachment; it ends with the value.
#[derive(Debug)]
pub struct Watch {
    watcher: Arc<Watcher>,
    number: u64,
    /// Open, it is watched.
    process: OwnedFd,
}

impl Watcher {
    /// Watches the mounts.
    ///
    /// # Errors
    /// They cannot be watched.
    pub fn new() -> io::Result<Arc<Self>> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let mounts = File::open(MOUNTS)?;
        epoll.add(&mounts, EpollEvent::new(EpollFlags::EPOLLPRI, OF_MOUNTS))?;
        Ok(Arc::new(Self { epoll, _mounts: mounts, processes: Mutex::default() }))
    }

    /// Starts the thread that says where to look, and has all looked at every `interval`. It ends when nobody listens.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(self: &Arc<Self>, looks: UnboundedSender<Look>, interval: Duration) -> io::Result<()> {
        let watcher = Arc::clone(self);
        let wait = move || while watcher.wait(interval).into_iter().all(|look| looks.send(look).is_ok()) {};
        std::thread::Builder::new().name("watch".into()).spawn(wait).map(drop)
    }

    /// Watches whatever `path` depends on beside mounts, if there is such.
    pub fn watch(self: &Arc<Self>, key: &Key, path: &Path) -> Option<Watch> {
        // one that has ended already, or a kernel without this, is found by looking
        let process = descriptor::of_process(process_of(path)?).ok()?;
        let mut processes = self.processes();
        processes.last += 1;
        let number = processes.last;
        processes.keys.insert(number, key.clone());
        drop(processes);
        let flags = EpollFlags::EPOLLIN | EpollFlags::EPOLLONESHOT;
        let watch = Watch { watcher: Arc::clone(self), number, process };
        self.epoll.add(&watch.process, EpollEvent::new(flags, number)).ok()?;
        Some(watch)
    }

    fn wait(&self, interval: Duration) -> Vec<Look> {
        let mut events = [EpollEvent::empty(); 64];
        let timeout = EpollTimeout::try_from(interval).unwrap_or(EpollTimeout::MAX);
        let count = match self.epoll.wait(&mut events, timeout) {
            Ok(0) => return vec![Look::AtAll],
            Ok(count) => count,
            Err(Errno::EINTR) => return Vec::new(),
            Err(errno) => {
                log::error!("cannot wait for what happens to namespaces: {errno}");
                std::thread::sleep(interval);
                return vec![Look::AtAll];
            }
        };
        let numbers = events.iter().take(count).map(EpollEvent::data);
        if numbers.clone().any(|number| number == OF_MOUNTS) {
            std::thread::sleep(BURST);
            return vec![Look::AtAll];
        }
        let processes = self.processes();
        numbers.filter_map(|number| processes.keys.get(&number).cloned().map(Look::At)).collect()
    }

    fn processes(&self) -> MutexGuard<'_, Processes> {
        // every change is one call, so a panic leaves none half done
        self.processes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watcher.processes().keys.remove(&self.number);
    }
}

/// The process of `/proc/PID/...`.
fn process_of(path: &Path) -> Option<i32> {
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) || parts.next() != Some(Component::Normal("proc".as_ref())) {
        return None;
    }
    match parts.next() {
        Some(Component::Normal(pid)) => pid.to_str()?.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_told_from_a_mount() {
        for (path, pid) in [
            ("/proc/17/ns/net", Some(17)),
            ("/proc/17/task/18/ns/net", Some(17)),
            ("/proc/17/fd/3", Some(17)),
            ("/proc/self/ns/net", None),
            ("/run/netns/17", None),
            ("proc/17/ns/net", None),
            ("/proc", None),
        ] {
            assert_eq!(process_of(Path::new(path)), pid, "{path}");
        }
    }
}
