//! Names against a DNS server of the test's own on 127.0.0.1, which answers as each test tells it: UDP and TCP on
//! one port, every question kept.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc;

use simple_dns::rdata::{A, AAAA, CNAME, RData};
use simple_dns::{CLASS, Name, Packet, PacketFlag, QTYPE, RCODE, ResourceRecord, TYPE};

use super::*;

/// What the server does with a question.
enum Reply {
    Silence,
    Code(RCODE),
    /// Owner and record, in the answer section.
    Records(Vec<(String, Record)>),
    /// Cut off, so that the client asks by TCP.
    Truncated,
    /// First a datagram with these changes, then the right one.
    After(Vec<Forgery>, Box<Reply>),
    /// When something is sent on the channel.
    Late(Arc<Mutex<mpsc::Receiver<()>>>, Box<Reply>),
    /// After this long.
    Slow(Duration, Box<Reply>),
}

enum Record {
    Address(IpAddr),
    Alias(String),
}

#[derive(Clone, Copy)]
enum Forgery {
    Id,
    Question,
    NotAnAnswer,
    Garbage,
    OtherPort,
}

type Script = dyn Fn(&str, TYPE, bool) -> Reply + Send + Sync;

struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<(String, TYPE, bool)>>>,
}

impl Server {
    /// `script` is given the name in lower case, the type, and whether it came by TCP.
    fn start(script: impl Fn(&str, TYPE, bool) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at("127.0.0.1:0", script)
    }

    fn start_at(address: &str, script: impl Fn(&str, TYPE, bool) -> Reply + Send + Sync + 'static) -> Self {
        let (udp, tcp) = loop {
            let udp = UdpSocket::bind(address).expect("a UDP port");
            // the same number may be taken for TCP
            if let Ok(tcp) = TcpListener::bind(udp.local_addr().expect("its address")) {
                break (Arc::new(udp), tcp);
            }
        };
        let address = udp.local_addr().expect("its address");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Script> = Arc::new(script);
        let (log, answer) = (Arc::clone(&asked), Arc::clone(&script));
        std::thread::spawn(move || {
            let mut bytes = [0; 1500];
            while let Ok((length, peer)) = udp.recv_from(&mut bytes) {
                let query = bytes[..length].to_vec();
                let reply = note(&query, false, &log, &*answer);
                let udp = Arc::clone(&udp);
                // a reply may wait
                std::thread::spawn(move || respond(&udp, peer, &query, reply));
            }
        });
        let log = Arc::clone(&asked);
        std::thread::spawn(move || {
            for stream in tcp.incoming() {
                let mut stream = stream.expect("a connection");
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    continue;
                }
                let mut query = vec![0; u16::from_be_bytes(length).into()];
                stream.read_exact(&mut query).expect("a query");
                if let Some(bytes) = render(&query, &note(&query, true, &log, &*script)) {
                    let length = u16::try_from(bytes.len()).expect("fits").to_be_bytes();
                    // byte by byte: a reader must put it together
                    for byte in length.iter().chain(&bytes) {
                        stream.write_all(&[*byte]).expect("the client reads");
                    }
                }
            }
        });
        Self { address, asked }
    }

    /// How often a name was asked for.
    fn count(&self, name: &str) -> usize {
        self.asked.lock().expect("not poisoned").iter().filter(|(asked, ..)| asked == name).count()
    }
}

fn note(query: &[u8], tcp: bool, log: &Mutex<Vec<(String, TYPE, bool)>>, script: &Script) -> Reply {
    let packet = Packet::parse(query).expect("the client sends DNS");
    assert!(packet.has_flags(PacketFlag::RECURSION_DESIRED));
    let name = packet.questions[0].qname.to_string().to_lowercase();
    let QTYPE::TYPE(kind) = packet.questions[0].qtype else { panic!("a type") };
    log.lock().expect("not poisoned").push((name.clone(), kind, tcp));
    script(&name, kind, tcp)
}

