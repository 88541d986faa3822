//! What a peer of ipsetd sends: bytes to lines, lines to commands, entries to what the kernel would get. No bytes may
//! panic; every byte belongs to one line, in whatever pieces it comes; and what is told is one line.

#![no_main]

use fwn_plan::netfilter::Family;
use fwn_plan::set::{CreateOptions, Grammar, NumbersOnly, SetKind, Verb};
use ipsetd::executor::Answer;
use ipsetd::frame::{Frame, Input};
use ipsetd::line::{Command, Request, parse_line};
use libfuzzer_sys::fuzz_target;

/// Longest line: short enough that too long ones are found.
const LONGEST: usize = 200;

fuzz_target!(|bytes: &[u8]| {
    let whole = lines(&[bytes]);
    let (first, second) = bytes.split_at(bytes.len() / 2);
    assert_eq!(lines(&[first, second]), whole, "in two pieces");
    for line in whole.into_iter().flatten() {
        match parse_line(&line) {
            Ok(Command::Request(request)) => read_entry(&request),
            Ok(_) => {}
            Err(error) => {
                let mut answer = Vec::new();
                Answer::error(&error).render(&mut answer);
                assert!(!answer.contains(&b'\n') && std::str::from_utf8(&answer).is_ok(), "{answer:?}");
            }
        }
    }
});

/// All lines of what comes in these pieces; one that is too long has no text.
fn lines(pieces: &[&[u8]]) -> Vec<Option<Vec<u8>>> {
    let mut input = Input::new(LONGEST);
    let mut all = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        input.room(piece.len()).extend_from_slice(piece);
        if at + 1 == pieces.len() {
            input.end();
        }
        loop {
            let frames = input.take(7, |line| line.starts_with(b"commit"));
            if frames.is_empty() {
                break;
            }
            all.extend(frames.into_iter().map(|frame| match frame {
                Frame::Line(line) => Some(line.to_vec()),
                Frame::TooLong => None,
            }));
        }
    }
    all
}

fn read_entry(request: &Request<'_>) {
    let (verb, entry) = match request {
        Request::Change(change) if change.delete => (Verb::Delete, &change.entry),
        Request::Change(change) => (Verb::Add, &change.entry),
        Request::Test { entry, .. } => (Verb::Test, entry),
        _ => return,
    };
    let options = CreateOptions {
        timeout: Some(0),
        counters: true,
        comment: true,
        skbinfo: true,
        ..CreateOptions::default()
    };
    for kind in SetKind::ALL {
        for family in [Some(Family::Ipv4), Some(Family::Ipv6), None] {
            let grammar = Grammar { kind, family, options: &options, services: &NumbersOnly };
            if let Err(error) = grammar.parse(verb, entry) {
                assert!(entry.get(error.span.clone()).is_some(), "{error:?} is not in {entry:?}");
            }
        }
    }
}
