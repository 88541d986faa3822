//! ip_set against the `ipset` program: the same sets made natively in one namespace and with the program in another
//! have to look the same, and what the program refuses has to be refused. Needs root, `ipset` and `unshare`.

mod cases;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Lines, Write};
use std::process::{Child, ChildStdout, Stdio};

use fwn_kernel::ipset::message::Command;
use fwn_kernel::ipset::{SetClient, SetError};
use fwn_plan::netfilter::Family;
use fwn_plan::set::{CreateKey, CreateOptions, Entry, Grammar, NumbersOnly, SetKind, Verb, render_create};
use fwn_testkit::Netns;

use cases::{Case, all_cases, base_options, families, sample_entries, sample_value};

/// Types that the kernel of the tests may lack; where it does, the program has to say so too.
const RARE: [SetKind; 5] =
    [SetKind::HashIpMark, SetKind::HashIpMac, SetKind::HashMac, SetKind::HashNetNet, SetKind::HashNetPortNet];

/// A client in the namespace: the socket stays there, the thread that opened it ends.
fn open(netns: &Netns) -> SetClient {
    let path = netns.path();
    let inside = move || {
        let file = std::fs::File::open(path).expect("the namespace is held");
        nix::sched::setns(file, nix::sched::CloneFlags::CLONE_NEWNET).expect("the namespace is entered");
        SetClient::open_here().expect("the kernel has ip_set")
    };
    std::thread::spawn(inside).join().expect("the thread ends")
}

