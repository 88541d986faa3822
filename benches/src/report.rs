//! Times in, ratios within one run out: a table for people and pages, JSON for machines.

use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::contender::Contender;
use crate::launch::SEARCH_PATH;
use crate::material::scratch_parent;
use crate::measure::Samples;
use crate::round_trip::RoundTrips;
use crate::stream::Stream;

/// Median and quartiles.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quartiles {
    /// A quarter of the values is below.
    pub low: f64,
    /// Half of them is.
    pub median: f64,
    /// Three quarters are.
    pub high: f64,
}

impl Quartiles {
    /// Of values in any order; `None` of none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<_> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let last = sorted.len().checked_sub(1)?;
        // quarter `n` lies between two values, unless the number of values fits
        let quarter = |n: usize| {
            let (at, rest) = (n * last / 4, n * last % 4);
            let (below, above) = (*sorted.get(at)?, *sorted.get((at + 1).min(last))?);
            #[expect(clippy::cast_precision_loss, reason = "0 to 3")]
            let share = rest as f64 / 4.0;
            Some(below + (above - below) * share)
        };
        Some(Self { low: quarter(1)?, median: quarter(2)?, high: quarter(3)? })
    }
}

impl Samples {
    /// The time of a contender as multiple of ours in the same round; `None` if it took no part.
    pub fn ratio(&self, contender: Contender) -> Option<Quartiles> {
        let (ours, theirs) = (self.of(Contender::Ours)?, self.of(contender)?);
        Quartiles::of(theirs.iter().zip(ours).map(|(theirs, ours)| theirs.as_secs_f64() / ours.as_secs_f64()))
    }

    /// The shortest time of a contender as multiple of our shortest: what is left when the machine disturbs neither.
    pub fn quickest(&self, contender: Contender) -> Option<f64> {
        let shortest = |one| self.of(one)?.iter().min().map(Duration::as_secs_f64);
        Some(shortest(contender)? / shortest(Contender::Ours)?)
    }

    /// Seconds of a contender; `None` if it took no part.
    pub fn seconds(&self, contender: Contender) -> Option<Quartiles> {
        Quartiles::of(self.of(contender)?.iter().map(Duration::as_secs_f64))
    }

    fn of(&self, contender: Contender) -> Option<&[Duration]> {
        self.times.iter().find(|(one, _)| *one == contender).map(|(_, times)| times.as_slice())
    }

    /// What was measured, for tables.
    pub fn title(&self) -> String {
        format!("{}, {}", self.operation, self.workload)
    }
}

/// A table in Markdown.
pub fn render_table(all: &[Samples]) -> String {
    let others = || Contender::ALL.into_iter().filter(|one| *one != Contender::Ours);
    let mut text = String::from("| | firewallnetns |");
    for contender in others() {
        // a String takes everything, here and below
        let _ = write!(text, " {} |", contender.name());
    }
    text.push_str(" ours / floor | quickest | ours / changes only |\n| --- |");
    text.push_str(&" ---: |".repeat(Contender::ALL.len() + 3));
    text.push('\n');
    for samples in all {
        let ours = samples
            .seconds(Contender::Ours)
            .map_or_else(String::new, |ours| format!("{} ms", short(ours.median * 1e3)));
        let _ = write!(text, "| {} | {ours} |", samples.title());
        for contender in others() {
            let _ = match samples.ratio(contender) {
                Some(ratio) => write!(
                    text,
                    " **{}** ({}-{}) |",
                    short(ratio.median),
                    short(ratio.low),
                    short(ratio.high)
                ),
                None => write!(text, " |"),
            };
        }
        let turned = |ratio: Option<f64>| ratio.map(|ratio| short(1.0 / ratio)).unwrap_or_default();
        let median = |contender| turned(samples.ratio(contender).map(|ratio| ratio.median));
        let (floor, changes) = (median(Contender::Floor), median(Contender::ChangesOnly));
        let _ = writeln!(text, " {floor} | {} | {changes} |", turned(samples.quickest(Contender::Floor)));
    }
    text
}

/// What ipsetd was measured at, as a table in Markdown.
pub fn render_sets(entries: u32, stream: &Stream, trips: &RoundTrips) -> String {
    let mut text = String::from("| | ipsetd | against | ratio |\n| --- | ---: | --- | ---: |\n");
    let seconds = |times: &[Duration]| Quartiles::of(times.iter().map(Duration::as_secs_f64));
    let restores = [
        ("`ipset restore` of the same lines", &stream.restore),
        ("`ipset restore` that makes the set, too", &stream.restore_all),
    ];
    for (name, theirs) in restores {
        let ratios = stream.daemon.iter().zip(theirs);
        let ratio = Quartiles::of(ratios.map(|(ours, theirs)| ours.as_secs_f64() / theirs.as_secs_f64()));
        if let (Some(ours), Some(ratio)) = (seconds(&stream.daemon), ratio) {
            // a String takes everything, here and below
            let _ = writeln!(
                text,
                "| {entries} lines down one connection | {} ms | {name} | **{}** ({}-{}) |",
                short(ours.median * 1e3),
                short(ratio.median),
                short(ratio.low),
                short(ratio.high)
            );
        }
    }
    for (name, share) in [("median", 0.5), ("99 %", 0.99)] {
        let of = |times| RoundTrips::percentile(times, share).map(|time| time.as_secs_f64());
        if let (Some(ours), Some(echo)) = (of(&trips.daemon), of(&trips.echo)) {
            let _ = writeln!(
                text,
                "| one line and its answer, {name} | {} us | a server that sends it back | **{}** |",
                short(ours * 1e6),
                short(ours / echo)
            );
        }
    }
    text
}