fn respond(udp: &UdpSocket, peer: SocketAddr, query: &[u8], reply: Reply) {
    match reply {
        Reply::Late(go, reply) => {
            go.lock().expect("not poisoned").recv().expect("the test says go");
            respond(udp, peer, query, *reply);
        }
        Reply::Slow(time, reply) => {
            std::thread::sleep(time);
            respond(udp, peer, query, *reply);
        }
        Reply::After(forgeries, reply) => {
            for forgery in forgeries {
                let wrong = Reply::Records(vec![(
                    String::new(),
                    Record::Address("6.6.6.6".parse().expect("address")),
                )]);
                let mut bytes = render(query, &wrong).expect("an answer");
                match forgery {
                    Forgery::Id => bytes[1] ^= 1,
                    Forgery::Question => bytes[13] ^= 1,
                    Forgery::NotAnAnswer => bytes[2] &= 0x7f,
                    Forgery::Garbage => bytes.truncate(20),
                    Forgery::OtherPort => {
                        let other = UdpSocket::bind("127.0.0.1:0").expect("a port");
                        other.send_to(&bytes, peer).expect("sent");
                        continue;
                    }
                }
                udp.send_to(&bytes, peer).expect("sent");
            }
            respond(udp, peer, query, *reply);
        }
        reply => {
            if let Some(bytes) = render(query, &reply) {
                // the client may be gone
                drop(udp.send_to(&bytes, peer));
            }
        }
    }
}

fn render(query: &[u8], reply: &Reply) -> Option<Vec<u8>> {
    let query = Packet::parse(query).expect("the client sends DNS");
    let mut packet = Packet::new_reply(query.id());
    packet.questions.clone_from(&query.questions);
    match reply {
        Reply::Silence => return None,
        Reply::Code(code) => *packet.rcode_mut() = *code,
        Reply::Truncated => packet.set_flags(PacketFlag::TRUNCATION),
        Reply::Records(records) => {
            for (owner, record) in records {
                let owner = if owner.is_empty() {
                    query.questions[0].qname.clone()
                } else {
                    Name::new(owner).expect("a name")
                };
                let data = match record {
                    Record::Address(IpAddr::V4(address)) => RData::A(A::from(*address)),
                    Record::Address(IpAddr::V6(address)) => RData::AAAA(AAAA::from(*address)),
                    Record::Alias(to) => RData::CNAME(CNAME(Name::new(to).expect("a name"))),
                };
                packet.answers.push(ResourceRecord::new(owner, CLASS::IN, 60, data));
            }
        }
        Reply::After(..) | Reply::Late(..) | Reply::Slow(..) => panic!("taken apart before"),
    }
    Some(packet.build_bytes_vec().expect("a message"))
}

/// Those of the addresses that are of the type asked for.
fn addresses(kind: TYPE, all: &[&str]) -> Reply {
    let all = all.iter().map(|address| address.parse::<IpAddr>().expect("an address"));
    let wanted = all.filter(|address| address.is_ipv4() == (kind == TYPE::A));
    Reply::Records(wanted.map(|address| (String::new(), Record::Address(address))).collect())
}

fn alias(from: &str, to: &str) -> (String, Record) {
    (from.to_owned(), Record::Alias(to.to_owned()))
}

/// No files, these servers; long enough that no test waits for it by accident unnoticed.
fn conf(servers: &[&Server]) -> ResolverConf {
    ResolverConf {
        timeout: Duration::from_secs(20),
        servers: servers.iter().map(|server| server.address).collect(),
        hosts_file: "/nonexistent/hosts".into(),
        resolv_conf: "/nonexistent/resolv.conf".into(),
    }
}

fn ask(names: &[&str], conf: &ResolverConf) -> Result<BTreeMap<String, BTreeSet<IpAddr>>, ResolveError> {
    resolve(&names.iter().map(|name| (*name).to_owned()).collect(), conf)
}

/// The addresses of one name, as text.
fn one(name: &str, conf: &ResolverConf) -> Vec<String> {
    ask(&[name], conf).expect("resolves")[name].iter().map(ToString::to_string).collect()
}

