//! The case table against the real tools: what a case is expected to give, `ipset restore`, `iptables-restore` and
//! `ip6tables-restore` take, each case in a namespace of its own, and every line of it is in force then.

use std::io::Write;
use std::process::Stdio;

use fwn_testkit::Netns;
use fwn_testkit::cases::{Case, Expected, PlanTexts, load_cases};

#[test]
fn the_real_tools_take_every_plan() {
    let mut wrong = Vec::new();
    let mut taken = 0;
    for case in load_cases() {
        let Expected::Plan(plan) = &case.expected else { continue };
        taken += 1;
        wrong.extend(restore(&case, plan).err());
    }
    assert!(taken > 0, "no case has a plan");
    assert!(wrong.is_empty(), "{} of {taken} plans are not taken:\n\n{}", wrong.len(), wrong.join("\n"));
}

fn restore(case: &Case, plan: &PlanTexts) -> Result<(), String> {
    let netns = Netns::new();
    for (set, family) in &case.sets {
        let kind = match family.as_str() {
            "-" => "bitmap:port range 0-1023".to_owned(),
            "ipv6" => "hash:ip family inet6".to_owned(),
            _ => "hash:ip family inet".to_owned(),
        };
        netns.sh(&format!("ipset create {set} {kind}"));
    }
    let listed = |command: &str| netns.sh(command).lines().count();
    let before = listed("ipset list -n");
    // entries may be there twice: two names with one address
    feed(case, &netns, &["ipset", "-exist", "restore"], &plan.ipset)?;
    feed(case, &netns, &["iptables-restore", "--noflush"], &plan.iptables)?;
    feed(case, &netns, &["ip6tables-restore", "--noflush"], &plan.ip6tables)?;
    for (what, asked, found) in [
        ("sets", count(&plan.ipset, &["create "]), listed("ipset list -n") - before),
        ("IPv4 rules", count(&plan.iptables, &["-A ", "-I "]), listed("iptables-save | grep ^-A || true")),
        ("IPv6 rules", count(&plan.ip6tables, &["-A ", "-I "]), listed("ip6tables-save | grep ^-A || true")),
    ] {
        if asked != found {
            return Err(format!("cases/{}: {asked} {what} are asked for, {found} are there", case.name));
        }
    }
    Ok(())
}

fn count(text: &str, beginnings: &[&str]) -> usize {
    text.lines().filter(|line| beginnings.iter().any(|beginning| line.starts_with(beginning))).count()
}

fn feed(case: &Case, netns: &Netns, command: &[&str], text: &str) -> Result<(), String> {
    let [program, arguments @ ..] = command else { unreachable!("a command has a program") };
    let mut child = netns
        .command(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    // one that refuses early does not read all of it
    let _ = child.stdin.take().expect("piped").write_all(text.as_bytes());
    let output = child.wait_with_output().expect("the tool ends");
    if output.status.success() && output.stderr.is_empty() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("cases/{}: {}: {said}{text}", case.name, command.join(" ")))
}
