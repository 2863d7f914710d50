//! Who may hand what to whom: hops and what they state.

use biscuit_auth::builder::BlockBuilder;
use writ::token::chain::Authority;
use writ::token::hop::{Narrowing, NewHop};

use super::Vector;
use super::kit::*;
use crate::tokens::*;

pub(super) fn all() -> Vec<Vector> {
    [holders(), hop_facts_cases(), overreach(), depth(), times()].into_iter().flatten().collect()
}

fn good() -> Vec<u8> {
    minted(&authority()).bytes().to_vec()
}

fn hopped() -> Vec<u8> {
    delegated(&minted(&authority()), 1, &new_hop(2)).bytes().to_vec()
}

fn holders() -> Vec<Vector> {
    let parent = minted(&authority());
    let child = delegated(&parent, 1, &new_hop(2));
    let grandchild = delegated(&child, 2, &new_hop(3));
    let denied = |fact: &str, bytes: &[u8], by| Case::with_bytes(fact, bytes).by(by).denied("token_holder");
    vec![
        Case::new("a delegated token held by the next holder is allowed", &child).by(2).allowed(),
        Case::new("two hops held by the last holder are allowed", &grandchild).by(3).allowed(),
        Case::new("a narrowing block between two hops changes no holder", &{
            delegated(&narrowed(&child, &[r#"check if action("read")"#]), 2, &new_hop(3))
        })
        .by(3)
        .allowed(),
        denied("a hop signed by a stranger is refused", &signed_code(&good(), 4, &hop_facts(2)), 2),
        denied("a hop signed by an ancestor is refused", &signed_code(&hopped(), 1, &hop_facts(3)), 3),
        denied("a hop signed by the holder it names is refused", &signed_code(&good(), 2, &hop_facts(2)), 2),
        denied("a hop back to an ancestor is refused", &signed_code(&hopped(), 2, &hop_facts(1)), 1),
        denied("a hop to its own signer is refused", &signed_code(&good(), 1, &hop_facts(1)), 1),
        Case::new("a child with its parent's token but not its key is refused", &parent).by(2).denied("proof_key"),
        Case::new("a parent with its child's token is refused", &child).by(1).denied("proof_key"),
    ]
}

fn hop_facts_cases() -> Vec<Vector> {
    let without = |name: &str| {
        let facts = hop_facts(2);
        facts.split_inclusive(';').filter(|fact| !fact.trim().starts_with(name)).collect::<String>()
    };
    let denied =
        |fact: &str, code: &str| Case::with_bytes(fact, &signed_code(&good(), 1, code)).by(2).denied("token_profile");
    let key = hex::encode(public(3).as_bytes());
    vec![
        denied("a hop without a holder is refused", &without("cnf")),
        denied("a hop with two holders is refused", &format!("{} cnf(hex:{key});", hop_facts(2))),
        denied("a hop without an id is refused", &without("id")),
        denied("a hop without exp is refused", &without("exp")),
        denied("a hop with two ends is refused", &format!("{} exp(2027-01-01T00:00:00Z);", hop_facts(2))),
        denied("a hop whose agent is no name is refused", &format!("{} agent(\"a b\");", hop_facts(2))),
        denied("a hop with checks alone is refused", r#"check if action("read")"#),
        Case::with_bytes(
            "a hop may name its holder and begin later",
            &signed_code(&good(), 1, &format!("{} agent(\"helper\"); nbf({});", hop_facts(2), at(30))),
        )
        .by(2)
        .allowed(),
        Case::with_bytes(
            "an unsigned block that states a fact is refused",
            &appended_code(&good(), r#"capability("notes", "/", "/")"#),
        )
        .denied("token_profile"),
        Case::with_bytes("an unsigned block that names a holder is refused", &appended_code(&good(), &hop_facts(2)))
            .by(2)
            .denied("token_profile"),
        Case::with_bytes("an empty unsigned block changes nothing", &appended(&good(), BlockBuilder::new())).allowed(),
    ]
}

fn overreach() -> Vec<Vector> {
    let denied = |fact: &str, stated: &str| {
        Case::with_bytes(fact, &signed_code(&good(), 1, &format!("{} {stated};", hop_facts(2))))
            .by(2)
            .denied("token_overreach")
    };
    vec![
        denied("a hop that states a capability is refused", r#"capability("notes", "/", "/")"#),
        denied("a hop that states a grant is refused", "grant(hex:00112233445566778899aabbccddeeff)"),
        denied("a hop that states a right is refused", r#"right("notes", "write")"#),
        denied("a hop that states the time is refused", "time(2020-01-01T00:00:00Z)"),
        denied("a hop that states an operation is refused", r#"operation("notes", "read", "team")"#),
        denied("a hop that states an argument is refused", r#"arg("amount", 1)"#),
        denied("a hop that states a client address is refused", r#"client_ip("127.0.0.1")"#),
        denied("a hop that states it is not revoked is refused", "revoked(false)"),
        denied("a hop that states an audience is refused", r#"audience("other-edge")"#),
        denied("a hop that deepens the chain is refused", "max_depth(15)"),
        denied("a hop that states an epoch is refused", "epoch(99)"),
    ]
}

fn depth() -> Vec<Vector> {
    let one_deep = Authority { depth_max: 1, ..authority() };
    let child = delegated(&minted(&one_deep), 1, &new_hop(2));
    let sealed_off = minted(&Authority { depth_max: 0, ..authority() });
    vec![
        Case::new("a chain as deep as its authority allows is allowed", &child).by(2).allowed(),
        Case::with_bytes(
            "a chain one deeper than its authority allows is refused",
            &signed_code(child.bytes(), 2, &hop_facts(3)),
        )
        .by(3)
        .denied("token_too_deep"),
        Case::with_bytes(
            "a token that may not be delegated is refused with a hop",
            &signed_code(sealed_off.bytes(), 1, &hop_facts(2)),
        )
        .by(2)
        .denied("token_too_deep"),
        Case::new(
            "a token that may not be delegated can be narrowed",
            &narrowed(&sealed_off, &[r#"check if action("read")"#]),
        )
        .allowed(),
    ]
}

fn times() -> Vec<Vector> {
    let parent = minted(&authority());
    let hop = |hop| delegated(&parent, 1, &hop);
    let child = hop(new_hop(2));
    let longer = hop(NewHop { expires: at(7200), ..new_hop(2) });
    let later = hop(NewHop { not_before: Some(at(600)), ..new_hop(2) });
    let bomb = format!("{} nbf({});", hop_facts(2), at(86_401));
    let until = Narrowing { until: Some(at(100)), ..Narrowing::default() };
    let until = hop(NewHop { narrowing: until, ..new_hop(2) });
    vec![
        Case::new("a hop is valid in its last second", &child).by(2).at(1800).allowed(),
        Case::new("a hop is not valid after its last second", &child).by(2).at(1801).denied("token_expired"),
        Case::new("a hop that ends later than its parent is valid in the parent's last second", &longer)
            .by(2)
            .at(3600)
            .allowed(),
        Case::new("a hop that ends later than its parent ends with the parent", &longer)
            .by(2)
            .at(3601)
            .denied("token_expired"),
        Case::new("a hop that begins later is not valid before", &later).by(2).at(599).denied("token_not_yet"),
        Case::new("a hop that begins later is valid from its first second", &later).by(2).at(600).allowed(),
        Case::with_bytes("a hop that begins more than a day later is refused", &signed_code(&good(), 1, &bomb))
            .by(2)
            .denied("token_profile"),
        Case::new("a check of the time passes in its last second", &until).by(2).at(100).allowed(),
        Case::new("a check of the time fails in the second after", &until).by(2).at(101).denied("check_failed"),
    ]
}
