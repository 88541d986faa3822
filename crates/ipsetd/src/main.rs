//! Real environment and arguments into the library, its exit code out.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    ExitCode::from(ipsetd::program::run(std::env::vars_os(), std::env::args_os().collect()))
}
