//! All attachments that are served: from a registration over its commit to its end. Nothing here waits for a peer, and
//! all of it runs on the one thread of the daemon, so that no change is seen half done.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use fwn_kernel::firewall::record::{RecordedAttachment, RecordedNetns};
use fwn_kernel::netns::{NetnsError, TargetNetns};
use fwn_node::causes::with_causes;
use fwn_node::message::{ContainerStatus, Interface, Registration, Status};
use tokio::task::JoinHandle;

use super::attachment::{Prepared, Refusal, Reuse, leads_to, prepare};
use super::sets::{Counters, SharedSets, WeakSets};
use super::store::{Record, Store, StoreError};
use super::watch::{Look, Watch, Watcher};
use crate::limits::{Connections, Limits};
use crate::server::{Stopper, serve, shutdown};
use crate::service::Service;

/// Which attachment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// `CNI_CONTAINERID`
    pub container: String,
    /// `CNI_IFNAME`
    pub interface: String,
    /// Name of the network.
    pub network: String,
}

impl From<&RecordedAttachment> for Key {
    fn from(attachment: &RecordedAttachment) -> Self {
        Self {
            container: attachment.container.clone(),
            interface: attachment.interface.clone(),
            network: attachment.network.clone(),
        }
    }
}

impl fmt::Display for Key {
    /// As log lines name it: `CONTAINER/INTERFACE`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.container, self.interface)
    }
}

/// An attachment that is registered.
struct Entry {
    record: Record,
    counters: Arc<Counters>,
    /// What is open, or why nothing is.
    open: Result<Open, Refusal>,
    _watch: Option<Watch>,
}

/// A port that is served.
struct Open {
    /// The same socket as the one that is served, for a registration that replaces this one.
    listener: TcpListener,
    sets: SharedSets,
    stopper: Stopper,
    task: JoinHandle<()>,
}

/// Everything that is served, and where it is remembered.
pub struct Registry {
    entries: Mutex<BTreeMap<Key, Entry>>,
    /// The sets of each namespace that are open.
    sets: Mutex<HashMap<RecordedNetns, WeakSets>>,
    store: Store,
    limits: Limits,
    /// Connections of all ports together, and how many they may be.
    connections: Arc<Connections>,
    connections_max: usize,
    totals: Arc<Counters>,
    /// Attachments whose namespace went without a DEL.
    gone: AtomicU64,
    watcher: Arc<Watcher>,
}

impl Registry {
    /// Nothing is served yet. `limits` are those of each port, `connections_max` is of all together.
    pub fn new(store: Store, limits: Limits, connections_max: usize, watcher: Arc<Watcher>) -> Self {
        Self {
            entries: Mutex::default(),
            sets: Mutex::default(),
            store,
            limits,
            connections: Arc::default(),
            connections_max,
            totals: Arc::default(),
            gone: AtomicU64::new(0),
            watcher,
        }
    }

    /// Serves again what was served when the daemon ended, as far as it is still there. What cannot be served just now
    /// stays registered, and is tried again later.
    ///
    /// # Errors
    /// The records cannot be listed.
    pub fn restore(&self) -> Result<(), StoreError> {
        for record in self.store.each()? {
            match record {
                Ok(record) => self.restore_one(record),
                Err(error) => log::error!("{}", with_causes(&error)),
            }
        }
        Ok(())
    }

    fn restore_one(&self, record: Record) {
        let key = Key::from(&record.registration.attachment);
        let target = match TargetNetns::open(&record.registration.netns_path) {
            // an inode is used again at once: only the kernel's own number tells
            Ok(target) if RecordedNetns::from(target.id()) == record.netns => target,
            Ok(_) => return self.forget(&key, &record),
            Err(error) if error.is_other() => return self.forget(&key, &record),
            Err(error) => return self.insert_closed(key, record, Refusal::new(with_causes(&error))),
        };
        let prepared = self.prepare_in(&target, record.registration.clone());
        let opened = prepared.and_then(|mut prepared| {
            let listener = prepared.open()?;
            Ok((prepared, listener))
        });
        match opened {
            Ok((prepared, listener)) => self.insert(key, prepared, listener),
            Err(refusal) => self.insert_closed(key, record, refusal),
        }
    }

