//! rtnetlink requests against `ip`: what one side makes, the other lists.

use std::net::IpAddr;
use std::time::Duration;

use fwn_kernel::netns::TargetNetns;
use fwn_kernel::route::{
    AddressEvents, AddressOptions, Existing, IpPrefix, Link, LinkChange, LinkEnd, MacAddress, MacvlanMode,
    Route, RouteSocket, Scope, SettleError,
};
use fwn_testkit::Netns;
use nix::errno::Errno;
use serde_json::{Value, json};

struct Side {
    netns: Netns,
    target: TargetNetns,
    route: RouteSocket,
}

impl Side {
    fn new() -> Self {
        let netns = Netns::new();
        let target = TargetNetns::open(&netns.path()).expect("a namespace of our own");
        let route = RouteSocket::open_in(&target).expect("a route socket");
        Self { netns, target, route }
    }

    /// Two, joined by `a` here and `b` there.
    fn pair() -> (Self, Self) {
        let (mut here, there) = (Self::new(), Self::new());
        here.route.add_veth(&LinkEnd::new("a"), &LinkEnd::new("b").netns(&there.target)).expect("a pair");
        (here, there)
    }

    fn link(&mut self, name: &str) -> Link {
        self.route.link(name).expect("an answer").expect("the link")
    }

    fn up(&mut self, name: &str) -> Link {
        let link = self.link(name);
        self.route.change_link(&link, LinkChange::Up).expect("up");
        link
    }

    /// What `ip -d -j` lists, without what has no kernel counterpart.
    fn ip(&self, arguments: &str) -> Vec<Value> {
        let text = self.netns.sh(&format!("ip -d -j {arguments}"));
        let Value::Array(list) = serde_json::from_str(&text).expect("JSON") else { panic!("{text}") };
        list.into_iter().filter(|entry| entry.as_object().is_some_and(|object| !object.is_empty())).collect()
    }

    fn ip_link(&self, name: &str) -> Value {
        self.ip(&format!("link show {name}")).remove(0)
    }
}

