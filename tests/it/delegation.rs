//! Mint, delegate, narrow, seal, verify: what each step allows and refuses.

use proptest::prelude::*;
use writ::policy::permit::decide;
use writ::token::chain::Authority;
use writ::token::hop::{HopError, Narrowing, NewHop, delegate, narrow, seal};
use writ::token::inspect::{inspect, view};
use writ::token::mint::mint;
use writ::token::profile::DEPTH_MAX;
use writ::token::proof::{self, NonceRule, ProvenRequest};
use writ::token::{Limits, TokenError};

use crate::tokens::*;

#[test]
fn what_is_minted_is_what_is_read() {
    let token = minted(&authority());
    let chain = verified(&token).unwrap();
    assert_eq!(chain.authority(), &authority());
    assert_eq!(chain.root_key_id(), ROOT_KEY_ID);
    assert_eq!((chain.hops().len(), chain.blocks(), chain.is_sealed()), (0, 1, false));
}

proptest! {
    #![proptest_config(cases(1_000))]

    /// Minting does not read its token again: this does.
    #[test]
    fn whatever_is_minted_is_what_is_read_and_what_no_edge_would_take_is_not_minted(
        subject in proptest::option::of("[a-z]{1,300}"),
        capabilities in proptest::collection::btree_set("[a-z]{1,8}:[a-z]{1,8}(/[a-z]{1,8}){0,3}:[a-z]{1,100}", 0..24),
        epoch in prop_oneof![3 => 0..=i64::MAX as u64, 1 => any::<u64>()],
        depth_max in prop_oneof![3 => 0..=DEPTH_MAX, 1 => any::<u8>()],
        life in prop_oneof![3 => 1..100_000_i64, 1 => -2..2_i64],
        bound in any::<bool>(),
    ) {
        let writ = Authority {
            subject: subject.and_then(|text| text.parse().ok()),
            capabilities: capabilities.iter().map(|text| capability(text)).collect(),
            epoch,
            depth_max,
            expires: at(life),
            holder: bound.then(|| public(1)),
            ..authority()
        };
        let limits = Limits::default();
        let fits = i64::try_from(epoch).is_ok() && depth_max <= DEPTH_MAX && capabilities.len() <= limits.capabilities_max;
        match mint(&writ, &root(), ROOT_KEY_ID, &[0xc0; 32], &limits) {
            Ok(token) => {
                prop_assert!(fits);
                let (read, chain) = (inspect(&token, &limits).unwrap(), verified(&token).unwrap());
                prop_assert_eq!(read.claims().authority(), &writ);
                prop_assert_eq!(chain.authority(), &writ);
            }
            Err(error) => prop_assert!(!fits || life < 1 || matches!(error, TokenError::TooLarge(_)), "{:?}", error),
        }
    }
}

#[test]
fn a_chain_of_hops_names_each_holder_and_ends_with_its_earliest_hop() {
    let token = minted(&authority());
    let token = delegated(&token, 1, &new_hop(2));
    let token = delegated(&token, 2, &NewHop { expires: at(7200), ..new_hop(3) });
    let chain = verified(&token).unwrap();
    assert_eq!(chain.holders().collect::<Vec<_>>(), [public(1), public(2), public(3)]);
    assert_eq!(chain.holder(), Some(public(3)));
    assert_eq!(chain.expires(), at(1800));
}

#[test]
fn a_hop_allows_what_it_names_and_nothing_else_of_its_parent() {
    let token = minted(&authority());
    let narrowing = Narrowing {
        capabilities: vec![capability("notes:read:team"), capability("notes:list:/")],
        ..Default::default()
    };
    let token = delegated(&token, 1, &NewHop { narrowing, ..new_hop(2) });
    let chain = verified(&token).unwrap();
    let allowed = |needed| decide(&chain, &operation(needed), at(0)).is_ok();
    assert!(allowed("notes:read/all:team/a"));
    assert!(allowed("notes:list:team"));
    assert!(!allowed("notes:list:other"), "the parent does not allow it");
    assert!(!allowed("notes:write:team"), "the hop does not allow it");
    assert!(!allowed("notes:reads:team"), "a prefix of letters is not a prefix of segments");
}

