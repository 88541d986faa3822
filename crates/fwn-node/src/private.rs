//! Folders whose files are believed, and written with our rights: only we may put anything there.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;

use nix::unistd::geteuid;

/// Group or others may write (`S_IWGRP | S_IWOTH`).
const WRITABLE: u32 = 0o022;

/// Whether a folder is ours, and nobody else may write to it.
pub fn is_private(folder: &Metadata) -> bool {
    folder.uid() == geteuid().as_raw() && folder.mode() & WRITABLE == 0
}
