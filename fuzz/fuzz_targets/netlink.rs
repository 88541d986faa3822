//! A datagram that claims to come from the kernel, through every reader that there is for one. No bytes may panic.

#![no_main]

use fwn_kernel::firewall::owner::{decode_mark, decode_owner};
use fwn_kernel::ipset::decode::decode_list;
use fwn_kernel::netlink::message::{Message, MessageReader, NFGEN};
use fwn_kernel::nft::decode::{
    decode_chain, decode_expressions, decode_generation, decode_rule, decode_table, decode_verdict,
};
use fwn_plan::set::SetKind;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|datagram: &[u8]| {
    // what is cut short ends the datagram
    for message in MessageReader::new(datagram).map_while(Result::ok) {
        read(&message);
    }
});

fn read(message: &Message<'_>) {
    let _ = message.errno();
    let _ = message.extended_ack();
    let _ = decode_generation(message);
    if let Ok(Some(table)) = decode_table(message) {
        let _ = decode_mark(&table.user_data);
    }
    if let Ok(Some(chain)) = decode_chain(message) {
        let _ = decode_mark(&chain.user_data);
    }
    if let Ok(Some(rule)) = decode_rule(message) {
        let _ = decode_owner(rule.user_data);
        let _ = decode_expressions(rule.expressions).count();
        let _ = decode_verdict(rule.expressions);
    }
    if let Ok(attrs) = message.attrs(NFGEN)
        && let Ok(listed) = decode_list(attrs)
        && let Some(entries) = listed.entries
    {
        for kind in SetKind::ALL {
            let _ = entries.decode(kind, &mut Vec::new());
        }
    }
}
