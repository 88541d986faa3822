//! Matches that are little programs over the packet's bytes: `bpf` and `u32`. What the programs do is for the kernel
//! to check; here they are read.

use super::value::{Range, word, wrong};
use super::{TypedError, needs, not_typed, single};
use crate::rule::{Module, Negatable, RuleProblem, Value};

/// `-m u32`: at most 10 tests, all of which must hold.
pub type U32 = Vec<U32Test>;

/// A test of `u32`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct U32Test {
    /// How to come to the number, in 1 to 10 steps; the first one's operator does not count.
    pub location: Vec<U32Step>,
    /// 1 to 10 ranges of which one is to hold the number.
    pub values: Vec<Range<u32>>,
}

/// A step to the number that `u32` tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct U32Step {
    /// `enum xt_u32_ops` (`linux/netfilter/xt_u32.h`): 0 `&`, 1 `<<`, 2 `>>`, 3 `@`.
    pub operator: u8,
    /// What it works with.
    pub number: u32,
}

/// An instruction of `-m bpf --bytecode`: `struct sock_filter` (`linux/filter.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BpfInstruction {
    /// What to do.
    pub code: u16,
    /// Instructions to skip where a test holds.
    pub jump_true: u8,
    /// Instructions to skip where it does not.
    pub jump_false: u8,
    /// What to do it with.
    pub operand: u32,
}

/// Most tests of a rule, most steps and most ranges of a test (`XT_U32_MAXSIZE`, `linux/netfilter/xt_u32.h`).
pub const U32_MAX: usize = 10;
/// Most instructions (`XT_BPF_MAX_NUM_INSTR`, `linux/netfilter/xt_bpf.h`).
pub const BPF_MAX: usize = 64;

pub(super) fn parse_u32(module: &Module) -> Result<Negatable<U32>, TypedError> {
    single(module, "u32", parse_tests)
}

fn parse_tests(value: &Value) -> Result<U32, RuleProblem> {
    let mut scan = Scanner { value, rest: &value.text };
    let mut tests = Vec::new();
    loop {
        let location = parse_location(&mut scan)?;
        let (values, more) = parse_ranges(&mut scan)?;
        tests.push(U32Test { location, values });
        scan.at_most(tests.len(), "tests")?;
        if !more {
            return Ok(tests);
        }
    }
}

/// `NUMBER OPERATOR NUMBER ... =`
fn parse_location(scan: &mut Scanner<'_>) -> Result<Vec<U32Step>, RuleProblem> {
    const OPERATORS: [&str; 4] = ["&", "<<", ">>", "@"];
    const SHIFTS: [usize; 2] = [1, 2];
    let mut steps = vec![U32Step { operator: 0, number: scan.number()? }];
    while !scan.take("=") {
        let operator = OPERATORS.iter().position(|operator| scan.take(operator));
        let operator = operator.ok_or_else(|| scan.expected("`=` or one of `&`, `<<`, `>>`, `@`"))?;
        let number = scan.number()?;
        // what older kernels make of it depends on the machine; newer ones refuse it (`net/netfilter/xt_u32.c`)
        if SHIFTS.contains(&operator) && number >= u32::BITS {
            let message = format!("`{}` shifts by {number} bits, and there are 32", scan.value.text);
            return Err(wrong(scan.value, message));
        }
        steps.push(U32Step { operator: operator as u8, number });
        scan.at_most(steps.len(), "numbers before the `=`")?;
    }
    Ok(steps)
}

/// `NUMBER[:NUMBER],...`, and whether `&&` and another test come after them.
fn parse_ranges(scan: &mut Scanner<'_>) -> Result<(Vec<Range<u32>>, bool), RuleProblem> {
    let mut ranges = Vec::new();
    loop {
        let first = scan.number()?;
        // a range that ends before it begins is taken; it holds nothing
        let last = if scan.take(":") { scan.number()? } else { first };
        ranges.push(Range { first, last });
        scan.at_most(ranges.len(), "values after a `=`")?;
        if scan.rest.is_empty() {
            return Ok((ranges, false));
        }
        if scan.take("&&") {
            return Ok((ranges, true));
        }
        if !scan.take(",") {
            return Err(scan.expected("`,` or `&&`"));
        }
    }
}

