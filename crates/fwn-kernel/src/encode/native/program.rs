//! The matches that are programs over a packet's bytes to their structures.

use fwn_plan::rule::Negatable;
use fwn_plan::rule::typed::program::{BpfInstruction, U32};

use super::info::Info;

/// `struct xt_bpf_info_v1` with `XT_BPF_MODE_BYTECODE`.
pub(super) fn bpf(program: &[BpfInstruction]) -> Info {
    let info = Info::new(528).u16(2, program.len() as u16);
    program.iter().enumerate().fold(info, |info, (at, instruction)| {
        // struct sock_filter
        let BpfInstruction { code, jump_true, jump_false, operand } = *instruction;
        let at = 8 + at * 8;
        info.u16(at, code).u8(at + 2, jump_true).u8(at + 3, jump_false).u32(at + 4, operand)
    })
}

/// `struct xt_u32`
pub(super) fn u32(it: &Negatable<U32>) -> Info {
    /// Size of `struct xt_u32_test`.
    const TEST: usize = 180;
    let mut info = Info::new(1984).u8(1980, it.value.len() as u8).u8(1981, it.negated);
    for (at, test) in it.value.iter().enumerate() {
        let at = at * TEST;
        for (place, step) in test.location.iter().enumerate() {
            info = info.u32(at + place * 8, step.number).u8(at + place * 8 + 4, step.operator);
        }
        for (place, range) in test.values.iter().enumerate() {
            info = info.u32(at + 88 + place * 8, range.first).u32(at + 92 + place * 8, range.last);
        }
        info = info.u8(at + 176, test.location.len() as u8).u8(at + 177, test.values.len() as u8);
    }
    info
}
