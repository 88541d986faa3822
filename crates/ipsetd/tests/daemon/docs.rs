//! `docs/ipsetd.md` says what is so: its transcript against the daemon, its tables against the code.

use std::net::IpAddr;

use ipsetd::access::Refusal;
use ipsetd::line::Verb;
use ipsetd::settings::SETTINGS;

use crate::kit::{Daemon, ask, sandbox};

fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ipsetd.md");
    std::fs::read_to_string(path).expect("the page")
}

/// The rows of the table whose head begins like this, without the backticks of code.
fn table(head: &str) -> Vec<Vec<String>> {
    let page = page();
    let rows: Vec<Vec<String>> = page
        .lines()
        .skip_while(|line| !line.starts_with(head))
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells = line.trim_matches('|').split(" | ");
            cells.map(|cell| cell.replace('`', "").trim().to_owned()).collect()
        })
        .collect();
    assert!(!rows.is_empty(), "no table {head}");
    rows
}

#[test]
fn the_transcript_is_what_the_daemon_answers() {
    let page = page();
    let transcript = page.split("```transcript\n").nth(1).and_then(|rest| rest.split("```").next());
    let transcript = transcript.expect("a transcript");
    let lines = |mark: &str| {
        let marked = transcript.lines().filter_map(|line| line.strip_prefix(mark));
        marked.flat_map(|line| [line, "\n"]).collect::<String>()
    };
    let sandbox = sandbox();
    sandbox.container.sh("ipset destroy blacklistsmtp; ipset create blacklistsmtp hash:ip initval 1");
    let _daemon = Daemon::open(&sandbox);
    // the order of a hash depends on its seed, which the kernel chooses
    let sorted = |text: &str| {
        let sort = |line: &str| {
            let mut entries: Vec<&str> = line.trim_start_matches("ok ").split("; ").collect();
            entries.sort_unstable();
            entries.join("; ")
        };
        text.lines().map(sort).collect::<Vec<_>>()
    };
    assert_eq!(sorted(&ask(&sandbox, &lines("> "))), sorted(&lines("< ")));
    assert!(transcript.lines().count() > 30);
}

/// The command at the top of the page, but for the name of the host.
#[test]
fn the_command_works() {
    let page = page();
    let command = page.split("```sh\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a command");
    let sandbox = sandbox();
    let _daemon = Daemon::open(&sandbox);
    assert_eq!(sandbox.host.sh(&command.replace("webserver.marathon.mesos", "10.9.0.2")), "ok\n");
    sandbox.container.sh("ipset test blacklistsmtp 12.12.13.12");
}

#[test]
fn the_settings_are_those_of_the_table() {
    let settings: Vec<Vec<String>> = SETTINGS
        .iter()
        .map(|setting| {
            let value =
                if setting.value.is_empty() { "1 or 0; the flag stands alone" } else { setting.value };
            let help = setting.help.replace('`', "");
            vec![setting.variable.into(), format!("--{}", setting.flag), value.into(), help]
        })
        .collect();
    assert_eq!(table("| variable | flag |"), settings);
}

#[test]
fn the_refusals_are_those_of_the_table_in_their_order() {
    let address = IpAddr::from([10, 0, 0, 1]);
    let all = [
        Refusal::Unguarded,
        Refusal::Own(address),
        Refusal::NotListed(address),
        Refusal::NoCertificate,
        Refusal::WrongCertificate,
        Refusal::ExpiredCertificate,
        Refusal::NoToken,
        Refusal::WrongToken,
        Refusal::Verb(Verb::Flush),
        Refusal::Set("s1".into()),
    ];
    let said = all.map(|refusal| {
        let text = refusal.to_string().replace('`', "");
        text.replace("10.0.0.1", "ADDRESS").replace("flush", "VERB").replace("s1", "SET")
    });
    let rows = table("| refused if |");
    let listed: Vec<&str> = rows.iter().filter_map(|row| row.get(1)).map(String::as_str).collect();
    assert_eq!(listed, said);
}

#[test]
fn the_verbs_are_those_of_the_table() {
    let rows = table("| line |");
    let words: Vec<&str> = rows.iter().filter_map(|row| row.first()?.split(' ').next()).collect();
    let known: Vec<&str> = Verb::ALL.map(Verb::name).into_iter().chain(["begin", "auth"]).collect();
    assert_eq!(words, ["add", "del", "test", "list", "list", "flush", "swap", "begin", "auth"]);
    assert!(known.iter().all(|word| words.contains(word)));
}

#[test]
fn the_limits_named_are_settings() {
    for row in table("| what | then |") {
        for word in row[0].split(' ').filter(|word| word.starts_with("IPSET_")) {
            assert!(SETTINGS.iter().any(|setting| setting.variable == word), "{word}");
        }
    }
}
