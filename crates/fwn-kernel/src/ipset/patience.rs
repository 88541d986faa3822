//! Trying again what a set refuses that somebody holds for a moment: nothing tells when that is over.

use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(5);
/// How often a set in use is tried to destroy: with the pauses some grace periods of RCU (6 to 16 ms each, more on a busy
/// machine), and the time that a long listing takes.
const ATTEMPTS: u32 = 100;
/// How long who lists a set that is to be swapped is waited for.
const LISTING: Duration = Duration::from_millis(500);

/// Tries again what is refused because rules that are gone, or who lists it, still hold a set.
pub(super) fn while_held<E>(
    change: impl FnMut() -> Result<(), E>,
    is_busy: impl Fn(&E) -> bool,
) -> Result<(), E> {
    let mut attempts = 1..ATTEMPTS;
    while_busy(change, is_busy, || attempts.next().is_some())
}

/// Tries again what is refused because somebody lists a set: from the first refusal on, so that there is a second attempt
/// however long one takes.
pub(crate) fn while_listed<E>(
    change: impl FnMut() -> Result<(), E>,
    is_busy: impl Fn(&E) -> bool,
) -> Result<(), E> {
    let mut refused = None;
    while_busy(change, is_busy, || refused.get_or_insert_with(Instant::now).elapsed() < LISTING)
}

fn while_busy<E>(
    mut change: impl FnMut() -> Result<(), E>,
    is_busy: impl Fn(&E) -> bool,
    mut goes_on: impl FnMut() -> bool,
) -> Result<(), E> {
    loop {
        match change() {
            Err(error) if is_busy(&error) && goes_on() => sleep(PAUSE),
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_busy_is_tried_again_for_a_while() {
        let is_busy = |error: &&str| *error == "busy";
        let mut answers = vec![Ok(()), Err("busy"), Err("busy")];
        assert_eq!(while_listed(|| answers.pop().expect("no more"), is_busy), Ok(()));
        let mut answers = vec![Err("broken"), Err("busy")];
        assert_eq!(while_listed(|| answers.pop().expect("no more"), is_busy), Err("broken"));
        let mut attempts = 0;
        let always = || {
            attempts += 1;
            // as filling a large set takes
            sleep(LISTING);
            Err("busy")
        };
        assert_eq!(while_listed(always, is_busy), Err("busy"));
        assert_eq!(attempts, 2);
    }
}
