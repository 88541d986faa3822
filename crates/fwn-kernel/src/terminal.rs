//! How large a terminal is. Here because the question needs a system call that no library wraps.

use std::os::fd::AsFd;

use crate::sys;

/// Columns and rows; `None` where `file` is no terminal, or does not know.
pub fn size(file: &impl AsFd) -> Option<(usize, usize)> {
    let (columns, rows) = sys::terminal_size(file).ok()?;
    (columns > 0 && rows > 0).then_some((columns.into(), rows.into()))
}