    /// Gets ready to serve an attachment in the namespace behind `fd`.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed.
    pub fn prepare(&self, registration: Registration, fd: OwnedFd) -> Result<Prepared, Refusal> {
        let refused = |error: NetnsError| Refusal::new(with_causes(&error));
        let target = TargetNetns::adopt(fd, &registration.netns_path).map_err(refused)?;
        let path = &registration.netns_path;
        // by the path it is found again after a restart, and found to be gone
        if !path.is_absolute() || !leads_to(path, &target.id().into()) {
            let message = format!("`{}` does not lead to this network namespace for ipsetd", path.display());
            return Err(Refusal::new(message).hint("it has to see the same /proc and /run as the plugin"));
        }
        self.prepare_in(&target, registration)
    }

    fn prepare_in(&self, target: &TargetNetns, registration: Registration) -> Result<Prepared, Refusal> {
        let (key, port) = (Key::from(&registration.attachment), registration.access.port);
        let netns = RecordedNetns::from(target.id());
        let entries = self.entries();
        let at_port =
            |entry: &Entry| entry.record.netns == netns && entry.record.registration.access.port == port;
        if let Some((other, _)) = entries.iter().find(|(other, entry)| **other != key && at_port(entry)) {
            let message = format!(
                "port {port} serves interface `{}` of container `{}`",
                other.interface, other.container
            );
            return Err(Refusal::new(message).hint("each interface needs a `port` of its own"));
        }
        let before =
            entries.get(&key).filter(|entry| at_port(entry)).and_then(|entry| entry.open.as_ref().ok());
        let listener = before.and_then(|open| open.listener.try_clone().ok());
        drop(entries);
        let sets = self.sets().get(&netns).and_then(SharedSets::of);
        prepare(target, registration, Reuse { listener, sets })
    }

    /// Where an attachment will be remembered.
    pub fn record_file(&self, attachment: &RecordedAttachment) -> std::path::PathBuf {
        self.store.file(attachment)
    }

    /// Serves what is ready, in place of what was served for the same attachment.
    ///
    /// # Errors
    /// [`Refusal`]; what was served before, still is.
    pub fn commit(&self, mut prepared: Prepared) -> Result<(), Refusal> {
        if !leads_to(&prepared.record.registration.netns_path, &prepared.record.netns) {
            return Err(Refusal::new("the network namespace is gone"));
        }
        let listener = prepared.open()?;
        self.store.write(&prepared.record).map_err(|error| Refusal::new(with_causes(&error)))?;
        let key = Key::from(&prepared.record.registration.attachment);
        let (port, path) =
            (prepared.record.registration.access.port, prepared.record.registration.netns_path.clone());
        self.insert(key.clone(), prepared, listener);
        log::info!("{key}: served on port {port} of `{}`", path.display());
        Ok(())
    }

    fn insert(&self, key: Key, prepared: Prepared, listener: TcpListener) {
        let Prepared { record, access, token, tls, sets, surroundings, .. } = prepared;
        let counters = Arc::new(Counters::default());
        let connections = Connections::part_of(&self.connections, self.connections_max);
        let counted = sets.clone().counted(&counters).counted(&self.totals);
        let mut service = Service::new(key.to_string(), access, Box::new(counted), Box::new(surroundings))
            .with_limits(self.limits.clone(), Arc::new(connections));
        if let Some(token) = token {
            service = service.with_token(token);
        }
        if let Some(tls) = tls {
            service = service.with_tls(tls);
        }
        let mut known = self.sets();
        known.retain(|_, sets| sets.strong_count() > 0);
        known.insert(record.netns, sets.weak());
        drop(known);
        let open = listener
            .try_clone()
            .map_err(|error| Refusal::new(format!("cannot serve the listener: {error}")))
            .map(|served| {
                let (stopper, shutdown) = shutdown();
                let label = key.clone();
                let task = tokio::spawn(async move {
                    if let Err(error) = serve(served, Arc::new(service), shutdown).await {
                        log::error!("{label}: cannot serve the listener: {error}");
                    }
                });
                Open { listener, sets, stopper, task }
            });
        let watch = self.watcher.watch(&key, &record.registration.netns_path);
        let before = self.entries().insert(key, Entry { record, counters, open, _watch: watch });
        if let Some(Ok(open)) = before.map(|entry| entry.open) {
            open.stopper.stop();
        }
    }