/// Runs `ipset restore`; gives what it complains about.
fn restore(netns: &Netns, text: &str) -> Result<(), String> {
    let mut child = netns
        .command("ipset")
        .arg("restore")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ipset runs");
    // it may stop reading at the first error
    let _ = child.stdin.take().expect("piped").write_all(text.as_bytes());
    let output = child.wait_with_output().expect("ipset ends");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

/// Masks what counts down: timeouts of entries.
fn masked(text: &str) -> String {
    let mut masked = String::new();
    for line in text.lines() {
        let mut after_timeout = false;
        let header = line.starts_with("create") || line.starts_with("Header");
        let words = line.split(' ').map(|word| {
            let mask = after_timeout && word != "0" && !header;
            after_timeout = word == "timeout";
            if mask { "T" } else { word }
        });
        masked += &words.collect::<Vec<_>>().join(" ");
        masked.push('\n');
    }
    masked
}

/// Compares masked texts; shows the lines that differ, not all of both.
fn assert_same(ours: &str, theirs: &str) {
    let (ours, theirs) = (masked(ours), masked(theirs));
    let differing: Vec<_> =
        ours.lines().zip(theirs.lines()).filter(|(left, right)| left != right).take(5).collect();
    assert_eq!(differing, [], "ours and theirs");
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

fn offered(client: &mut SetClient) -> Vec<SetKind> {
    SetKind::ALL
        .into_iter()
        .filter(|kind| {
            let case = Case {
                name: "probe".into(),
                kind: *kind,
                options: base_options(*kind)
                    .iter()
                    .map(|key| (*key, sample_value(*key, *kind, false).into()))
                    .collect(),
                entries: vec![],
            };
            match client.create(&case.spec().expect("good")) {
                Ok(()) => {
                    client.destroy("probe").expect("just made");
                    true
                }
                Err(SetError::NoType(missing)) => {
                    assert_eq!(missing, *kind);
                    assert!(RARE.contains(kind), "the kernel lacks {kind}");
                    false
                }
                Err(error) => panic!("{kind}: {error}"),
            }
        })
        .collect()
}

#[test]
fn every_type_family_and_option_looks_as_made_by_ipset() {
    let (ours, theirs, copy) = (Netns::new(), Netns::new(), Netns::new());
    let mut client = open(&ours);
    let cases = all_cases(&offered(&mut client));
    assert!(cases.len() > 150, "{} cases", cases.len());

    let text: String = cases.iter().map(Case::restore_text).collect();
    restore(&theirs, &text).expect("ipset takes the cases");
    for case in &cases {
        let spec = case.spec().unwrap_or_else(|error| panic!("{}: {error}", case.restore_text()));
        client.create_filled(&spec).unwrap_or_else(|error| panic!("{}: {error}", case.restore_text()));
    }

    let saved = ours.sh("ipset save");
    assert_same(&saved, &theirs.sh("ipset save"));
    assert_same(&ours.sh("ipset list"), &theirs.sh("ipset list"));

    // what we read is what the program prints
    let mut all = String::new();
    let headers = client.list_headers().expect("listed");
    assert_eq!(headers.len(), cases.len());
    for header in &headers {
        all += &client.save(&header.name).expect("listed").expect("there");
    }
    // ipset 7.17 forgets to print `forceadd` (`ipset_data_set` in its lib/data.c); a saved set needs it
    assert_same(&all.replace(" forceadd", ""), &saved);
    let forceadd = |case: &&Case| case.options.iter().any(|(key, _)| *key == CreateKey::Forceadd);
    assert_eq!(all.matches(" forceadd").count(), cases.iter().filter(forceadd).count());

    // and what we read can be written again
    let mut second = open(&copy);
    for case in &cases {
        let listed = client.list(&case.name).expect("listed").expect("there");
        assert_eq!(listed.header.elements, Some(listed.entries.len() as u32), "{}", case.name);
        let mut spec = case.spec().expect("parsed before");
        spec.entries.clear();
        second.create(&spec).expect("as before");
        second
            .fill(&case.name, case.kind, &listed.entries, false)
            .unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let again = second.list(&case.name).expect("listed").expect("there");
        let lines = |entries: &[Entry]| {
            entries.iter().map(|entry| masked(&entry.to_string())).collect::<BTreeSet<_>>()
        };
        assert_eq!(lines(&again.entries), lines(&listed.entries), "{}", case.name);
    }
}

#[test]
fn entries_without_ranges_come_back_as_put_in() {
    let netns = Netns::new();
    let mut client = open(&netns);
    for kind in offered(&mut client) {
        for ipv6 in [false, true] {
            if ipv6 && !families(kind).contains(&Some("inet6")) || kind == SetKind::ListSet {
                continue;
            }
            let mut case = Case {
                name: "back".into(),
                kind,
                options: base_options(kind)
                    .iter()
                    .map(|key| (*key, sample_value(*key, kind, ipv6).into()))
                    .collect(),
                entries: sample_entries(kind, ipv6).into_iter().map(str::to_owned).collect(),
            };
            if ipv6 {
                case.options.push((CreateKey::Family, "inet6".into()));
            }
            let is_one =
                |entry: &String| !entry.contains('-') && (!entry.contains('/') || !entry.contains(".5/"));
            case.entries.retain(|entry| {
                is_one(entry)
                    && !(entry.contains('/') && !kind.has_nets() && !entry.contains("icmp"))
                    && !entry.contains("ff/")
            });
            let spec = case.spec().expect("good");
            client.create_filled(&spec).expect("made");
            let listed = client.list("back").expect("listed").expect("there");
            let lines =
                |entries: Vec<&Entry>| entries.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
            assert_eq!(
                lines(listed.entries.iter().collect()),
                lines(spec.entries.iter().map(|entry| &entry.entry).collect())
            );
            client.destroy("back").expect("made");
        }
    }
}

#[test]
fn what_ipset_refuses_is_refused_in_words() {
    let (ours, theirs) = (Netns::new(), Netns::new());
    let mut client = open(&ours);
    let many: Vec<String> = (0..9).map(|at| format!("10.0.0.{at}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for (kind, options, entries, words) in [
        (
            "hash:ip",
            &[][..],
            &["0.0.0.0"][..],
            "cannot add to set `bad` the entry `0.0.0.0`: an address or number of zero cannot be stored",
        ),
        (
            "hash:ip",
            &[],
            &["10.0.0.1", "0.0.0.0/1"],
            "cannot add to set `bad` the entry `0.0.0.0/1`: an address or number of zero cannot be stored",
        ),
        (
            "hash:ip",
            &[("maxelem", "4")],
            &many[1..],
            "cannot add to set `bad` the entry `10.0.0.5`: the set is full, `maxelem` allows no more",
        ),
        (
            "hash:net",
            &[],
            &["0.0.0.0-255.255.255.255"],
            "the entry `0.0.0.0-255.255.255.255`: the range covers the whole address space",
        ),
        (
            "bitmap:ip",
            &[("range", "10.0.0.0/24")],
            &["10.0.1.0"],
            "the entry `10.0.1.0`: it is outside of the set's range",
        ),
        (
            "bitmap:port",
            &[("range", "0-99")],
            &["98-100"],
            "the entry `98-100`: it is outside of the set's range",
        ),
        (
            "bitmap:ip,mac",
            &[("range", "10.0.0.0/24")],
            &["10.0.1.0,02:00:00:00:00:01"],
            "it is outside of the set's range",
        ),
        (
            "list:set",
            &[],
            &["nothere"],
            "cannot add to set `bad` the entry `nothere`: there is no such set to put into the list",
        ),
        ("list:set", &[], &["bad"], "the entry `bad`: a list cannot hold a list"),
        (
            "list:set",
            &[],
            &["other before nothere"],
            "the entry `other before nothere`: there is no such set to stand before or after",
        ),
        (
            "list:set",
            &[],
            &["other before third"],
            "the entry `other before third`: the set to stand before or after is not in the list",
        ),
        ("hash:net,iface", &[], &["10.0.0.0/33,eth0"], "`33` is not in 0 to 32"),
        ("hash:ip", &[("netmask", "33")], &[], "`33` is not in 1 to 32"),
        (
            "hash:ip",
            &[("netmask", "24"), ("bitmask", "255.0.0.0")],
            &[],
            "`netmask` and `bitmask` exclude each other",
        ),
        ("hash:net", &[("netmask", "24")], &[], "`hash:net` has no option `netmask`"),
        ("hash:ip", &[("timeout", "2147484")], &[], "`2147484` is not in 0 to 2147483"),
        ("hash:ip", &[], &["10.0.0.1 timeout 3"], "`timeout` cannot be given"),
        ("hash:ip", &[], &["10.0.0.1 comment x"], "`comment` cannot be given"),
        ("hash:ip", &[], &["10.0.0.1 packets 3"], "`packets` cannot be given"),
        ("hash:ip", &[], &["10.0.0.1 skbmark 0x3"], "`skbmark` cannot be given"),
        ("hash:ip", &[], &["10.0.0.1 nomatch"], "entries of `hash:ip` have no `nomatch`"),
        ("hash:ip", &[], &["fd00::1"], "`fd00::1` is an IPv6 address, the set holds IPv4"),
        (
            "hash:ip",
            &[("family", "inet6")],
            &["10.0.0.1"],
            "`10.0.0.1` is an IPv4 address, the set holds IPv6",
        ),
        (
            "hash:ip",
            &[("family", "inet6")],
            &["fd00::/64"],
            "is a block of addresses, one address is wanted here",
        ),
        (
            "hash:net",
            &[("family", "inet6")],
            &["fd00::1-fd00::2"],
            "the kernel has no ranges of IPv6 addresses",
        ),
        ("hash:net", &[], &["10.0.0.0/0"], "`hash:net` does not take `/0`"),
        ("hash:ip,port", &[], &["10.0.0.1"], "an entry of `hash:ip,port` has 2 parts, not 1"),
        ("hash:ip,port", &[], &["10.0.0.1,icmpv6:1/0"], "icmpv6 goes with IPv6 only"),
        ("hash:ip,port", &[], &["10.0.0.1,gre:1"], "`gre` has no ports"),
        ("hash:ip,port", &[], &["10.0.0.1,tcp:65536"], "`65536` is not in 0 to 65535"),
        ("hash:ip,port,ip", &[], &["10.0.0.1,80,10.0.0.0/24"], "one address is wanted here"),
        ("bitmap:ip", &[], &[], "`bitmap:ip` needs a `range`"),
        ("bitmap:ip", &[("range", "10.0.0.0/15")], &[], "more than a bitmap can hold"),
        (
            "bitmap:ip",
            &[("range", "10.0.0.0/24"), ("netmask", "24")],
            &[],
            "is no block of at least two of them",
        ),
        ("bitmap:port", &[("range", "80")], &[], "`80` is no range of ports"),
        ("hash:ip", &[("size", "8")], &[], "`hash:ip` has no option `size`"),
    ] {
        let case = Case::new("bad", kind, options, entries);
        for netns in [&ours, &theirs] {
            netns.sh("ipset destroy; ipset create other hash:ip; ipset create third hash:ip");
        }
        let mut made = false;
        let outcome = case.spec().and_then(|spec| {
            made = true;
            client.create_filled(&spec).map_err(|error| error.to_string())
        });
        let complaint = outcome.expect_err(&case.restore_text());
        assert!(complaint.contains(words), "{complaint:?} does not say {words:?}");
        assert!(!client.exists("bad").expect("asked"), "nothing is left of {case:?}");
        assert!(restore(&theirs, &case.restore_text()).is_err(), "ipset takes {case:?}");
    }
}

#[test]
fn a_type_that_the_kernel_lacks_is_named() {
    let netns = Netns::new();
    let mut client = open(&netns);
    let offered = offered(&mut client);
    for kind in RARE {
        let case = Case { name: "rare".into(), kind, options: vec![], entries: vec![] };
        let tool = restore(&netns, &case.restore_text());
        if offered.contains(&kind) {
            assert_eq!(tool, Ok(()));
            client.destroy("rare").expect("the program made it");
            continue;
        }
        let error = client.create(&case.spec().expect("good")).expect_err("not offered");
        assert_eq!(error.to_string(), format!("this kernel does not offer set type `{kind}`"));
        assert!(tool.expect_err("not offered").contains("set type not supported"), "{kind}");
    }
}

#[test]
fn a_hundred_thousand_entries_go_in_and_come_out() {
    let netns = Netns::new();
    let mut client = open(&netns);
    let mut case = Case::new("large", "hash:ip", &[("maxelem", "200000"), ("comment", "true")], &[]);
    case.entries = (0..100_000u32)
        .map(|at| format!("10.{}.{}.{} comment c{at}", at >> 16, at >> 8 & 255, at & 255))
        .collect();
    let spec = case.spec().expect("good");
    client.create_filled(&spec).expect("made");
    let listed = client.list("large").expect("listed").expect("there");
    assert_eq!(listed.entries.len(), 100_000);
    let lines = |entries: Vec<&Entry>| entries.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
    assert_eq!(
        lines(listed.entries.iter().collect()),
        lines(spec.entries.iter().map(|entry| &entry.entry).collect())
    );

    // the entry that is refused is named, wherever it stands, and nothing is left
    client.flush("large").expect("there");
    client.destroy("large").expect("there");
    for at in [0, 1, 54_321, 99_999] {
        let mut bad = spec.clone();
        bad.entries[at].entry =
            Case::new("x", "hash:ip", &[], &["0.0.0.0"]).spec().expect("good").entries[0].entry.clone();
        let error = client.create_filled(&bad).expect_err("a zero address");
        assert_eq!(error.entry_index(), Some(at));
        assert_eq!(client.list_headers().expect("listed"), []);
    }
    // all of them refused: the answers have to fit into the receive buffer
    client
        .create(&Case::new("full", "hash:ip", &[("maxelem", "0")], &[]).spec().expect("good"))
        .expect("made");
    let error = client
        .fill("full", SetKind::HashIp, spec.entries.iter().map(|entry| &entry.entry), true)
        .expect_err("no room");
    assert_eq!(error.entry_index(), Some(0), "{error}");
}

fn entry(kind: SetKind, verb: Verb, text: &str) -> Entry {
    let options = CreateOptions::default();
    let grammar = Grammar { kind, family: Some(Family::Ipv4), options: &options, services: &NumbersOnly };
    grammar.parse(verb, text).expect("good").literal().expect("no name").clone()
}

#[test]
fn single_changes_say_what_was_there() {
    let netns = Netns::new();
    let mut client = open(&netns);
    let kind = SetKind::HashNet;
    client.create(&Case::new("web", "hash:net", &[], &[]).spec().expect("good")).expect("made");
    let block = entry(kind, Verb::Add, "10.0.0.0/8");
    let inside = entry(kind, Verb::Test, "10.1.2.3");

    assert!(!client.test("web", kind, &inside).expect("asked"));
    client.add("web", kind, &block, false).expect("new");
    assert!(client.test("web", kind, &inside).expect("asked"));
    assert!(client.add("web", kind, &block, false).expect_err("twice").is_there());
    client.add("web", kind, &block, true).expect("may be there");
    let exception = entry(kind, Verb::Add, "10.1.0.0/16 nomatch");
    client.add("web", kind, &exception, false).expect("new");
    assert!(!client.test("web", kind, &inside).expect("asked"));

    client.delete("web", kind, &block, false).expect("there");
    let error = client.delete("web", kind, &block, false).expect_err("gone");
    assert_eq!(
        error.to_string(),
        "cannot delete from set `web` the entry `10.0.0.0/8`: it is not in the set"
    );
    client.delete("web", kind, &block, true).expect("need not be there");
    let error = client.add("nothere", kind, &block, true).expect_err("no set");
    assert!(error.is_missing());
    assert_eq!(error.to_string(), "cannot add to set `nothere` the entry `10.0.0.0/8`: no set has this name");
    let error = client.fill("nothere", kind, [&block], true).expect_err("no set");
    assert!(error.is_missing(), "{error}");
}

#[test]
fn sets_are_found_renamed_swapped_and_destroyed() {
    let netns = Netns::new();
    let mut client = open(&netns);
    assert_eq!(client.list_headers().expect("asked"), []);
    assert_eq!(client.list("a").expect("asked"), None);
    assert_eq!(client.save("a").expect("asked"), None);
    assert_eq!(client.index_of("a").expect("asked"), None);
    assert_eq!(client.kind_of("a").expect("asked"), None);
    assert!(client.destroy("a").expect_err("none").is_missing());

    for (name, kind, entries) in [
        ("a", "hash:ip", &["10.0.0.1"][..]),
        ("b", "hash:ip", &[]),
        ("c", "bitmap:port", &[]),
        ("l", "list:set", &["c"]),
    ] {
        let range: &[_] = if kind == "bitmap:port" { &[("range", "0-9")] } else { &[] };
        client.create_filled(&Case::new(name, kind, range, entries).spec().expect("good")).expect("made");
    }
    let again = Case::new("a", "hash:ip", &[], &[]).spec().expect("good");
    let error = client.create(&again).expect_err("twice");
    assert!(error.is_there());
    assert_eq!(error.to_string(), "cannot create set `a`: another set has this name");
    // a set that was there before is not taken away for it
    assert!(client.create_filled(&again).expect_err("twice").is_there());
    assert!(client.exists("a").expect("asked"));

    assert_eq!(client.kind_of("a").expect("asked"), Some((SetKind::HashIp, Some(Family::Ipv4))));
    assert_eq!(client.kind_of("c").expect("asked"), Some((SetKind::BitmapPort, None)));
    let headers = client.list_headers().expect("listed");
    let indexes: BTreeMap<_, _> = headers.iter().map(|header| (header.name.as_str(), header.index)).collect();
    assert_eq!(client.index_of("b").expect("asked"), indexes["b"]);
    assert_eq!(headers.iter().find(|header| header.name == "c").map(|header| header.references), Some(1));

    client.swap("a", "b").expect("same type");
    assert_eq!(client.list("b").expect("listed").expect("there").entries.len(), 1);
    let (words, refused): (_, [Result<(), SetError>; 5]) = (
        [
            "cannot swap set `a`: there is no such second set",
            "cannot swap set `a`: the two sets differ in their types",
            "cannot rename set `a`: another set has the new name",
            "cannot rename set `c`: a rule or a list of sets refers to it",
            "cannot destroy set `c`: a rule or a list of sets uses it",
        ],
        [
            client.swap("a", "nothere"),
            client.swap("a", "c"),
            client.rename("a", "b"),
            client.rename("c", "d"),
            client.destroy("c"),
        ],
    );
    for (words, refused) in words.into_iter().zip(refused) {
        assert_eq!(refused.expect_err(words).to_string(), words);
    }
    client.rename("a", "z").expect("free");
    assert!(matches!(
        client.flush("a"),
        Err(SetError::Refused { command: Command::Flush, errno: libc::ENOENT, .. })
    ));
    client.destroy("l").expect("free");
    for name in ["z", "b", "c"] {
        client.destroy(name).expect("free");
    }
    assert_eq!(netns.sh("ipset list"), "");
}

/// A set `a` with more entries than fit into pipe and socket, and who lists it and waits for a reader.
fn listed(netns: &Netns) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut text = "create a hash:ip maxelem 100000\n".to_owned();
    for number in 0..80_000 {
        writeln!(text, "add a 10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255).expect("text");
    }
    restore(netns, &text).expect("made");
    let mut listing = netns.command("ipset").arg("save").stdout(Stdio::piped()).spawn().expect("ipset runs");
    let mut lines = BufReader::new(listing.stdout.take().expect("piped")).lines();
    lines.next().expect("the listing has begun").expect("text");
    (listing, lines)
}

#[test]
fn a_set_that_is_being_listed_goes_when_the_listing_ends() {
    let netns = Netns::new();
    let (mut listing, lines) = listed(&netns);
    let mut client = open(&netns);
    assert!(client.destroy("a").expect_err("in use").is_busy());
    // nobody reads on, so it ends
    drop(lines);
    client.destroy_released("a").expect("free");
    listing.wait().expect("it ends");
    assert_eq!(netns.sh("ipset list"), "");
}

#[test]
fn a_set_that_is_being_listed_is_not_swapped() {
    let netns = Netns::new();
    let (mut listing, lines) = listed(&netns);
    let mut client = open(&netns);
    netns.sh("ipset create b hash:ip; ipset add b 10.1.0.1");
    let error = client.swap("b", "a").expect_err("in use");
    assert!(error.is_busy(), "{error}");
    assert!(error.to_string().ends_with("somebody lists one of the two sets"), "{error}");
    drop(lines);
    listing.wait().expect("it ends");
    client.swap("a", "b").expect("free");
    assert_eq!(netns.sh("ipset list a | tail -n 1"), "10.1.0.1\n");
}

#[test]
fn a_growing_hash_keeps_the_size_asked_for_until_it_grows_itself() {
    let netns = Netns::new();
    let mut client = open(&netns);
    let spec = Case::new("a", "hash:ip", &[("hashsize", "64")], &["10.0.0.1"]).spec().expect("good");
    client.create_filled(&spec).expect("made");
    let header = client.list("a").expect("listed").expect("there").header;
    assert_eq!(header.options.hashsize, Some(64));
    assert_eq!(
        render_create("a", spec.kind, spec.family, &spec.options),
        "create a hash:ip family inet hashsize 64"
    );
}
