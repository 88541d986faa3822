//! A packet to its bytes, from the IP header on: what a network card would hand to the kernel. Lengths and checksums are
//! right, unless the packet is to be invalid.

use std::net::IpAddr;

use super::{Direction, ICMP, ICMPV6, Packet, SCTP, State, TCP, UDP};

/// Identification of IPv4, and the lower half of the flow label of IPv6: by this the packet is known on its way.
pub const IDENT: u16 = 0x4657;
/// Verification tag of SCTP packets, in both directions.
pub const SCTP_TAG: u32 = 0x4657_0001;
/// Length of the IPv6 header, and of the one of IPv4 without options.
const HEADERS: [usize; 2] = [20, 40];

/// The packet's bytes.
pub fn encode_packet(packet: &Packet) -> Vec<u8> {
    let payload = payload(packet);
    let mut bytes = header(packet.protocol, packet.source, packet.destination, packet.ttl, payload.len());
    bytes.extend(payload);
    bytes
}

fn header(protocol: u8, source: IpAddr, destination: IpAddr, ttl: u8, payload: usize) -> Vec<u8> {
    // a packet of more than 64 KiB is refused before
    let payload = payload as u16;
    if let (IpAddr::V4(source), IpAddr::V4(destination)) = (source, destination) {
        let mut header = vec![0x45, 0];
        header.extend((20 + payload).to_be_bytes());
        header.extend(IDENT.to_be_bytes());
        header.extend([0, 0, ttl, protocol, 0, 0]);
        header.extend(source.octets());
        header.extend(destination.octets());
        let sum = checksum(&header).to_be_bytes();
        header[10..12].copy_from_slice(&sum);
        return header;
    }
    let mut header = vec![0x60, 0];
    header.extend(IDENT.to_be_bytes());
    header.extend(payload.to_be_bytes());
    header.extend([protocol, ttl]);
    header.extend(octets(source));
    header.extend(octets(destination));
    header
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn payload(packet: &Packet) -> Vec<u8> {
    let (source_port, destination_port) = packet.ports.unwrap_or_default();
    let mut ports = source_port.to_be_bytes().to_vec();
    ports.extend(destination_port.to_be_bytes());
    let mut bytes = match packet.protocol {
        TCP => {
            let mut tcp = ports;
            // a sequence number; the other's only where it is acknowledged; five words; the flags; a window
            tcp.extend(1000_u32.to_be_bytes());
            let acknowledged: u32 = if packet.tcp_flags & 0x10 == 0 { 0 } else { 2000 };
            tcp.extend(acknowledged.to_be_bytes());
            tcp.extend([0x50, packet.tcp_flags]);
            tcp.extend(64_000_u16.to_be_bytes());
            tcp.extend([0; 4]);
            tcp
        }
        // udplite (136) covers all of the packet where it says 0
        UDP | 136 => [ports, vec![0; 4]].concat(),
        SCTP => {
            let mut sctp = ports;
            let begins = matches!(packet.state, State::New | State::Related | State::Invalid);
            sctp.extend(if begins { 0 } else { SCTP_TAG }.to_be_bytes());
            sctp.extend([0; 4]);
            if begins {
                // INIT: tag, window, streams out and in, first number (RFC 9260, 3.3.2)
                sctp.extend([1, 0, 0, 20]);
                sctp.extend(SCTP_TAG.to_be_bytes());
                sctp.extend(64_000_u32.to_be_bytes());
                sctp.extend([0, 1, 0, 1]);
                sctp.extend(1_u32.to_be_bytes());
            } else {
                // DATA with four bytes: number, stream, number in it, protocol (RFC 9260, 3.3.1)
                sctp.extend([0, 3, 0, 20]);
                sctp.extend(1_u32.to_be_bytes());
                sctp.extend([0; 12]);
            }
            sctp
        }
        // a DCCP request: five words, its number, and no service in particular (RFC 4340, 5.1)
        33 => {
            let mut dccp = ports;
            dccp.extend([5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1]);
            dccp.extend([0; 4]);
            dccp
        }
        ICMP | ICMPV6 => {
            let (kind, code) = packet.icmp.unwrap_or_default();
            let mut icmp = vec![kind, code, 0, 0];
            if packet.is_icmp_error() {
                icmp.extend([0; 4]);
                icmp.extend(quoted(packet));
            } else if (packet.protocol, kind) == (ICMPV6, 135) || (packet.protocol, kind) == (ICMPV6, 136) {
                // neighbour discovery names an address
                icmp.extend([0; 4]);
                icmp.extend(octets(packet.destination));
            } else {
                // identifier and number
                icmp.extend(IDENT.to_be_bytes());
                icmp.extend(1_u16.to_be_bytes());
                // what the shortest messages of other types have room for
                icmp.extend([0; 16]);
            }
            icmp
        }
        _ => vec![0; 8],
    };
    if let Some(length) = packet.length {
        let header = HEADERS[usize::from(packet.source.is_ipv6())];
        bytes.resize(usize::from(length).saturating_sub(header).max(bytes.len()), 0);
    }
    if packet.protocol == UDP {
        let length = (bytes.len() as u16).to_be_bytes();
        bytes[4..6].copy_from_slice(&length);
    }
    sum_up(packet, &mut bytes);
    bytes
}

/// The packet that an ICMP error is about: a datagram to port 53, sent by whom the error goes to.
fn quoted(packet: &Packet) -> Vec<u8> {
    let mut udp = vec![0x9c, 0x40, 0, 53, 0, 8, 0, 0];
    let mut inner = Packet {
        protocol: UDP,
        source: packet.destination,
        destination: packet.source,
        state: State::New,
        direction: Direction::Out(None),
        ..packet.clone()
    };
    inner.icmp = None;
    sum_up(&inner, &mut udp);
    let mut bytes = header(UDP, inner.source, inner.destination, 64, udp.len());
    bytes.extend(udp);
    bytes
}

/// Writes the checksum of the protocol.
fn sum_up(packet: &Packet, bytes: &mut [u8]) {
    let wrong = u16::from(packet.state == State::Invalid);
    if packet.protocol == SCTP {
        let sum = crc32c(bytes) ^ u32::from(wrong);
        bytes[8..12].copy_from_slice(&sum.to_le_bytes());
        return;
    }
    let at = match packet.protocol {
        TCP => 16,
        UDP | 33 | 136 => 6,
        ICMP | ICMPV6 => 2,
        _ => return,
    };
    let mut summed = if packet.protocol == ICMP { Vec::new() } else { pseudo_header(packet, bytes.len()) };
    summed.extend_from_slice(bytes);
    let sum = checksum(&summed);
    // none at all is written as all ones (RFC 768)
    let sum = if sum == 0 && packet.protocol != ICMP { 0xffff } else { sum };
    bytes[at..at + 2].copy_from_slice(&(sum ^ wrong).to_be_bytes());
}

fn pseudo_header(packet: &Packet, length: usize) -> Vec<u8> {
    let mut header = match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => [source.octets(), destination.octets()].concat(),
        (IpAddr::V6(source), IpAddr::V6(destination)) => [source.octets(), destination.octets()].concat(),
        _ => Vec::new(),
    };
    header.extend((length as u32).to_be_bytes());
    header.extend([0, 0, 0, packet.protocol]);
    header
}

