//! Every combination of rules and facts against the sentences of the documentation, written down a second time.

use super::*;

const ALLOWED: &str = "10.1.0.0/16";

fn peers() -> [PeerAddress; 3] {
    let peer = |address: &str, own| PeerAddress { address: address.parse().expect("an address"), own };
    // a namespace's own address can be on the list: it is refused all the same
    [peer("10.1.2.3", false), peer("10.2.2.3", false), peer("10.1.0.9", true)]
}

fn all_rules() -> Vec<Access> {
    let both = [false, true];
    let mut all = Vec::new();
    for (listed, token) in both.into_iter().flat_map(|listed| both.map(|token| (listed, token))) {
        for (certificate, any) in both.into_iter().flat_map(|certificate| both.map(|any| (certificate, any)))
        {
            for limited in both {
                all.push(Access {
                    allow_from: listed.then(|| vec![ALLOWED.parse().expect("a network")]),
                    token,
                    certificate,
                    any,
                    sets: limited.then(|| ["allowed".to_owned()].into()),
                    verbs: if limited { [Verb::Add].into() } else { Verb::ALL.into() },
                });
            }
        }
    }
    all
}

#[test]
fn the_whole_matrix() {
    use Certificate as C;
    use TokenShown as T;
    let mut cases = 0;
    let mut outcomes = BTreeSet::new();
    for access in all_rules() {
        for input in [InputPolicy::Open, InputPolicy::Closed] {
            for (position, peer) in ["inside", "outside", "own"].into_iter().zip(peers()) {
                for certificate in [C::Right, C::Wrong, C::Expired, C::Absent] {
                    for token in [T::Right, T::Wrong, T::Absent] {
                        for (verb, set) in [
                            (Verb::Add, "allowed"),
                            (Verb::Add, "other"),
                            (Verb::Flush, "allowed"),
                            (Verb::Flush, "other"),
                        ] {
                            let facts = Facts { input, peer, certificate, token, verb, sets: &[set] };
                            let decided = decide(&access, &facts);

                            let guarded = access.allow_from.is_some()
                                || access.token
                                || access.certificate
                                || access.any
                                || input == InputPolicy::Closed;
                            let reasons = [
                                (!guarded, "unguarded"),
                                (position == "own", "own"),
                                (access.allow_from.is_some() && position == "outside", "not listed"),
                                (access.certificate && certificate == C::Wrong, "wrong certificate"),
                                (access.certificate && certificate == C::Expired, "expired certificate"),
                                (access.certificate && certificate == C::Absent, "no certificate"),
                                (access.token && token == T::Wrong, "wrong token"),
                                (access.token && token == T::Absent, "no token"),
                                (access.sets.is_some() && verb == Verb::Flush, "verb"),
                                (access.sets.is_some() && set == "other", "set"),
                            ];
                            let expected = reasons.into_iter().find(|(against, _)| *against);
                            let word = decided.as_ref().err().map(word);
                            assert_eq!(word, expected.map(|(_, word)| word), "{access:?} {facts:?}");
                            cases += 1;
                            outcomes.insert(word);
                        }
                    }
                }
            }
        }
    }
    // 32 rules, 2 policies, 3 peers, 4 certificates, 3 tokens, 4 lines; ten reasons, and yes
    assert_eq!((cases, outcomes.len()), (9216, 11));
}

fn word(refusal: &Refusal) -> &'static str {
    match refusal {
        Refusal::Unguarded => "unguarded",
        Refusal::Own(_) => "own",
        Refusal::NotListed(_) => "not listed",
        Refusal::NoCertificate => "no certificate",
        Refusal::WrongCertificate => "wrong certificate",
        Refusal::ExpiredCertificate => "expired certificate",
        Refusal::NoToken => "no token",
        Refusal::WrongToken => "wrong token",
        Refusal::Verb(_) => "verb",
        Refusal::Set(_) => "set",
    }
}

#[test]
fn every_set_of_a_line_has_to_be_allowed() {
    let access = Access { sets: Some(["a".to_owned()].into()), verbs: Verb::ALL.into(), ..Access::default() };
    assert_eq!(permit(&access, Verb::Swap, ["a", "a"]), Ok(()));
    assert_eq!(permit(&access, Verb::Swap, ["a", "b"]), Err(Refusal::Set("b".into())));
    assert_eq!(permit(&access, Verb::List, []), Ok(()));
}

#[test]
fn what_empties_a_set_has_to_be_asked_for() {
    let access = Access::default();
    for verb in Verb::ALL {
        let refused = matches!(verb, Verb::Flush | Verb::Swap);
        assert_eq!(permit(&access, verb, ["s"]).is_err(), refused, "{verb}");
    }
}