/// Three digits that count.
pub fn short(value: f64) -> String {
    let places = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    format!("{value:.places$}")
}

/// All times and ratios.
pub fn render_json(machine: &str, rounds: usize, all: &[Samples]) -> Value {
    let results: Vec<_> = all
        .iter()
        .map(|samples| {
            let contenders: Vec<_> = samples
                .times
                .iter()
                .map(|(contender, times)| {
                    let ratio =
                        samples.ratio(*contender).map(|ratio| json!([ratio.low, ratio.median, ratio.high]));
                    json!({
                        "contender": contender.name(),
                        "ratio_to_ours_quartiles": ratio,
                        "quickest_to_our_quickest": samples.quickest(*contender),
                        "microseconds": times.iter().map(|time| time.as_secs_f64() * 1e6).collect::<Vec<_>>(),
                    })
                })
                .collect();
            json!({
                "workload": samples.workload.to_string(),
                "operation": samples.operation.to_string(),
                "contenders": contenders,
            })
        })
        .collect();
    json!({ "machine": machine, "rounds": rounds, "results": results })
}

/// Where it was measured, in one line. `how` tells how the programs were built.
pub fn describe_machine(how: &str) -> String {
    let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = file("/proc/cpuinfo");
    let cpu =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let load = file("/proc/loadavg");
    let versions: Vec<_> = [("iptables-nft", "-V"), ("nft", "-v"), ("ipset", "-v")]
        .into_iter()
        .filter_map(|(program, option)| {
            let output = Command::new(program).arg(option).env("PATH", SEARCH_PATH).output().ok()?;
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            Some(text.lines().next()?.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        })
        .map(|version| version.trim_end_matches(',').to_owned())
        .collect();
    format!(
        "Linux {}, {cores} cores ({}), load {}; {}; state in {}; plugin and floor: {how}",
        file("/proc/sys/kernel/osrelease").trim(),
        cpu.unwrap_or("unknown"),
        load.split(' ').next().unwrap_or_default(),
        versions.join(", "),
        scratch_parent().display(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contender::Operation;
    use crate::workload::Workload;

    pub(crate) fn samples() -> Samples {
        let times = |all: [u64; 3]| all.map(Duration::from_millis).to_vec();
        Samples {
            workload: Workload::Rules(10),
            operation: Operation::Add,
            times: vec![(Contender::Ours, times([1, 2, 4])), (Contender::Floor, times([1, 1, 1]))],
        }
    }

    #[test]
    fn quartiles_lie_between_values() {
        let quartiles = Quartiles::of([4.0, 1.0, 3.0, 2.0]).expect("values");
        assert_eq!(quartiles, Quartiles { low: 1.75, median: 2.5, high: 3.25 });
        assert_eq!(Quartiles::of([7.0]), Some(Quartiles { low: 7.0, median: 7.0, high: 7.0 }));
        assert_eq!(Quartiles::of([]), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let ratio = samples().ratio(Contender::Floor).expect("took part");
        assert_eq!(ratio, Quartiles { low: 0.375, median: 0.5, high: 0.75 });
        assert_eq!(samples().ratio(Contender::Nft), None);
    }

    #[test]
    fn sets_are_compared_within_a_round_and_lines_by_their_order() {
        let times = |all: &[u64]| all.iter().copied().map(Duration::from_millis).collect::<Vec<_>>();
        let stream = Stream {
            daemon: times(&[10, 30, 20]),
            restore: times(&[20, 20, 40]),
            restore_all: times(&[10, 10, 10]),
        };
        let trips = RoundTrips { daemon: times(&[2, 2, 9]), echo: times(&[1, 1, 3]) };
        let table = render_sets(7, &stream, &trips);
        let rows: Vec<_> = table.lines().skip(2).collect();
        assert_eq!(
            rows,
            [
                "| 7 lines down one connection | 20.0 ms | `ipset restore` of the same lines | **0.50** (0.50-1.00) |",
                "| 7 lines down one connection | 20.0 ms | `ipset restore` that makes the set, too | **2.00** (1.50-2.50) |",
                "| one line and its answer, median | 2000 us | a server that sends it back | **2.00** |",
                "| one line and its answer, 99 % | 9000 us | a server that sends it back | **3.00** |",
            ]
        );
    }

    #[test]
    fn the_table_has_a_row_for_each_measurement() {
        let table = render_table(&[samples()]);
        let row = table.lines().nth(2).expect("a row");
        assert_eq!(row, "| ADD, 10 rules | 2.00 ms | **0.50** (0.38-0.75) | | | | | 2.00 | 1.00 |  |");
        let cells = |line: &str| line.matches('|').count();
        assert!(table.lines().all(|line| cells(line) == cells(row)), "{table}");
    }
}