    fn insert_closed(&self, key: Key, record: Record, refusal: Refusal) {
        log::error!("{key}: not served: {refusal}");
        let watch = self.watcher.watch(&key, &record.registration.netns_path);
        let counters = Arc::default();
        self.entries().insert(key, Entry { record, counters, open: Err(refusal), _watch: watch });
    }

    /// Serves an attachment no longer; where a namespace is given, only if it was in that one.
    ///
    /// # Errors
    /// Its record cannot be removed.
    pub fn unregister(
        &self,
        attachment: &RecordedAttachment,
        netns: Option<RecordedNetns>,
    ) -> Result<(), StoreError> {
        let key = Key::from(attachment);
        let mut entries = self.entries();
        match entries.get(&key) {
            Some(entry) if netns.is_none_or(|netns| netns == entry.record.netns) => {}
            _ => return Ok(()),
        }
        // first the file: what cannot be removed would come back
        self.store.remove(attachment)?;
        let removed = entries.remove(&key);
        drop(entries);
        end(removed);
        log::info!("{key}: unregistered");
        Ok(())
    }

    /// Serves of a network no other attachments than these.
    ///
    /// # Errors
    /// A record cannot be removed.
    pub fn keep(&self, network: &str, valid: &[Interface]) -> Result<(), StoreError> {
        let is_valid = |key: &Key| {
            valid.iter().any(|valid| (&valid.container, &valid.interface) == (&key.container, &key.interface))
        };
        let invalid: Vec<RecordedAttachment> = self
            .entries()
            .iter()
            .filter(|(key, _)| key.network == network && !is_valid(key))
            .map(|(_, entry)| entry.record.registration.attachment.clone())
            .collect();
        invalid.iter().try_for_each(|attachment| self.unregister(attachment, None))
    }

