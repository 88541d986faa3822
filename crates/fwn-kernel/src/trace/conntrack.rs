//! Connections made known to a namespace without having been there (`ctnetlink`): so that a packet can be the second of
//! one, or an answer. Only for scratch namespaces: everything is forgotten between two packets.

use std::net::IpAddr;

use fwn_plan::packet::{ICMP, ICMPV6, Packet, SCTP, SCTP_TAG, State, TCP, UDP};

use crate::netlink::attr::AttrWriter;
use crate::netlink::message::{Messages, NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, nfnl_type};
use crate::netlink::socket::{NetlinkSocket, SocketError};

/// `NFNL_SUBSYS_CTNETLINK` (`linux/netfilter/nfnetlink.h`)
const SUBSYSTEM: u8 = 1;
/// `IPCTNL_MSG_CT_NEW`, `IPCTNL_MSG_CT_DELETE` (`linux/netfilter/nfnetlink_conntrack.h`)
const NEW: u8 = 0;
const DELETE: u8 = 2;
// enum ctattr_type
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_TUPLE_REPLY: u16 = 2;
const CTA_STATUS: u16 = 3;
const CTA_PROTOINFO: u16 = 4;
const CTA_TIMEOUT: u16 = 7;
const CTA_TUPLE_MASTER: u16 = 14;
/// `IPS_SEEN_REPLY | IPS_ASSURED | IPS_CONFIRMED` (`linux/netfilter/nf_conntrack_common.h`)
const SEEN_BOTH_WAYS: u32 = 2 | 4 | 8;
/// `IPS_CONFIRMED`
const CONFIRMED: u32 = 8;
/// `TCP_CONNTRACK_SYN_SENT`, `TCP_CONNTRACK_ESTABLISHED` (`linux/netfilter/nf_conntrack_tcp.h`)
const SYN_SENT: u8 = 1;
const TCP_ESTABLISHED: u8 = 3;
/// `IP_CT_TCP_FLAG_BE_LIBERAL`: any sequence number is in the window.
const BE_LIBERAL: u8 = 8;
/// `SCTP_CONNTRACK_ESTABLISHED` (`linux/netfilter/nf_conntrack_sctp.h`)
const SCTP_ESTABLISHED: u8 = 4;
/// Seconds; each is forgotten long before.
const TIMEOUT: u32 = 600;
/// Ports of the connection that a related packet belongs to: none of a question.
const MASTER_PORTS: (u16, u16) = (40_021, 21);

/// One direction of a connection.
#[derive(Debug, Clone, Copy)]
struct Tuple {
    source: IpAddr,
    destination: IpAddr,
    protocol: u8,
    ports: (u16, u16),
    /// Identifier, type and code of ICMP.
    icmp: Option<(u16, u8, u8)>,
}

impl Tuple {
    fn of(packet: &Packet) -> Self {
        Self {
            source: packet.source,
            destination: packet.destination,
            protocol: packet.protocol,
            ports: packet.ports.unwrap_or_default(),
            icmp: packet.icmp.map(|(kind, code)| (fwn_plan::packet::IDENT, kind, code)),
        }
    }

    /// The other direction.
    fn inverse(self) -> Self {
        // requests and their replies (`invmap`, `net/netfilter/nf_conntrack_proto_icmp.c`)
        let icmp = self.icmp.map(|(id, kind, code)| {
            let other = match (self.protocol, kind) {
                (ICMP, 8) => 0,
                (ICMP, 0) => 8,
                (ICMP, 13) => 14,
                (ICMP, 14) => 13,
                (ICMPV6, 128) => 129,
                (ICMPV6, 129) => 128,
                (_, kind) => kind,
            };
            (id, other, code)
        });
        let (source_port, destination_port) = self.ports;
        Self {
            source: self.destination,
            destination: self.source,
            ports: (destination_port, source_port),
            icmp,
            ..self
        }
    }

    fn write(self, attrs: &mut AttrWriter<'_>, kind: u16) {
        attrs.nest(kind, |tuple| {
            // CTA_TUPLE_IP: CTA_IP_V4_SRC, _V4_DST, _V6_SRC, _V6_DST
            tuple.nest(1, |ip| match (self.source, self.destination) {
                (IpAddr::V4(source), IpAddr::V4(destination)) => {
                    ip.bytes(1, &source.octets()).bytes(2, &destination.octets());
                }
                (IpAddr::V6(source), IpAddr::V6(destination)) => {
                    ip.bytes(3, &source.octets()).bytes(4, &destination.octets());
                }
                _ => {}
            });
            // CTA_TUPLE_PROTO: CTA_PROTO_NUM, _SRC_PORT, _DST_PORT, _ICMP_ID, _TYPE, _CODE, _ICMPV6_ID, ...
            tuple.nest(2, |proto| {
                proto.u8(1, self.protocol);
                match (self.protocol, self.icmp) {
                    (ICMP, Some((id, kind, code))) => {
                        proto.be16(4, id).u8(5, kind).u8(6, code);
                    }
                    (ICMPV6, Some((id, kind, code))) => {
                        proto.be16(7, id).u8(8, kind).u8(9, code);
                    }
                    _ => {
                        proto.be16(2, self.ports.0).be16(3, self.ports.1);
                    }
                }
            });
        });
    }
}