fn reasons(names: &[&str], conf: &ResolverConf) -> BTreeMap<String, Reason> {
    match ask(names, conf) {
        Err(ResolveError::Names(reasons)) => reasons,
        other => panic!("{other:?}"),
    }
}

fn reason(name: &str, conf: &ResolverConf) -> Reason {
    reasons(&[name], conf).remove(name).expect("the name's reason")
}

#[test]
fn several_addresses_of_both_families_come_sorted() {
    let server = Server::start(|_, kind, _| {
        addresses(kind, &["10.0.0.9", "fd00::2", "10.0.0.10", "fd00::1", "9.0.0.1"])
    });
    assert_eq!(
        one("web.example", &conf(&[&server])),
        ["9.0.0.1", "10.0.0.9", "10.0.0.10", "fd00::1", "fd00::2"]
    );
}

#[test]
fn a_name_with_one_family_is_fine() {
    let server = Server::start(|name, kind, _| {
        addresses(kind, if name.starts_with("four") { &["10.0.0.1"] } else { &["fd00::1"] })
    });
    assert_eq!(one("four.example", &conf(&[&server])), ["10.0.0.1"]);
    assert_eq!(one("six.example", &conf(&[&server])), ["fd00::1"]);
}

#[test]
fn all_names_are_asked_for_at_the_same_time() {
    // nobody gets an answer before the last of 40 has asked
    let (tell, hear) = mpsc::channel();
    let hear = Arc::new(Mutex::new(hear));
    let seen = Mutex::new(BTreeSet::new());
    let server = Server::start(move |name, kind, _| {
        let mut seen = seen.lock().expect("not poisoned");
        seen.insert((name.to_owned(), kind == TYPE::A));
        if seen.len() == 80 {
            (0..1000).for_each(|_| tell.send(()).expect("the receiver stays"));
        }
        Reply::Late(Arc::clone(&hear), Box::new(addresses(kind, &["10.0.0.1"])))
    });
    let names: Vec<_> = (0..40).map(|number| format!("n{number}.example")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    assert_eq!(ask(&names, &conf(&[&server])).expect("resolves").len(), 40);
}

#[test]
fn an_answer_later_than_the_next_question_still_counts() {
    // released by the second question of the same type, of which there never is an answer
    let (tell, hear) = mpsc::channel();
    let hear = Arc::new(Mutex::new(hear));
    let slow = Server::start(move |_, kind, _| {
        Reply::Late(Arc::clone(&hear), Box::new(addresses(kind, &["10.0.0.1"])))
    });
    let next = Server::start(move |_, _, _| {
        tell.send(()).expect("the receiver stays");
        Reply::Silence
    });
    let conf = ResolverConf { timeout: Duration::from_secs(8), ..conf(&[&slow, &next]) };
    assert_eq!(one("slow.example", &conf), ["10.0.0.1"]);
    assert!(next.count("slow.example") >= 2);
}

#[test]
fn an_answer_later_than_the_last_question_still_counts() {
    let asked = Mutex::new(Vec::new());
    let server = Server::start(move |_, kind, _| {
        let mut asked = asked.lock().expect("not poisoned");
        asked.push(kind);
        match asked.iter().filter(|before| **before == kind).count() {
            1 => Reply::Silence,
            _ => Reply::Slow(Duration::from_millis(200), Box::new(addresses(kind, &["10.0.0.1", "fd00::1"]))),
        }
    });
    let conf =
        ResolvConf { interval: Some(Duration::from_millis(10)), ..ResolvConf::of_servers(&[server.address]) };
    let timeout = Duration::from_secs(20);
    let found = Lookup::new(&conf, Instant::now() + timeout, timeout).addresses("slow.example");
    assert_eq!(found.expect("resolves").len(), 2);
    assert_eq!(server.count("slow.example"), 4, "two tries for two types");
}

#[test]
fn silence_ends_at_the_deadline() {
    let server = Server::start(|_, _, _| Reply::Silence);
    let conf = ResolverConf { timeout: Duration::from_millis(300), ..conf(&[&server]) };
    let start = Instant::now();
    let reasons = reasons(&["a.example", "b.example"], &conf);
    assert!(start.elapsed() >= conf.timeout);
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    let expected = Reason::NoAnswer { servers: vec![server.address], timeout: conf.timeout };
    assert_eq!(expected.to_string(), format!("no answer from {} within 0.3 s", server.address));
    assert_eq!(reasons.into_values().collect::<Vec<_>>(), [expected.clone(), expected]);
}

#[test]
fn a_server_that_trickles_over_tcp_does_not_pass_the_deadline() {
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let address = udp.local_addr().expect("its address");
    let tcp = TcpListener::bind(address).expect("the same port");
    std::thread::spawn(move || {
        let mut bytes = [0; 1500];
        while let Ok((length, peer)) = udp.recv_from(&mut bytes) {
            let reply = render(&bytes[..length], &Reply::Truncated).expect("an answer");
            drop(udp.send_to(&reply, peer));
        }
    });
    // accepts, says nothing, keeps the connections
    std::thread::spawn(move || tcp.incoming().collect::<Vec<_>>());
    let conf = ResolverConf { timeout: Duration::from_millis(400), servers: vec![address], ..conf(&[]) };
    let start = Instant::now();
    assert!(matches!(reason("big.example", &conf), Reason::Unreachable { .. } | Reason::NoAnswer { .. }));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn every_failing_name_has_its_reason() {
    let server = Server::start(|name, kind, _| match name {
        "no.example" => Reply::Code(RCODE::NameError),
        "bare.example" => Reply::Records(Vec::new()),
        "ill.example" => Reply::Code(RCODE::ServerFailure),
        "loop.example" => Reply::Records(vec![
            alias("loop.example", "other.example"),
            alias("other.example", "loop.example"),
        ]),
        _ => addresses(kind, &["10.0.0.1"]),
    });
    let names = ["no.example", "bare.example", "ill.example", "loop.example", "good.example", "10.0.0.256"];
    let expected = [
        ("10.0.0.256", Reason::Invalid),
        ("bare.example", Reason::NoAddresses),
        ("ill.example", Reason::ServerFailure { server: server.address, code: "server failure" }),
        ("loop.example", Reason::AliasLoop),
        ("no.example", Reason::NotFound),
    ];
    let found = reasons(&names, &conf(&[&server]));
    assert_eq!(found, expected.map(|(name, reason)| (name.to_owned(), reason)).into());
}

#[test]
fn one_family_that_fails_fails_the_name() {
    for failing in [TYPE::A, TYPE::AAAA] {
        let server = Server::start(move |_, kind, _| {
            if kind == failing {
                Reply::Code(RCODE::Refused)
            } else {
                addresses(kind, &["10.0.0.1", "fd00::1"])
            }
        });
        let expected = Reason::ServerFailure { server: server.address, code: "query refused" };
        assert_eq!(reason("half.example", &conf(&[&server])), expected);

        let server = Server::start(move |_, kind, _| {
            if kind == failing { Reply::Silence } else { addresses(kind, &["10.0.0.1", "fd00::1"]) }
        });
        let conf = ResolverConf { timeout: Duration::from_millis(300), ..conf(&[&server]) };
        assert!(matches!(reason("half.example", &conf), Reason::NoAnswer { .. }));
    }
}

#[test]
fn the_next_server_is_asked_where_one_fails_is_gone_or_silent() {
    let good = Server::start(|_, kind, _| addresses(kind, &["10.0.0.1"]));
    let failing = Server::start(|_, _, _| Reply::Code(RCODE::ServerFailure));
    let silent = Server::start(|_, _, _| Reply::Silence);
    // 127.0.0.1 refuses with ICMP where nobody listens
    let gone = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port");
    let mut all = conf(&[&failing, &good]);
    assert_eq!(one("a.example", &all), ["10.0.0.1"]);
    all.servers.insert(0, gone);
    assert_eq!(one("b.example", &all), ["10.0.0.1"]);
    all.servers = vec![gone];
    assert!(matches!(reason("c.example", &all), Reason::Unreachable { server, .. } if server == gone));
    all = ResolverConf { timeout: Duration::from_secs(4), ..conf(&[&silent, &good]) };
    assert_eq!(one("d.example", &all), ["10.0.0.1"]);
}

#[test]
fn what_does_not_fit_is_asked_for_by_tcp() {
    let many: Vec<_> = (0..200).map(|number| format!("10.0.1.{number}")).collect();
    let (all, script) = (many.clone(), many);
    let server = Server::start(move |_, kind, tcp| {
        let all: Vec<_> = script.iter().map(String::as_str).collect();
        if tcp || kind == TYPE::AAAA { addresses(kind, &all) } else { Reply::Truncated }
    });
    assert_eq!(one("big.example", &conf(&[&server])).len(), all.len());
}

#[test]
fn answers_that_are_not_to_the_question_are_passed_over() {
    let server = Server::start(|_, kind, _| {
        use Forgery::{Garbage, Id, NotAnAnswer, OtherPort, Question};
        let forged = vec![OtherPort, Id, Question, NotAnAnswer, Garbage];
        Reply::After(forged, Box::new(addresses(kind, &["10.0.0.1", "fd00::1"])))
    });
    assert_eq!(one("web.example", &conf(&[&server])), ["10.0.0.1", "fd00::1"]);
}

#[test]
fn aliases_are_followed_and_what_lies_beside_them_is_not_taken() {
    let server = Server::start(|_, kind, _| {
        let address = |text: &str| Record::Address(text.parse().expect("an address"));
        let mut records = vec![
            ("END.example".to_owned(), address(if kind == TYPE::A { "10.0.0.1" } else { "fd00::1" })),
            ("beside.example".to_owned(), address("6.6.6.6")),
            alias("middle.example", "end.EXAMPLE"),
        ];
        records.insert(0, alias("www.example", "Middle.example"));
        Reply::Records(records)
    });
    assert_eq!(one("www.example", &conf(&[&server])), ["10.0.0.1", "fd00::1"]);
}

/// A file in the test's own folder.
fn file(folder: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("written");
    path
}

#[test]
fn the_hosts_file_wins_and_needs_no_server() {
    let server = Server::start(|_, kind, _| addresses(kind, &["6.6.6.6"]));
    let folder = tempfile::tempdir().expect("a folder");
    let hosts_file = file(&folder, "hosts", "10.0.0.1 web.example web\nfd00::1 Web\n");
    let conf = ResolverConf { hosts_file, ..conf(&[&server]) };
    assert_eq!(one("web", &conf), ["10.0.0.1", "fd00::1"]);
    assert_eq!(one("WEB.example.", &conf), ["10.0.0.1"]);
    assert!(server.asked.lock().expect("not poisoned").is_empty());
    assert_eq!(one("other.example", &conf), ["6.6.6.6"]);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let conf = ResolverConf { hosts_file: folder.path().to_owned(), ..conf(&[]) };
    assert!(matches!(ask(&["a"], &conf), Err(ResolveError::File { path, .. }) if path == folder.path()));
}

#[test]
fn no_names_need_nothing() {
    assert!(ask(&[], &conf(&[])).expect("nothing to do").is_empty());
}

#[test]
fn the_search_list_is_tried_in_order() {
    let server = Server::start(|name, kind, _| match name {
        "web.two.example" => addresses(kind, &["10.0.0.2"]),
        "bare.one.example" => Reply::Records(Vec::new()),
        "a.b" => addresses(kind, &["10.0.0.3"]),
        "ill.one.example" => Reply::Code(RCODE::ServerFailure),
        "ill.two.example" => addresses(kind, &["6.6.6.6"]),
        _ => Reply::Code(RCODE::NameError),
    });
    let conf = ResolvConf {
        search: vec!["one.example".to_owned(), "two.example".to_owned()],
        ..ResolvConf::of_servers(&[server.address])
    };
    let timeout = Duration::from_secs(20);
    let lookup = Lookup::new(&conf, Instant::now() + timeout, timeout);
    let address = |text: &str| Ok(BTreeSet::from([text.parse().expect("an address")]));
    assert_eq!(lookup.addresses("web"), address("10.0.0.2"));
    assert_eq!(server.asked.lock().expect("not poisoned").len(), 4, "one.example first");
    assert_eq!(lookup.addresses("a.b"), address("10.0.0.3"));
    assert_eq!(server.count("a.b.one.example"), 0, "with a dot, as it stands first");
    assert_eq!(lookup.addresses("web."), Err(Reason::NotFound));
    assert_eq!(lookup.addresses("none"), Err(Reason::NotFound));
    assert_eq!(lookup.addresses("bare"), Err(Reason::NoAddresses));
    assert!(matches!(lookup.addresses("ill"), Err(Reason::ServerFailure { .. })));
    assert_eq!(server.count("ill.two.example"), 0, "another name might be another host");
}

/// In a namespace of its own, where port 53 is free and no other server can be reached by mistake.
#[test]
fn resolv_conf_tells_servers_and_search_list() {
    let netns = fwn_testkit::Netns::new();
    netns.sh("ip link set lo up");
    let folder = tempfile::tempdir().expect("a folder");
    let text = "search example.com\nnameserver 127.0.0.1\nnameserver ::1\noptions timeout:3\n";
    let resolv_conf = file(&folder, "resolv.conf", text);
    let conf = ResolverConf { resolv_conf, ..conf(&[]) };
    let found = std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            let fd = std::fs::File::open(netns.path()).expect("the namespace");
            nix::sched::setns(fd, nix::sched::CloneFlags::CLONE_NEWNET).expect("entered");
            Server::start_at("127.0.0.1:53", |_, _, _| Reply::Code(RCODE::Refused));
            Server::start_at("[::1]:53", |name, kind, _| match name {
                "web.example.com" | "a.example" => addresses(kind, &["10.0.0.1", "fd00::1"]),
                _ => Reply::Code(RCODE::NameError),
            });
            ask(&["web", "a.example"], &conf)
        });
        inside.join().expect("no panic")
    });
    let found = found.expect("resolves");
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a.example", "web"]);
    assert!(found.values().all(|addresses| addresses.len() == 2));
}