    /// Whether an attachment is served in this namespace.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, attachment: &RecordedAttachment, netns: &RecordedNetns) -> Result<(), Refusal> {
        let entries = self.entries();
        let unknown = || {
            let message = format!("container `{}` is not registered", attachment.container);
            Refusal::new(message).hint("DEL and then ADD registers it")
        };
        let entry = entries.get(&Key::from(attachment)).filter(|entry| entry.record.netns == *netns);
        match &entry.ok_or_else(unknown)?.open {
            Ok(open) if !open.task.is_finished() => Ok(()),
            Ok(_) => Err(Refusal::new("its listener has failed, the log of ipsetd says why")),
            Err(refusal) => Err(refusal.clone()),
        }
    }

    /// Looks whether namespaces are still there, and releases those that are not; tries once more to serve what could
    /// not be served.
    pub fn look(&self, look: &Look) {
        let mut gone = Vec::new();
        let mut closed = Vec::new();
        for (key, entry) in self.entries().iter() {
            if matches!(look, Look::At(one) if one != key) {
                continue;
            }
            if !leads_to(&entry.record.registration.netns_path, &entry.record.netns) {
                gone.push((key.clone(), entry.record.clone()));
            } else if entry.open.is_err() && *look == Look::AtAll {
                closed.push(entry.record.clone());
            }
        }
        for (key, record) in gone {
            self.forget(&key, &record);
        }
        for record in closed {
            self.restore_one(record);
        }
    }

    /// Releases an attachment whose namespace is gone, or has become another.
    fn forget(&self, key: &Key, record: &Record) {
        if let Err(error) = self.store.remove(&record.registration.attachment) {
            log::error!("{key}: {}", with_causes(&error));
        }
        let removed = self.entries().remove(key);
        end(removed);
        self.gone.fetch_add(1, Ordering::Relaxed);
        log::info!("{key}: its network namespace is gone, it is served no longer");
    }

    /// The namespaces of a container, or all: what their attachments are called, and their sets. Each namespace comes
    /// once, however many attachments it has.
    pub fn namespaces(&self, container: Option<&str>) -> Vec<(String, SharedSets)> {
        let mut seen = Vec::new();
        let mut found = Vec::new();
        for (key, entry) in self.entries().iter() {
            if container.is_some_and(|container| container != key.container) {
                continue;
            }
            let Ok(open) = &entry.open else { continue };
            if !seen.contains(&entry.record.netns) {
                seen.push(entry.record.netns);
                found.push((key.container.clone(), open.sets.clone().counted(&self.totals)));
            }
        }
        found
    }

    /// What is served; each container, if asked for.
    pub fn status(&self, containers: bool) -> Status {
        let entries = self.entries();
        let listed = entries.iter().filter(|_| containers).map(|(_, entry)| ContainerStatus {
            attachment: entry.record.registration.attachment.clone(),
            netns_path: entry.record.registration.netns_path.clone(),
            port: entry.record.registration.access.port,
            requests: entry.counters.requests(),
            problem: entry.open.as_ref().err().map(ToString::to_string),
        });
        Status {
            release: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            registered: entries.len(),
            listening: entries.values().filter(|entry| entry.open.is_ok()).count(),
            connections: self.connections.count(),
            requests: self.totals.requests(),
            changes: self.totals.changes(),
            errors: self.totals.errors(),
            gone: self.gone.load(Ordering::Relaxed),
            containers: listed.collect(),
        }
    }

    /// Closes all ports and waits until the connections have their answers, or for `deadline`. The records stay: the
    /// next daemon serves them again.
    pub async fn drain(&self, deadline: Duration) {
        let mut tasks = Vec::new();
        // the entries stay: what is unregistered now must not come back either
        for entry in self.entries().values_mut() {
            if let Ok(open) = std::mem::replace(&mut entry.open, Err(Refusal::new("the daemon ends"))) {
                open.stopper.stop_within(deadline);
                tasks.push(open.task);
            }
        }
        for task in tasks {
            let _ = task.await;
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        // every change is one call, so a panic leaves none half done
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sets(&self) -> MutexGuard<'_, HashMap<RecordedNetns, WeakSets>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes the port at once; connections have a moment to send what they owe.
fn end(entry: Option<Entry>) {
    if let Some(Ok(open)) = entry.map(|entry| entry.open) {
        open.stopper.stop();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use fwn_node::message::Access;
    use fwn_testkit::Netns;

    use super::*;

    fn registry(folder: &std::path::Path) -> Registry {
        let store = Store::open(&folder.join("attachments")).expect("a folder");
        Registry::new(store, Limits::default(), 100, Watcher::new().expect("mounts"))
    }

    fn serve_in(registry: &Registry, netns: &Netns) -> RecordedAttachment {
        let attachment =
            RecordedAttachment { network: "net".into(), container: "c1".into(), interface: "eth0".into() };
        let access = Access {
            port: 9999,
            allow_from: Vec::new(),
            allow_any: true,
            sets: None,
            verbs: None,
            token_file: None,
            tls: None,
        };
        let registration = Registration { attachment: attachment.clone(), netns_path: netns.path(), access };
        let fd = File::open(netns.path()).expect("opened").into();
        registry.commit(registry.prepare(registration, fd).expect("ready")).expect("served");
        attachment
    }

    fn block_on(work: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(work);
    }

    /// A DEL can come while the daemon ends: the next daemon must not serve what it was answered to be gone.
    #[test]
    fn what_is_unregistered_at_the_end_does_not_come_back() {
        let (folder, netns) = (tempfile::tempdir().expect("a folder"), Netns::new());
        block_on(async {
            let registry = registry(folder.path());
            let attachment = serve_in(&registry, &netns);
            registry.drain(Duration::from_secs(5)).await;
            assert!(registry.record_file(&attachment).exists());
            registry.unregister(&attachment, None).expect("done");
            assert!(!registry.record_file(&attachment).exists());
        });
    }

    #[test]
    fn nothing_is_remembered_of_namespaces_that_were_served() {
        let folder = tempfile::tempdir().expect("a folder");
        block_on(async {
            let registry = registry(folder.path());
            for _ in 0..3 {
                let netns = Netns::new();
                let attachment = serve_in(&registry, &netns);
                assert_eq!(registry.sets().len(), 1);
                registry.unregister(&attachment, None).expect("done");
                while registry.sets().values().any(|sets| sets.strong_count() > 0) {
                    tokio::task::yield_now().await;
                }
            }
        });
    }
}
