//! Host names in rules and sets, asked of a name server of the test's own on the host's loopback.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use simple_dns::rdata::{A, AAAA, RData};
use simple_dns::{CLASS, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use crate::kit::{World, rule};

/// Answers for some names, says of others that there are none, and of `silent` nothing at all.
struct NameServer {
    address: String,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    fn start(world: &World) -> Self {
        world.sandbox.host.sh("ip link set lo up");
        let socket = world.sandbox.host.run(|| UdpSocket::bind("127.0.0.1:0")).expect("bound");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("a time");
        let address = socket.local_addr().expect("bound").to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut buffer = [0; 1500];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, peer)) = socket.recv_from(&mut buffer) else { continue };
                if let Some(bytes) = answer(&buffer[..length]) {
                    socket.send_to(&bytes, peer).expect("sent");
                }
            }
        });
        Self { address, stop, thread: Some(thread) }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(question: &[u8]) -> Option<Vec<u8>> {
    let packet = Packet::parse(question).expect("a question");
    let asked = packet.questions.first().expect("a question").clone();
    let name = asked.qname.to_string();
    let mut reply = Packet::new_reply(packet.id());
    reply.set_flags(PacketFlag::RECURSION_AVAILABLE | PacketFlag::RECURSION_DESIRED);
    let four: &[[u8; 4]] = match name.as_str() {
        "web.example" => &[[192, 0, 2, 3], [192, 0, 2, 1], [192, 0, 2, 2]],
        "also-web.example" => &[[192, 0, 2, 1]],
        "silent.example" => return None,
        _ => &[],
    };
    if four.is_empty() {
        *reply.rcode_mut() = RCODE::NameError;
    }
    for address in four {
        let data = match asked.qtype {
            QTYPE::TYPE(TYPE::A) => RData::A(A::from(std::net::Ipv4Addr::from(*address))),
            QTYPE::TYPE(TYPE::AAAA) if address[3] == 1 => {
                RData::AAAA(AAAA::from("2001:db8::1".parse::<std::net::Ipv6Addr>().expect("an address")))
            }
            _ => continue,
        };
        reply.answers.push(ResourceRecord::new(asked.qname.clone(), CLASS::IN, 60, data));
    }
    reply.questions.push(asked);
    Some(reply.build_bytes_vec().expect("an answer"))
}

fn with(server: &NameServer, more: &Value) -> Value {
    let mut all = json!({ "names": { "servers": [server.address], "timeout": 1 } });
    all.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    all
}

#[test]
fn names_become_addresses() {
    let world = World::new();
    let server = NameServer::start(&world);
    let conf = world.conf(&with(&server, &json!({
        "ipsets": [{ "set": "known", "hashtype": "hash:ip", "entries": ["web.example", "also-web.example"] }],
        "rules": [rule("INPUT", "-s web.example -j ACCEPT"), rule("OUTPUT", "-d also-web.example -j ACCEPT")],
    })));
    world.run("ADD", &conf);
    assert_eq!(
        world
            .sandbox
            .container
            .sh("iptables -S | grep -e -A; ip6tables -S | grep -e -A; ipset save known | grep add | sort"),
        "-A INPUT -s 192.0.2.1/32 -j ACCEPT\n-A INPUT -s 192.0.2.2/32 -j ACCEPT\n-A INPUT -s 192.0.2.3/32 -j ACCEPT\n\
         -A OUTPUT -d 192.0.2.1/32 -j ACCEPT\n\
         -A INPUT -s 2001:db8::1/128 -j ACCEPT\n-A OUTPUT -d 2001:db8::1/128 -j ACCEPT\n\
         add known 192.0.2.1\nadd known 192.0.2.2\nadd known 192.0.2.3\n"
    );
    drop(server);
    // neither needs the names again
    world.run("CHECK", &conf);
    world.run("DEL", &conf);
}

#[test]
fn names_that_do_not_resolve() {
    let world = World::with_foreign();
    let server = NameServer::start(&world);
    for (more, code, words) in [
        (
            json!({ "rules": [rule("INPUT", "-s nobody.example -j DROP"), rule("INPUT", "-s nowhere.example -j DROP")] }),
            11,
            vec![
                "rules[0].rule: cannot resolve `nobody.example`: not found",
                "rules[1].rule: cannot resolve `nowhere.example`: not found",
            ],
        ),
        (
            json!({ "rules": [rule("INPUT", "-s silent.example -j DROP")] }),
            11,
            vec!["`silent.example`: no answer from 127.0.0.1:", "within 1 s"],
        ),
        (
            json!({ "ipsets": [{ "set": "a", "hashtype": "hash:ip", "entries": ["nobody.example"] }] }),
            11,
            vec!["ipsets[0]: cannot resolve `nobody.example`: not found"],
        ),
        (
            json!({ "rules": [rule("INPUT", "! -s web.example -j DROP")] }),
            7,
            vec!["rules[0].rule: `!` before a name with 3 addresses"],
        ),
    ] {
        let (found, _) = world.refused(code, &world.call("ADD", &world.conf(&with(&server, &more))));
        for words in words {
            assert!(found.contains(words), "expected `{words}`, found `{found}`");
        }
    }
    let unreachable = json!({ "names": { "servers": ["127.0.0.1:9"], "timeout": 1 }, "rules": [rule("INPUT", "-s a.example")] });
    let (found, _) = world.refused(11, &world.call("ADD", &world.conf(&unreachable)));
    assert!(found.contains("`a.example`: ") && found.contains("127.0.0.1:9"), "{found}");
}