#[test]
fn a_wrong_resolv_conf_is_an_error() {
    let folder = tempfile::tempdir().expect("a folder");
    let resolv_conf = file(&folder, "resolv.conf", "nameserver dns.example\n");
    let conf = ResolverConf { resolv_conf: resolv_conf.clone(), ..conf(&[]) };
    assert!(matches!(ask(&["a"], &conf), Err(ResolveError::ResolvConf { path, .. }) if path == resolv_conf));
}

#[test]
fn host_names_are_checked() {
    for name in ["a", "webchat.marathon.mesos", "a.b.", "_dns.x", "1a", "10.0.0.1.example", &"a.".repeat(126)]
    {
        assert!(is_host_name(name), "{name}");
    }
    let long = ["a".repeat(64), "a.".repeat(127) + "a"];
    for name in
        ["", ".", "a..b", "a b", "-a", "a-.b", "10.0.0.256", "a.1", "é", "a/b", "a\0b", &long[0], &long[1]]
    {
        assert!(!is_host_name(name), "{name}");
    }
}

#[test]
fn errors_tell_every_name_and_its_reason() {
    let server: SocketAddr = "10.0.0.53:53".parse().expect("an address");
    let error = ResolveError::Names(BTreeMap::from([
        ("a.example".to_owned(), Reason::NotFound),
        ("b".to_owned(), Reason::NoAnswer { servers: vec![server], timeout: Duration::from_secs(5) }),
        ("c".to_owned(), Reason::ServerFailure { server, code: "server failure" }),
    ]));
    assert_eq!(
        error.to_string(),
        "cannot resolve `a.example`: not found, `b`: no answer from 10.0.0.53:53 within 5 s, \
         `c`: server failure at 10.0.0.53:53"
    );
}