#[test]
fn narrowing_in_time_counts_its_last_second_in_full() {
    let token = minted(&authority());
    let narrowing = Narrowing { until: Some(at(10)), ..Default::default() };
    let token = narrow(&token, &narrowing, &[3; 32], &Limits::default()).unwrap();
    let chain = verified(&token).unwrap();
    let allowed = |now| decide(&chain, &operation("notes:read:team"), now).is_ok();
    assert!(allowed(at(10)) && allowed(writ::clock::Timestamp::from_millis(at(10).millis() + 999)));
    assert!(!allowed(at(11)));
}

#[test]
fn a_check_with_a_negation_is_refused_before_it_is_parsed() {
    let narrowed = |check: &str| {
        let narrowing = Narrowing { checks: vec![check.to_owned()], ..Default::default() };
        narrow(&minted(&authority()), &narrowing, &[3; 32], &Limits::default())
    };
    // Found by fuzzing: the parser reads each of them twice, those inside of it four times, and would not end.
    let nested = format!("check if {}", "!(!2+".repeat(30));
    for check in [&*nested, r#"check if arg("draft", $d), !$d"#, r#"check if arg("a\"", $x), $x !== 1"#] {
        let Err(HopError::Check { rule, .. }) = narrowed(check) else { panic!("{check} was taken") };
        assert_eq!(rule, "`!` is not allowed in a check: say what must hold");
    }
    narrowed(r#"check if arg("a!", $x), $x === "\"!""#).unwrap();
}

#[test]
fn only_the_last_holder_can_delegate() {
    let token = delegated(&minted(&authority()), 1, &new_hop(2));
    let refused = delegate(&token, &pair(1), &new_hop(3), &[9; 32], &Limits::default());
    assert_eq!(refused.unwrap_err(), HopError::NotTheHolder(Box::new(public(2))));
}

#[test]
fn a_sealed_token_verifies_and_takes_no_more_blocks() {
    let sealed = seal(&delegated(&minted(&authority()), 1, &new_hop(2)), &Limits::default()).unwrap();
    assert!(verified(&sealed).unwrap().is_sealed());
    let limits = Limits::default();
    assert_eq!(delegate(&sealed, &pair(2), &new_hop(3), &[9; 32], &limits).unwrap_err(), HopError::Sealed);
    assert_eq!(narrow(&sealed, &Narrowing::default(), &[9; 32], &limits).unwrap_err(), HopError::Sealed);
    assert_eq!(seal(&sealed, &limits).unwrap_err(), HopError::Sealed);
}

#[test]
fn a_key_holds_a_token_once() {
    let token = delegated(&minted(&authority()), 1, &new_hop(2));
    for again in [1, 2] {
        let refused = delegate(&token, &pair(2), &new_hop(again), &[9; 32], &Limits::default());
        assert!(matches!(refused, Err(HopError::Token(TokenError::Holder { hop: 2, .. }))), "{refused:?}");
    }
}

#[test]
fn the_depth_that_the_authority_allows_is_the_depth_there_is() {
    let shallow = writ::token::chain::Authority { depth_max: 1, ..authority() };
    let token = delegated(&minted(&shallow), 1, &new_hop(2));
    assert!(verified(&token).is_ok());
    let refused = delegate(&token, &pair(2), &new_hop(3), &[9; 32], &Limits::default());
    assert_eq!(refused.unwrap_err(), HopError::Token(TokenError::TooDeep));
}

#[test]
fn the_last_holder_proves_possession_and_an_ancestor_does_not() {
    let token = delegated(&minted(&authority()), 1, &new_hop(2));
    let request = ProvenRequest { method: "GET", url: "https://edge.example/notes/1", query: None, body_sha256: None };
    let hold = |seed| {
        let proof = proof::make(&pair(seed), &request, Some(token.digest()), Default::default(), None, &[5; 16], at(0));
        proof::hold(accepted(&token, at(0)).unwrap(), &proof, &request, NonceRule::Optional, at(0))
    };
    assert!(hold(2).is_ok());
    assert_eq!(hold(1).unwrap_err(), proof::ProofError::Key);
}

#[test]
fn the_view_of_a_token_holds_neither_its_bytes_nor_its_next_secret() {
    let token = delegated(&minted(&authority()), 1, &new_hop(2));
    let unverified = inspect(&token, &Limits::default()).unwrap();
    let json = serde_json::to_string(&view(unverified.claims())).unwrap();
    assert!(!json.contains(token.text()) && !json.contains(&hex::encode([2; 32])));
    assert!(json.contains(&public(2).to_string()) && json.contains("2026-11-18T11:36:40Z"));
    assert!(!format!("{token:?} {unverified:?}").contains(token.text()));
}
