//! Log lines to stderr or to a file, never to stdout: that belongs to the CNI result.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::{OnceLock, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use log::{LevelFilter, Log, Metadata, Record};

/// Where lines go, and whose they are. One a process, as the `log` crate has it.
#[derive(Debug, Default)]
struct Logger {
    file: RwLock<Option<File>>,
    attachment: RwLock<String>,
}

static LOGGER: OnceLock<Logger> = OnceLock::new();

/// Starts logging to stderr at `level`; later calls change the level.
pub(crate) fn start(level: LevelFilter) {
    let logger = LOGGER.get_or_init(Logger::default);
    // the second call finds it set already
    let _ = log::set_logger(logger);
    log::set_max_level(level);
}

/// From now on to the end of this file, made if it is not there, readable by root alone.
///
/// # Errors
/// The file cannot be opened for appending.
pub(crate) fn to_file(path: &Path) -> std::io::Result<()> {
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    if let Some(mut slot) = LOGGER.get().and_then(|logger| logger.file.write().ok()) {
        *slot = Some(file);
    }
    Ok(())
}

/// Every line from now on tells which attachment it is about.
pub(crate) fn about(attachment: &str) {
    if let Some(mut slot) = LOGGER.get().and_then(|logger| logger.attachment.write().ok()) {
        attachment.clone_into(&mut slot);
    }
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let attachment = self.attachment.read().map(|text| text.clone()).unwrap_or_default();
        let about = if attachment.is_empty() { String::new() } else { format!(" [{attachment}]") };
        let level = record.level().as_str().to_lowercase();
        let line = format!("firewallnetns: {level}:{about} {}\n", record.args());
        let written = match self.file.read() {
            Ok(slot) if slot.is_some() => {
                let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
                slot.as_ref()
                    .map_or(Ok(()), |mut file| file.write_all(format!("{seconds} {line}").as_bytes()))
            }
            _ => std::io::stderr().write_all(line.as_bytes()),
        };
        // a log that cannot be written must not fail what is logged
        drop(written);
    }

    fn flush(&self) {}
}