/// Forgets all connections of the namespace.
///
/// # Errors
/// The kernel has no ctnetlink, or refuses.
pub(super) fn forget(socket: &mut NetlinkSocket) -> Result<(), SocketError> {
    let mut messages = Messages::default();
    // AF_UNSPEC: of all families
    messages
        .push(nfnl_type(SUBSYSTEM, DELETE), NLM_F_ACK, &[0, 0, 0, 0], |_| ())
        .map_err(|_| crate::netlink::attr::Malformed)?;
    socket.exchange(&mut messages, |_| Ok(()))
}

/// Makes the connection known that the packet is to be one of; nothing for a first or an invalid one.
///
/// # Errors
/// The kernel has no ctnetlink, or cannot have such a connection.
pub(super) fn make_known(socket: &mut NetlinkSocket, packet: &Packet) -> Result<(), SocketError> {
    let tuple = Tuple::of(packet);
    match packet.state {
        State::New | State::Invalid => Ok(()),
        // an error belongs to the connection of the packet that it quotes
        State::Related if packet.is_icmp_error() => {
            let quoted = Tuple {
                source: packet.destination,
                destination: packet.source,
                protocol: UDP,
                ports: (40_000, 53),
                icmp: None,
            };
            create(socket, quoted, packet, CONFIRMED, None)
        }
        State::Related => {
            let master = Tuple { protocol: TCP, ports: MASTER_PORTS, icmp: None, ..tuple };
            create(socket, master, packet, SEEN_BOTH_WAYS, None)?;
            create(socket, tuple, packet, CONFIRMED, Some(master))
        }
        State::Established => create(socket, tuple, packet, SEEN_BOTH_WAYS, None),
        State::Reply => create(socket, tuple.inverse(), packet, SEEN_BOTH_WAYS, None),
    }
}

fn create(
    socket: &mut NetlinkSocket,
    original: Tuple,
    packet: &Packet,
    status: u32,
    master: Option<Tuple>,
) -> Result<(), SocketError> {
    /// SYN and ACK of TCP's flags.
    const SYN_ACK: u8 = 0x12;
    let family = if original.source.is_ipv4() { 2 } else { 10 };
    let answers_syn = packet.tcp_flags & SYN_ACK == SYN_ACK && packet.state == State::Reply;
    let mut messages = Messages::default();
    let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
    messages
        .push(nfnl_type(SUBSYSTEM, NEW), flags, &[family, 0, 0, 0], |attrs| {
            original.write(attrs, CTA_TUPLE_ORIG);
            original.inverse().write(attrs, CTA_TUPLE_REPLY);
            attrs.be32(CTA_TIMEOUT, TIMEOUT);
            attrs.be32(CTA_STATUS, if answers_syn { CONFIRMED } else { status });
            match original.protocol {
                TCP => {
                    attrs.nest(CTA_PROTOINFO, |info| {
                        // CTA_PROTOINFO_TCP: _STATE, _FLAGS_ORIGINAL, _FLAGS_REPLY
                        info.nest(1, |tcp| {
                            tcp.u8(1, if answers_syn { SYN_SENT } else { TCP_ESTABLISHED })
                                .bytes(4, &[BE_LIBERAL, BE_LIBERAL])
                                .bytes(5, &[BE_LIBERAL, BE_LIBERAL]);
                        });
                    });
                }
                SCTP => {
                    attrs.nest(CTA_PROTOINFO, |info| {
                        // CTA_PROTOINFO_SCTP: _STATE, _VTAG_ORIGINAL, _VTAG_REPLY
                        info.nest(3, |sctp| {
                            sctp.u8(1, SCTP_ESTABLISHED).be32(2, SCTP_TAG).be32(3, SCTP_TAG);
                        });
                    });
                }
                _ => {}
            }
            if let Some(master) = master {
                master.write(attrs, CTA_TUPLE_MASTER);
            }
        })
        .map_err(|_| crate::netlink::attr::Malformed)?;
    socket.exchange(&mut messages, |_| Ok(()))
}
