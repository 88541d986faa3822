//! `install`: this program, the plugins beside it and the presets into a node's folders. A file is written under another
//! name, synced and renamed, so that a runtime that starts a plugin meanwhile gets the old one or the new one, never
//! half of one. What is there already and equal is left alone. It needs no shell: an image may hold nothing else.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use clap::Args;
use fwn_node::causes::with_causes;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{SigSet, Signal};

use super::{FAILURE, SUCCESS, print_to};
use crate::Streams;

/// The programs that a runtime starts.
const PLUGINS: [&str; 2] = ["firewallnetns", "macvtap"];
/// Permissions of a program.
const PROGRAM: u32 = 0o755;
/// Permissions of any other file.
const FILE: u32 = 0o644;
/// In the folder of the .fw files: the presets as they were put there, to tell which were changed since.
const PRISTINE: &str = ".presets";

pub(super) const EXAMPLES: &str = "\
Examples:
  firewallnetns install
  firewallnetns install --bin-dir /host/opt/cni/bin --data-dir /host/etc/cni/firewallnetns --wait";

/// Where to.
#[derive(Debug, Args)]
pub(super) struct InstallArgs {
    /// Folder of the CNI plugins
    #[arg(long, value_name = "DIR", default_value = "/opt/cni/bin")]
    bin_dir: PathBuf,
    /// Folder of the .fw files
    #[arg(long, value_name = "DIR", default_value = "/etc/cni/firewallnetns")]
    data_dir: PathBuf,
    /// Folder to take presets from [default: ../fw, seen from the program]
    #[arg(long, value_name = "DIR")]
    presets: Option<PathBuf>,
    /// Then wait for SIGTERM or SIGINT, as a pod of a DaemonSet has to
    #[arg(long)]
    wait: bool,
}

