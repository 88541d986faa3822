//! Real environment, arguments and streams into the library, its exit code out.

use std::io;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: firewallnetns::memory::ShortLived = firewallnetns::memory::ShortLived;

fn main() -> ExitCode {
    fwn_cni::plugin::report_panics();
    let (mut stdin, mut stdout, mut stderr) = (io::stdin(), io::stdout(), io::stderr());
    let mut streams = firewallnetns::Streams { stdin: &mut stdin, stdout: &mut stdout, stderr: &mut stderr };
    ExitCode::from(firewallnetns::run(std::env::vars_os(), std::env::args_os().collect(), &mut streams))
}