/// Reads a word from left to right. White space between the parts does not count.
struct Scanner<'a> {
    value: &'a Value,
    rest: &'a str,
}

impl Scanner<'_> {
    /// Goes past `token` if it comes next.
    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        let found = self.rest.strip_prefix(token);
        self.rest = found.unwrap_or(self.rest);
        self.skip_space();
        found.is_some()
    }

    /// A number as `strtoul` with base 0 finds it at the start of a text.
    fn number(&mut self) -> Result<u32, RuleProblem> {
        self.skip_space();
        let hexadecimal = self.rest.strip_prefix("0x").or_else(|| self.rest.strip_prefix("0X"));
        let (digits, radix) = match hexadecimal {
            Some(digits) => (digits, 16),
            None if self.rest.starts_with('0') => (self.rest, 8),
            None => (self.rest, 10),
        };
        let end = digits.find(|letter: char| !letter.is_digit(radix)).unwrap_or(digits.len());
        let (number, rest) = digits.split_at(end);
        let number = u32::from_str_radix(number, radix)
            .map_err(|_| self.expected(&format!("a number from 0 to {}", u32::MAX)))?;
        self.rest = rest;
        self.skip_space();
        Ok(number)
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    }

    fn at_most(&self, count: usize, what: &str) -> Result<(), RuleProblem> {
        if count <= U32_MAX {
            return Ok(());
        }
        Err(wrong(self.value, format!("`{}` has more than {U32_MAX} {what}", self.value.text)))
    }

    fn expected(&self, what: &str) -> RuleProblem {
        let text = &self.value.text;
        let place = match self.rest {
            "" => "at its end".to_owned(),
            rest => format!("before `{rest}`"),
        };
        wrong(self.value, format!("`{text}` needs {what} {place}"))
    }
}

pub(super) fn parse_bpf(module: &Module) -> Result<Vec<BpfInstruction>, TypedError> {
    let mut program = None;
    for option in &module.options {
        match option.name {
            "bytecode" => program = Some(parse_program(word(option, 0)?)?),
            _ => return Err(not_typed(module, option)),
        }
    }
    program.ok_or_else(|| needs(module, "`--bytecode`"))
}

/// `COUNT,CODE JT JF K,...`: numbers are decimal, and a comma at the end does no harm.
fn parse_program(value: &Value) -> Result<Vec<BpfInstruction>, RuleProblem> {
    let text = &value.text;
    let (count, instructions) = text.strip_suffix(',').unwrap_or(text).split_once(',').ok_or_else(|| {
        wrong(value, format!("`{text}` is not a count of instructions and the instructions"))
    })?;
    let count =
        decimal::<usize>(count.trim_ascii_start()).filter(|count| (1..=BPF_MAX).contains(count)).ok_or_else(
            || wrong(value, format!("`{count}` is not a count of instructions from 1 to {BPF_MAX}")),
        )?;
    let program: Vec<_> =
        instructions.split(',').map(|text| parse_instruction(value, text)).collect::<Result<_, _>>()?;
    if program.len() != count {
        let message = format!("the program has {} instructions and is said to have {count}", program.len());
        return Err(wrong(value, message));
    }
    Ok(program)
}

fn parse_instruction(value: &Value, text: &str) -> Result<BpfInstruction, RuleProblem> {
    let numbers: Vec<_> = text.split_ascii_whitespace().collect();
    let instruction = match numbers.as_slice() {
        [code, jump_true, jump_false, operand] => {
            let parts = decimal(code).zip(decimal(jump_true)).zip(decimal(jump_false)).zip(decimal(operand));
            parts.map(|(((code, jump_true), jump_false), operand)| BpfInstruction {
                code,
                jump_true,
                jump_false,
                operand,
            })
        }
        _ => None,
    };
    instruction.ok_or_else(|| {
        wrong(value, format!("`{text}` is not an instruction such as `21 0 1 6`, four numbers"))
    })
}

fn decimal<T: std::str::FromStr>(text: &str) -> Option<T> {
    // `parse` would take a sign
    text.bytes().all(|digit| digit.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