/// Why it could not be done to its end.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    /// No path of the program itself.
    #[error("cannot tell where this program is")]
    Myself(#[source] io::Error),
    /// Nothing to take presets from.
    #[error("there are no .fw files in `{}`; hint: name their folder with `--presets`", .0.display())]
    NoPresets(PathBuf),
    /// A file.
    #[error("cannot {action} `{path}`")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Signals cannot be waited for.
    #[error("cannot wait for signals")]
    Signals(#[source] Errno),
    /// Nobody reads.
    #[error("what was done cannot be printed")]
    Output(#[source] io::Error),
}

/// Runs the command; gives the exit code.
pub(super) fn run(args: &InstallArgs, streams: &mut Streams<'_>) -> u8 {
    match install(args, streams.stdout) {
        Ok(()) => SUCCESS,
        Err(error) => print_to(streams.stderr, &format!("error: {}\n", with_causes(&error)), FAILURE),
    }
}

fn install(args: &InstallArgs, report: &mut dyn Write) -> Result<(), InstallError> {
    // before anything is done, so that none is missed
    let signals = if args.wait { Some(block_signals()?) } else { None };
    let program = std::env::current_exe().map_err(InstallError::Myself)?;
    let beside = program.parent().unwrap_or(Path::new("/"));
    let from = args.presets.clone().unwrap_or_else(|| beside.join("../fw"));
    let presets = presets_in(&from)?;
    let plugins = PLUGINS.map(|name| beside.join(name)).into_iter().filter(|path| path.exists());

    let bin = Folder::open(&args.bin_dir)?;
    for plugin in plugins {
        bin.put_plugin(&plugin, report)?;
    }
    let data = Folder::open(&args.data_dir)?;
    let pristine = Folder::open(&args.data_dir.join(PRISTINE))?;
    for preset in presets {
        data.put_preset(&preset, &pristine, report)?;
    }
    // others may install while we wait
    drop((bin, data, pristine));
    if let Some(signals) = signals {
        let signal = signals.wait().map_err(InstallError::Signals)?;
        writeln!(report, "ended by {signal}").map_err(InstallError::Output)?;
    }
    Ok(())
}

/// The process that a container starts first is not ended by a signal that nobody waits for.
fn block_signals() -> Result<SigSet, InstallError> {
    let mut signals = SigSet::empty();
    signals.extend([Signal::SIGINT, Signal::SIGTERM]);
    signals.thread_block().map_err(InstallError::Signals)?;
    Ok(signals)
}

/// The .fw files of a folder, sorted.
fn presets_in(folder: &Path) -> Result<Vec<PathBuf>, InstallError> {
    let entries = match fs::read_dir(folder) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => {
            return Err(InstallError::NoPresets(folder.to_owned()));
        }
        other => other.map_err(|source| io_error("list", folder, source))?,
    };
    let mut presets = Vec::new();
    for entry in entries {
        let path = entry.map_err(|source| io_error("list", folder, source))?.path();
        if path.extension().is_some_and(|extension| extension == "fw") {
            presets.push(path);
        }
    }
    presets.sort();
    if presets.is_empty() { Err(InstallError::NoPresets(folder.to_owned())) } else { Ok(presets) }
}

/// A folder to install into, locked against others that install.
#[derive(Debug)]
struct Folder {
    path: PathBuf,
    /// Holds the lock.
    open: Flock<File>,
}

impl Folder {
    /// Makes it where it is not there, and waits until nobody else installs into it.
    fn open(path: &Path) -> Result<Self, InstallError> {
        let made = DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.map_err(|source| io_error("create", path, source))?;
        let folder = File::open(path).map_err(|source| io_error("open", path, source))?;
        let open = Flock::lock(folder, FlockArg::LockExclusive)
            .map_err(|(_, errno)| io_error("lock", path, errno.into()))?;
        Ok(Self { path: path.to_owned(), open })
    }

    /// Copies a program into the folder.
    fn put_plugin(&self, source: &Path, report: &mut dyn Write) -> Result<(), InstallError> {
        let (name, wanted) = (name_of(source), read(source)?);
        let target = self.path.join(&name);
        let done = match there(&target)? {
            Some(found) if found == wanted && mode_of(&target)? == PROGRAM => "unchanged",
            Some(_) => "replaced",
            None => "new",
        };
        if done != "unchanged" {
            self.write(&name, &wanted, PROGRAM)?;
        }
        say(report, done, &target, "")
    }

    /// Copies a preset into the folder, unless the one that is there was changed since it was put there.
    fn put_preset(&self, source: &Path, pristine: &Self, report: &mut dyn Write) -> Result<(), InstallError> {
        let (name, wanted) = (name_of(source), read(source)?);
        let target = self.path.join(&name);
        let said = match there(&target)? {
            Some(found) if found == wanted => say(report, "unchanged", &target, ""),
            Some(found) if there(&pristine.path.join(&name))?.as_ref() != Some(&found) => {
                self.write(&format!("{name}.new"), &wanted, FILE)?;
                say(report, "kept", &target, ", which was changed; ours is beside it, with `.new` at its end")
            }
            found => {
                self.write(&name, &wanted, FILE)?;
                say(report, if found.is_some() { "replaced" } else { "new" }, &target, "")
            }
        };
        if there(&pristine.path.join(&name))?.as_ref() != Some(&wanted) {
            pristine.write(&name, &wanted, FILE)?;
        }
        said
    }

    /// A file with these contents, under a name that begins with a dot first: no runtime takes it for a plugin. We hold
    /// the lock, so nobody else writes it; what a killed one left behind is overwritten.
    fn write(&self, name: &str, contents: &[u8], mode: u32) -> Result<(), InstallError> {
        let (temporary, target) = (self.path.join(format!(".{name}.part")), self.path.join(name));
        let write = || {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&temporary)?;
            file.write_all(contents)?;
            // whatever the umask is
            file.set_permissions(Permissions::from_mode(mode))?;
            file.sync_all()?;
            // a program that somebody has open for writing cannot be started (ETXTBSY)
            drop(file);
            fs::rename(&temporary, &target)?;
            self.open.sync_all()
        };
        write().map_err(|source| {
            // the error to tell is the first one
            let _ = fs::remove_file(&temporary);
            io_error("write", &target, source)
        })
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn read(path: &Path) -> Result<Vec<u8>, InstallError> {
    fs::read(path).map_err(|source| io_error("read", path, source))
}

/// The contents of a file; `None` if it is not there.
fn there(path: &Path) -> Result<Option<Vec<u8>>, InstallError> {
    match fs::read(path) {
        Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).map_err(|source| io_error("read", path, source)),
    }
}

/// The permissions of a file, without its kind.
fn mode_of(path: &Path) -> Result<u32, InstallError> {
    let metadata = fs::metadata(path).map_err(|source| io_error("read", path, source))?;
    Ok(metadata.permissions().mode() & 0o7777)
}

fn say(report: &mut dyn Write, done: &str, path: &Path, more: &str) -> Result<(), InstallError> {
    writeln!(report, "{done:9} {}{more}", path.display()).map_err(InstallError::Output)
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> InstallError {
    InstallError::Io { action, path: path.to_owned(), source }
}
