//! How long one line takes to be answered, against a server that sends back what it gets: what is left is the daemon's
//! and the kernel's. Line for line in turns.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use fwn_testkit::Sandbox;
use fwn_testkit::service::Service;

use crate::BenchError;
use crate::daemon::{CONTAINER, Daemon, PORT, connect};

/// Where the other server listens.
const ECHO_PORT: u16 = 7;
/// The set that is filled.
const SET: &str = "bench";

/// The times of both, in the order of sending.
#[derive(Debug, Clone, Default)]
pub struct RoundTrips {
    /// `add` of one entry.
    pub daemon: Vec<Duration>,
    /// The same line, sent back.
    pub echo: Vec<Duration>,
}

impl RoundTrips {
    /// The value that `share` of all are at or under.
    pub fn percentile(times: &[Duration], share: f64) -> Option<Duration> {
        let mut sorted = times.to_vec();
        sorted.sort_unstable();
        #[expect(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "a place in a short list")]
        let place = (sorted.len() as f64 * share).ceil() as usize;
        sorted.get(place.max(1) - 1).copied()
    }
}

/// Sends `count` lines to each, one at a time. `daemon` serves the container of `sandbox`.
///
/// # Errors
/// Something fails, or a line is answered with an error.
pub fn measure(sandbox: &Sandbox, _daemon: &Daemon, count: u16) -> Result<RoundTrips, BenchError> {
    sandbox.container.sh(&format!("ipset destroy {SET} 2>/dev/null || true; ipset create {SET} hash:ip"));
    let _echo = Service::start(&sandbox.container, &[&format!("{CONTAINER}:{ECHO_PORT}")]);
    let mut daemon = Peer::new(connect(sandbox, PORT)?)?;
    let mut echo = Peer::new(connect(sandbox, ECHO_PORT)?)?;
    let mut times = RoundTrips::default();
    for number in 0..count {
        let line = format!("add {SET} {}\n", Ipv4Addr::from(0x0A00_0000 | u32::from(number)));
        times.echo.push(echo.ask(&line, &line)?);
        times.daemon.push(daemon.ask(&line, "ok\n")?);
    }
    Ok(times)
}

struct Peer {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Peer {
    fn new(writer: TcpStream) -> Result<Self, BenchError> {
        let reader = BufReader::new(writer.try_clone().map_err(BenchError::Connection)?);
        Ok(Self { writer, reader })
    }

    fn ask(&mut self, line: &str, wanted: &str) -> Result<Duration, BenchError> {
        let mut answer = String::new();
        let start = Instant::now();
        self.writer.write_all(line.as_bytes()).map_err(BenchError::Connection)?;
        self.reader.read_line(&mut answer).map_err(BenchError::Connection)?;
        let elapsed = start.elapsed();
        if answer == wanted {
            return Ok(elapsed);
        }
        let output = format!("`{}` was answered with `{}`", line.trim_end(), answer.trim_end());
        Err(BenchError::Failed { command: "ipsetd".to_owned(), output })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let times: Vec<_> = (1..=100).rev().map(Duration::from_micros).collect();
        let micros = |share| RoundTrips::percentile(&times, share).map(|time| time.as_micros());
        assert_eq!([micros(0.5), micros(0.99), micros(1.0)], [Some(50), Some(99), Some(100)]);
        assert_eq!(RoundTrips::percentile(&[], 0.5), None);
    }
}