/// The Internet's checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = 0;
    for pair in bytes.chunks(2) {
        let low = pair.get(1).copied().unwrap_or(0);
        sum += u32::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// CRC-32C (RFC 9260, appendix A), of a packet whose own field is zero.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use super::super::parse_packet;
    use super::*;

    fn encoded(text: &str) -> Vec<u8> {
        encode_packet(&parse_packet(text).expect(text))
    }

    #[test]
    fn checksums_are_right() {
        // the check value of CRC-32C
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        for text in [
            "in tcp 10.0.0.9:4000 -> 10.0.0.2:80",
            "in udp 10.0.0.9:4000 -> 10.0.0.2:80 length 101",
            "in tcp [fd00::9]:4000 -> [fd00::2]:80 established",
            "in udp [fd00::9]:4000 -> [fd00::2]:80",
            "in icmpv6 fd00::9 -> fd00::2",
            "in icmpv6 fd00::9 -> fd00::2 packet-too-big",
        ] {
            let bytes = encoded(text);
            let packet = parse_packet(text).expect(text);
            let header = HEADERS[usize::from(packet.source.is_ipv6())];
            if header == 20 {
                assert_eq!(checksum(&bytes[..20]), 0, "{text}");
            }
            let payload = &bytes[header..];
            let mut summed = pseudo_header(&packet, payload.len());
            summed.extend_from_slice(payload);
            assert_eq!(checksum(&summed), 0, "{text}");
        }
        let icmp = encoded("in icmp 10.0.0.9 -> 10.0.0.2");
        assert_eq!(checksum(&icmp[20..]), 0);
        let wrong = encoded("in icmp 10.0.0.9 -> 10.0.0.2 invalid");
        assert_ne!(checksum(&wrong[20..]), 0);
    }

    #[test]
    fn lengths_are_what_was_asked_for() {
        assert_eq!(encoded("in udp 10.0.0.9 -> 10.0.0.2:80 length 101").len(), 101);
        let udp = encoded("in udp [fd00::9]:1 -> [fd00::2]:80 length 1500");
        assert_eq!(
            (udp.len(), &udp[4..6], &udp[44..46]),
            (1500, &1460_u16.to_be_bytes()[..], &1460_u16.to_be_bytes()[..])
        );
    }
}
