//! The bench itself: one round of everything, with debug builds. That all contenders end in the same firewall is
//! checked by the bench; here it is shown that this check can fail.

use std::sync::LazyLock;

use fwn_bench::BenchError;
use fwn_bench::cargo::{Profile, build};
use fwn_bench::contender::{Contender, Operation};
use fwn_bench::daemon::Daemon;
use fwn_bench::hot::addresses;
use fwn_bench::launch::Step;
use fwn_bench::material::Material;
use fwn_bench::measure::Bench;
use fwn_bench::programs::Programs;
use fwn_bench::workload::Workload;
use fwn_bench::{round_trip, stream};
use fwn_testkit::{Netns, Sandbox};

static PROGRAMS: LazyLock<Programs> =
    LazyLock::new(|| Programs::build(Profile::Debug, None).expect("builds"));

fn names(samples: &fwn_bench::measure::Samples) -> Vec<&'static str> {
    samples.times.iter().map(|(contender, _)| contender.name()).collect()
}

#[test]
fn one_round_of_everything() {
    let programs = &*PROGRAMS;
    let host = Netns::new();
    let bench = Bench { programs, host: &host, rounds: 1 };

    let rules = Material::prepare(Workload::Rules(10), programs, &host).expect("ten rules");
    assert_eq!(rules.firewall.matches("\n-A INPUT").count(), 10, "{}", rules.firewall);
    let samples = bench.measure(&rules, Operation::Add).expect("the same firewall by all");
    assert_eq!(names(&samples), Contender::ALL.map(Contender::name));
    assert!(samples.times.iter().all(|(_, times)| times.len() == 1));

    let seed = Material::prepare(Workload::Seed, programs, &host).expect("the seed example");
    assert!(seed.firewall.contains("create blacklistweb"), "{}", seed.firewall);
    let samples = bench.measure(&seed, Operation::Add).expect("the same firewall by all");
    assert!(!names(&samples).contains(&"nft -f"), "nft has no words for it");
    bench.measure(&seed, Operation::Del).expect("nothing is left by any");
}

#[test]
fn another_firewall_is_noticed() {
    let programs = &*PROGRAMS;
    let host = Netns::new();
    let bench = Bench { programs, host: &host, rounds: 1 };
    let mut rules = Material::prepare(Workload::Rules(3), programs, &host).expect("three rules");
    rules.items.pop();
    rules.items.retain(|item| !item.make.iter().any(|word| word == "10.0.0.2/32"));
    match bench.measure(&rules, Operation::Add) {
        Err(BenchError::Different { contender, first, .. }) => {
            assert_eq!(contender, Contender::OneByOne.name());
            assert!(first.contains("10.0.0.2/32"), "{first}");
        }
        other => panic!("a rule is missing: {other:?}"),
    }
}

#[test]
fn entries_and_single_lines_of_ipsetd() {
    let built = build(Profile::Debug, &[("ipsetd", "ipsetd")]).expect("builds");
    let sandbox = Sandbox::new();
    sandbox.connect();
    let daemon = Daemon::start(built.program("ipsetd").expect("built"), &sandbox.container).expect("serves");
    let stream = stream::measure(&sandbox, &daemon, 2000, 1).expect("nothing is lost by any");
    assert_eq!([&stream.daemon, &stream.restore, &stream.restore_all].map(Vec::len), [1, 1, 1]);
    let trips = round_trip::measure(&sandbox, &daemon, 20).expect("each line is answered");
    assert_eq!([&trips.daemon, &trips.echo].map(Vec::len), [20, 20]);
}

/// A program that is run step by step, by which the functions are found that a call runs.
#[test]
fn a_program_is_followed_step_by_step() {
    let step = Step::new(env!("CARGO_BIN_EXE_hot"), ["become", "/bin/true"]);
    let netns = Netns::new();
    let passed = addresses(&step, &netns).expect("it ends well");
    assert!(passed.len() > 100, "{}", passed.len());
    let unique: std::collections::HashSet<_> = passed.iter().collect();
    assert_eq!(unique.len(), passed.len());
    let step = Step::new(env!("CARGO_BIN_EXE_hot"), ["become", "/bin/false"]);
    let error = addresses(&step, &netns).expect_err("it fails");
    assert!(error.to_string().contains("failed"), "{error}");
}
