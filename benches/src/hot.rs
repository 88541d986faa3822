//! Which functions a call of the plugin runs, in the order in which it comes to them: what the linker puts together, so
//! that a process that lives for a millisecond has few pages of its file mapped.

use std::collections::HashSet;
use std::fmt::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use fwn_testkit::Netns;
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::BenchError;
use crate::launch::Step;

/// A function of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Function {
    /// Its first byte.
    pub start: u64,
    /// So many bytes.
    pub size: u64,
    /// Its name as the linker knows it.
    pub name: String,
}

/// The functions that `nm --print-size --numeric-sort` lists.
pub fn functions(listing: &str) -> Vec<Function> {
    let parse = |line: &str| {
        let [start, size, kind, name] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
        let number = |text| u64::from_str_radix(text, 16).ok();
        let is_code = matches!(kind, "t" | "T" | "w" | "W");
        is_code.then_some(Function { start: number(start)?, size: number(size)?, name: name.to_owned() })
    };
    listing.lines().filter_map(parse).collect()
}

/// Lets itself be traced, and becomes another program.
///
/// # Errors
/// It cannot be traced, or there is no such program.
pub fn become_traced(program: &Path) -> std::io::Error {
    match ptrace::traceme() {
        Ok(()) => Command::new(program).exec(),
        Err(errno) => errno.into(),
    }
}

/// Where a program comes by that `step` has become by [`become_traced`]: every address once, in order. It is started in
/// `netns`.
///
/// # Errors
/// It cannot be started or traced, or fails.
pub fn addresses(step: &Step, netns: &Netns) -> Result<Vec<u64>, BenchError> {
    let (mut seen, mut order) = (HashSet::new(), Vec::new());
    // a process is traced by the thread that started it
    netns.run(|| {
        let child = step.start()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let failed = |errno: Errno| BenchError::Start { program: step.program.clone(), source: errno.into() };
        loop {
            match waitpid(pid, None).map_err(failed)? {
                WaitStatus::Exited(_, 0) => return Ok(()),
                WaitStatus::Stopped(..) => {
                    if order.is_empty() {
                        // it must not go on without us
                        ptrace::setoptions(pid, ptrace::Options::PTRACE_O_EXITKILL).map_err(failed)?;
                    }
                    let address = ptrace::getregs(pid).map_err(failed)?.rip;
                    if seen.insert(address) {
                        order.push(address);
                    }
                    ptrace::step(pid, None).map_err(failed)?;
                }
                status => {
                    let command = step.program.display().to_string();
                    return Err(BenchError::Failed { command, output: format!("{status:?}") });
                }
            }
        }
    })?;
    Ok(order)
}

/// The names of the functions at these addresses, each once, in order.
pub fn names<'a>(functions: &'a [Function], addresses: &[u64]) -> Vec<&'a str> {
    let mut seen = HashSet::new();
    let name = |address: &u64| {
        let at = functions.partition_point(|function| function.start <= *address).checked_sub(1)?;
        let function = functions.get(at)?;
        (*address - function.start < function.size.max(1)).then_some(function.name.as_str())
    };
    addresses.iter().filter_map(name).filter(|name| seen.insert(*name)).collect()
}

/// The script for the linker.
pub fn render_script(names: &[&str]) -> String {
    let mut seen = HashSet::new();
    let mut script = String::from(
        "/* What a call of the plugin runs, in the order in which it comes to it. Made by `cargo run --release -p fwn-bench\n \
         * --bin hot`; functions that are not there do no harm, and those that are missing only cost time. */\n\
         SECTIONS\n{\n  .text.hot : {\n",
    );
    for pattern in names.iter().filter_map(|name| pattern(name)).filter(|name| seen.insert(name.clone())) {
        let _ = writeln!(script, "    *(.text.{pattern})"); // a String takes everything
    }
    script.push_str("  }\n}\nINSERT BEFORE .text;\n");
    script
}

/// The name of a function of Rust without what another compiler, or another version of a crate, would change: a digest
/// behind `17h`, or, mangled in the new way (RFC 2603), one behind each `Cs`. Others have no section of their own, but the
/// two that the plugin has instead of the C library's.
fn pattern(name: &str) -> Option<String> {
    if matches!(name, "memcpy" | "memmove") {
        return Some(name.to_owned());
    }
    if name.starts_with("_ZN") {
        return Some(format!("{}17h*", name.rsplit_once("17h")?.0));
    }
    // a number behind a dot: one of several copies that LLVM made
    let (name, copy) = match name.rsplit_once('.') {
        Some((name, number)) if number.bytes().all(|byte| byte.is_ascii_digit()) => (name, ".*"),
        _ => (name, ""),
    };
    let mut parts = name.strip_prefix("_R")?.split("Cs");
    let mut pattern = format!("_R{}", parts.next()?);
    for part in parts {
        pattern.push_str("Cs");
        match part.split_once('_') {
            Some((digest, rest)) if digest.chars().all(|digit| digit.is_ascii_alphanumeric()) => {
                pattern.push_str("*_");
                pattern.push_str(rest);
            }
            _ => pattern.push_str(part),
        }
    }
    pattern.push_str(copy);
    Some(pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = "0000000000001000 0000000000000010 T main\n\
        0000000000001010 0000000000000020 t _ZN3fwn4plan17h0123456789abcdefE\n\
        0000000000001030 0000000000000008 t _ZN3fwn4plan17hfedcba9876543210E.llvm.7\n\
        0000000000001038 0000000000000008 d data\n\
        0000000000001050 0000000000000008 w _ZN4core3fmt17h0000000000000000E\n\
        0000000000001058 T no_size\n";

    #[test]
    fn addresses_become_names_in_their_order() {
        let functions = functions(LISTING);
        assert_eq!(functions.len(), 4);
        let addresses = [0x1050, 0x1002, 0x1057, 0x102f, 0x1030, 0x1038, 0x0, 0x1058];
        let names = names(&functions, &addresses);
        let last = |name: &str| name.chars().skip(4).take(8).collect::<String>();
        assert_eq!(names.len(), 4, "{names:?}");
        assert_eq!([names[0], names[1]].map(last), ["core3fmt", ""]);
    }

    #[test]
    fn the_script_leaves_out_what_changes_with_the_compiler() {
        let functions = functions(LISTING);
        let all: Vec<&str> = functions.iter().map(|function| function.name.as_str()).collect();
        let script = render_script(&all);
        let lines: Vec<_> = script.lines().filter(|line| line.contains(".text._")).collect();
        assert_eq!(lines, ["    *(.text._ZN3fwn4plan17h*)", "    *(.text._ZN4core3fmt17h*)"]);
        assert_eq!(
            pattern("_RNvMs_NtCsaX9z_3std2fsNtB4_4File6open_cNtCs1_4core").as_deref(),
            Some("_RNvMs_NtCs*_3std2fsNtB4_4File6open_cNtCs*_4core")
        );
        assert_eq!(pattern("_RNvNtCs1_4core3fmt.44").as_deref(), Some("_RNvNtCs*_4core3fmt.*"));
        assert!(!script.contains("main"), "{script}");
        assert_eq!([pattern("memcpy").as_deref(), pattern("memset").as_deref()], [Some("memcpy"), None]);
    }
}