fn prefix(text: &str) -> IpPrefix {
    text.parse().expect("a prefix")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn links_are_read_as_ip_reads_them() {
    let mut host = Side::new();
    let mut container = Side::new();
    let pid = container.netns.pid();
    host.netns.sh(&format!(
        "ip link add v0 type veth peer name v1
         ip link set v0 mtu 1400 address 02:00:00:00:00:01 alias 'an uplink' up
         ip link add link v0 name mt netns {pid} type macvtap mode private
         ip link add link v0 name mv type macvlan mode source
         ip link add br0 type bridge; ip link set v1 master br0 up"
    ));
    let names = |links: Vec<Link>| links.into_iter().map(|link| link.name).collect::<Vec<_>>();
    assert_eq!(names(host.route.links().expect("links")), ["lo", "v1", "v0", "mv", "br0"]);

    let bridge = host.link("br0").index;
    let (v0, v1, mv, mt, lo) =
        (host.link("v0"), host.link("v1"), host.link("mv"), container.link("mt"), host.link("lo"));
    assert_eq!((v0.mtu, v0.kind.as_deref(), v0.alias.as_deref()), (1400, Some("veth"), Some("an uplink")));
    assert_eq!(v0.mac.map(|mac| mac.to_string()).as_deref(), Some("02:00:00:00:00:01"));
    assert_eq!((v0.up, v0.carrier, v0.lower, v0.lower_netns), (true, true, Some(v1.index), None));
    assert_eq!(v1.master, Some(bridge));
    assert_eq!(
        (mv.kind.as_deref(), mv.mode, mv.lower),
        (Some("macvlan"), Some(MacvlanMode::Source), Some(v0.index))
    );
    assert_eq!(
        (mt.kind.as_deref(), mt.mode, mt.lower),
        (Some("macvtap"), Some(MacvlanMode::Private), Some(v0.index))
    );
    assert_eq!((lo.kind, lo.lower, lo.up), (None, None, false));

    // the number that the container knows the host by is on the link that comes from there
    let known = container.route.netnsid(&host.target).expect("an answer");
    assert!(known.is_some());
    assert_eq!(mt.lower_netns, known);
    assert_eq!(container.ip_link("mt")["link_netnsid"], json!(known));
    let stranger = Side::new();
    assert_eq!(container.route.netnsid(&stranger.target).expect("an answer"), None);

    assert_eq!(host.route.link(v0.index).expect("an answer"), Some(v0));
    assert_eq!(host.route.link("nosuch").expect("an answer"), None);
    assert_eq!(host.route.link(4711).expect("an answer"), None);
}

#[test]
fn macvtaps_are_made_where_they_belong() {
    let mut host = Side::new();
    let mut container = Side::new();
    // the host may have a link of the same name
    host.netns.sh("ip link add v0 type veth peer name v1; ip link add eth0 type veth peer name eth1");
    let lower = host.link("v0");
    let mac: MacAddress = "02:00:00:00:00:05".parse().expect("a MAC");
    let end = LinkEnd { mtu: Some(1300), mac: Some(mac), ..LinkEnd::new("eth0") };
    host.route.add_macvtap(&end.netns(&container.target), &lower, MacvlanMode::Vepa).expect("made");

    let made = container.link("eth0");
    assert_eq!((made.mtu, made.mac, made.mode, made.up), (1300, Some(mac), Some(MacvlanMode::Vepa), false));
    let seen = container.ip_link("eth0");
    assert_eq!(seen["linkinfo"]["info_kind"], "macvtap");
    assert_eq!(seen["linkinfo"]["info_data"]["mode"], "vepa");
    assert_eq!((&seen["mtu"], &seen["address"]), (&json!(1300), &json!("02:00:00:00:00:05")));

    let error = host
        .route
        .add_macvtap(&LinkEnd::new("eth0").netns(&container.target), &lower, MacvlanMode::Vepa)
        .expect_err("it exists");
    assert_eq!(error.errno(), Some(Errno::EEXIST));
    assert_eq!(error.to_string(), "cannot create macvtap `eth0` on `v0`");

    container.route.delete_link(&made).expect("deleted");
    assert_eq!(container.route.link("eth0").expect("an answer"), None);
    let error = container.route.delete_link(&made).expect_err("gone");
    assert_eq!(
        (error.errno(), error.to_string().as_str()),
        (Some(Errno::ENODEV), "cannot delete interface `eth0`")
    );

    for mode in [MacvlanMode::Private, MacvlanMode::Bridge, MacvlanMode::Source, MacvlanMode::Passthru] {
        host.route.add_macvtap(&LinkEnd::new("mv"), &lower, mode).expect("made");
        assert_eq!(host.ip_link("mv")["linkinfo"]["info_data"]["mode"], mode.name());
        let made = host.link("mv");
        assert_eq!(made.mode, Some(mode));
        host.route.delete_link(&made).expect("deleted");
    }
}

#[test]
fn changes_are_those_of_ip_link_set() {
    let (mut here, there) = Side::pair();
    let link = here.link("a");
    let mac = "02:00:00:00:00:07".parse().expect("a MAC");
    for change in
        [LinkChange::Mtu(1234), LinkChange::Mac(mac), LinkChange::Alias("for people"), LinkChange::Up]
    {
        here.route.change_link(&link, change).expect("changed");
    }
    let seen = here.ip_link("a");
    assert_eq!(seen["mtu"], 1234);
    assert_eq!(seen["address"], "02:00:00:00:00:07");
    assert_eq!(seen["ifalias"], "for people");
    assert!(seen["flags"].as_array().expect("flags").contains(&json!("UP")));

    for change in [LinkChange::Down, LinkChange::Alias(""), LinkChange::Name("renamed")] {
        here.route.change_link(&link, change).expect("changed");
    }
    let seen = here.ip_link("renamed");
    assert_eq!(seen.get("ifalias"), None);
    assert!(!seen["flags"].as_array().expect("flags").contains(&json!("UP")));
    assert_eq!(there.ip_link("b")["ifname"], "b", "the peer is in the other namespace");

    let error = here.route.change_link(&link, LinkChange::Mtu(7)).expect_err("too small");
    assert_eq!(error.to_string(), "cannot set `a` MTU to 7");
    let source = std::error::Error::source(&error).expect("the kernel's words").to_string();
    assert!(source.contains("mtu less than device minimum"), "{source}");
}

#[test]
fn addresses_are_those_of_ip_addr() {
    let (mut here, _there) = Side::pair();
    let link = here.up("a");
    let four = prefix("10.1.2.3/24");
    let six = prefix("fd01::3/64");
    here.route.add_address(&link, four, AddressOptions::default()).expect("added");
    here.route.add_address(&link, prefix("10.9.9.9/32"), AddressOptions::default()).expect("added");
    let nodad = AddressOptions { nodad: true, noprefixroute: true };
    here.route.add_address(&link, six, nodad).expect("added");

    let of = |side: &Side, local: &str| -> Value {
        let all = side.ip("addr show a").remove(0);
        let list = all["addr_info"].as_array().expect("addresses").clone();
        list.into_iter().find(|info| info["local"] == local).unwrap_or(Value::Null)
    };
    let seen = of(&here, "10.1.2.3");
    assert_eq!(
        (&seen["prefixlen"], &seen["broadcast"], &seen["scope"]),
        (&json!(24), &json!("10.1.2.255"), &json!("global"))
    );
    assert_eq!(of(&here, "10.9.9.9").get("broadcast"), None);
    let seen = of(&here, "fd01::3");
    assert_eq!((&seen["nodad"], &seen["noprefixroute"]), (&json!(true), &json!(true)));

    let listed = here.route.addresses(Some(&link)).expect("addresses");
    let listed = |wanted: IpPrefix| listed.iter().find(|address| address.prefix == wanted).expect("listed");
    assert_eq!(listed(four).broadcast.map(|b| b.to_string()).as_deref(), Some("10.1.2.255"));
    assert_eq!((listed(six).peer, listed(six).tentative, listed(six).duplicate), (None, false, false));
    let lo = here.link("lo");
    assert_eq!(here.route.addresses(Some(&lo)).expect("addresses"), []);
    assert!(here.route.addresses(None).expect("addresses").len() >= 3);

    here.netns.sh("ip addr add 10.7.0.1 peer 10.7.0.2/32 dev lo");
    let lo = here.route.addresses(Some(&lo)).expect("addresses");
    assert_eq!(lo.first().map(|a| (a.prefix, a.peer)), Some((prefix("10.7.0.1/32"), Some(ip("10.7.0.2")))));

    let error = here.route.add_address(&link, four, AddressOptions::default()).expect_err("it is there");
    assert_eq!(error.errno(), Some(Errno::EEXIST));
    assert_eq!(error.to_string(), "cannot add address `10.1.2.3/24` to `a`");
}

#[test]
fn routes_are_those_of_ip_route() {
    let (mut here, mut there) = Side::pair();
    let link = here.up("a");
    there.up("b");
    here.route.add_address(&link, prefix("10.1.0.1/24"), AddressOptions::default()).expect("added");
    let nodad = AddressOptions { nodad: true, ..AddressOptions::default() };
    here.route.add_address(&link, prefix("fd01::1/64"), nodad).expect("added");

    let routes = [
        (Route::to(IpPrefix::DEFAULT_IPV4).via(ip("10.1.0.254")).dev(&link), "default"),
        (Route::to(IpPrefix::DEFAULT_IPV6).via(ip("fd01::fe")).dev(&link), "default"),
        (Route::to(prefix("10.2.0.9/16")).dev(&link), "10.2.0.0/16"),
        (
            Route {
                onlink: true,
                mtu: Some(1400),
                advmss: Some(1300),
                priority: Some(77),
                table: Some(1000),
                source: Some(ip("10.1.0.1")),
                ..Route::to(prefix("10.3.0.0/16")).via(ip("192.0.2.1")).dev(&link)
            },
            "10.3.0.0/16",
        ),
        (Route { scope: Some(Scope::HOST), ..Route::to(prefix("10.4.0.1/32")).dev(&link) }, "10.4.0.1"),
        (Route { priority: Some(5), ..Route::to(prefix("fd05::/48")).dev(&link) }, "fd05::/48"),
        (Route::to(prefix("10.6.0.0/16")).via(ip("fd01::9")).dev(&link), "10.6.0.0/16"),
    ];
    for (route, _) in &routes {
        here.route.add_route(route, Existing::Refuse).expect("added");
    }
    let list =
        [here.ip("route show table all type unicast"), here.ip("-6 route show table all type unicast")]
            .concat();
    let seen = |dst: &str, gateway: Value| {
        list.iter()
            .find(|route| route["dst"] == dst && route.get("gateway").unwrap_or(&Value::Null) == &gateway)
            .unwrap_or_else(|| panic!("{dst} in {list:#?}"))
    };
    assert_eq!(seen("default", json!("10.1.0.254"))["scope"], "global");
    assert_eq!(seen("default", json!("fd01::fe"))["metric"], 1024);
    assert_eq!(seen("10.2.0.0/16", Value::Null)["scope"], "link");
    let full = seen("10.3.0.0/16", json!("192.0.2.1"));
    assert_eq!(full["metrics"], json!([{ "mtu": 1400, "advmss": 1300 }]));
    assert_eq!(
        (&full["metric"], &full["table"], &full["prefsrc"]),
        (&json!(77), &json!("1000"), &json!("10.1.0.1"))
    );
    assert!(full["flags"].as_array().expect("flags").contains(&json!("onlink")));
    assert_eq!(seen("10.4.0.1", Value::Null)["scope"], "host");
    assert_eq!(seen("fd05::/48", Value::Null)["metric"], 5);
    let via = list.iter().find(|route| route["dst"] == "10.6.0.0/16").expect("listed");
    assert_eq!(via["via"]["host"], "fd01::9");

    let listed = here.route.routes().expect("routes");
    for (route, _) in &routes {
        let ipv6 = route.destination.address().is_ipv6();
        let default_scope = if route.gateway.is_none() && !ipv6 { Scope::LINK } else { Scope::GLOBAL };
        let wanted = Route {
            destination: route.destination.network(),
            scope: route.scope.or(Some(default_scope)),
            priority: route.priority.or(ipv6.then_some(1024)),
            table: route.table.or(Some(254)),
            ..route.clone()
        };
        assert!(listed.contains(&wanted), "{wanted:?} in {listed:#?}");
    }

    let (default, _) = &routes[0];
    let error = here.route.add_route(default, Existing::Refuse).expect_err("it is there");
    assert_eq!(error.errno(), Some(Errno::EEXIST));
    assert_eq!(error.to_string(), "cannot add route `0.0.0.0/0 via 10.1.0.254`");
    let other = Route::to(IpPrefix::DEFAULT_IPV4).via(ip("10.1.0.253")).dev(&link);
    here.route.add_route(&other, Existing::Beside).expect("beside");
    assert_eq!(here.ip("-4 route show default").len(), 2);
    here.netns.sh("ip route del default via 10.1.0.253");
    here.route.add_route(&other, Existing::Replace).expect("instead");
    let defaults = here.ip("-4 route show default");
    assert_eq!((defaults.len(), &defaults[0]["gateway"]), (1, &json!("10.1.0.253")));

    let unreachable = Route::to(prefix("10.8.0.0/16")).via(ip("192.0.2.1")).dev(&link);
    let error = here.route.add_route(&unreachable, Existing::Refuse).expect_err("not on the link");
    assert_eq!(error.errno(), Some(Errno::ENETUNREACH));
}

#[test]
fn the_default_route_names_its_link() {
    let (mut here, mut there) = Side::pair();
    here.up("a");
    there.up("b");
    let name = |side: &mut Side| side.route.default_route_link().expect("an answer").map(|link| link.name);
    assert_eq!(name(&mut here), None);
    here.netns
        .sh("ip link add c0 type veth peer name d0; ip link set c0 up; ip link set d0 up; ip link set lo up");
    here.netns.sh("ip route add default dev lo table 100; ip route add 10.0.0.0/8 dev lo");
    assert_eq!(name(&mut here), None, "another table is another matter");
    here.netns.sh("ip -6 route add default dev a");
    assert_eq!(name(&mut here).as_deref(), Some("a"));
    here.netns.sh("ip route add default dev lo metric 200");
    assert_eq!(name(&mut here).as_deref(), Some("lo"), "IPv4 comes first");
    here.netns.sh("ip route add default dev a tos 0x10 metric 900");
    assert_eq!(name(&mut here).as_deref(), Some("lo"), "one for a kind of traffic, which is listed first");
    here.netns.sh("ip route add default metric 100 nexthop dev c0 nexthop dev d0");
    assert_eq!(name(&mut here).as_deref(), Some("c0"), "the smallest metric, its first hop");
    let hops = here.route.routes().expect("routes");
    let hops: Vec<_> =
        hops.iter().filter(|route| route.priority == Some(100)).map(|route| route.device).collect();
    assert_eq!(hops, [Some(here.link("c0").index), Some(here.link("d0").index)]);
    here.netns.sh("ip route del default tos 0x10; ip route del default metric 100; ip route del default metric 200; ip -6 route del default
                   ip -6 route add unreachable default");
    assert_eq!(name(&mut here), None, "an unreachable default leads nowhere");
}

#[test]
fn ipv6_addresses_settle_or_say_why_not() {
    let (mut here, mut there) = Side::pair();
    let (a, b) = (here.up("a"), there.up("b"));
    let events = AddressEvents::open_in(&here.target).expect("events");
    let (free, taken) = (prefix("fd01::1/64"), prefix("fd01::2/64"));
    let nodad = AddressOptions { nodad: true, ..AddressOptions::default() };
    there.route.add_address(&b, taken, nodad).expect("added");

    here.route.add_address(&a, free, AddressOptions::default()).expect("added");
    let listed = here.route.addresses(Some(&a)).expect("addresses");
    assert!(listed.iter().any(|address| address.prefix == free && address.tentative), "{listed:?}");
    let error = here
        .route
        .settle(&events, &a, &[free.address()], Duration::from_millis(1))
        .expect_err("detection takes longer than that");
    assert!(matches!(error, SettleError::Tentative { .. }), "{error}");
    here.route.settle(&events, &a, &[free.address()], Duration::from_secs(20)).expect("settled");
    let listed = here.route.addresses(Some(&a)).expect("addresses");
    assert!(listed.iter().any(|address| address.prefix == free && !address.tentative), "{listed:?}");

    here.route.add_address(&a, taken, AddressOptions::default()).expect("added");
    let error = here
        .route
        .settle(&events, &a, &[free.address(), taken.address()], Duration::from_secs(20))
        .expect_err("the other side has it");
    assert_eq!(error.to_string(), "address `fd01::2` of `a` is in use by another machine on the link");
}

#[test]
fn lists_are_whole_while_links_come_and_go() {
    let mut side = Side::new();
    side.netns.sh("for i in $(seq 40); do ip link add s$i type veth peer name t$i; done");
    let mut noise = side
        .netns
        .command("sh")
        .args(["-c", "while ip link add n0 type veth peer name n1 && ip link del n0; do :; done"])
        .spawn()
        .expect("a shell");
    for _ in 0..200 {
        let links = side.route.links().expect("links");
        let steady = links.iter().filter(|link| link.name.starts_with(['s', 't'])).count();
        assert_eq!(steady, 80);
    }
    noise.kill().expect("it runs");
    noise.wait().expect("it ends");
}
