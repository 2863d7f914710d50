//! What a warm call allocates, between its parsed request and its permit.
//!
//! Failure is one allocation more. The one that is left is the permit: what it permits is kept while the call goes on, and put before
//! later policies.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use http::HeaderMap;
use writ::catalog::{Service, Target};
use writ::clock::Monotonic;
use writ::policy::rules::{Document, PolicySet, Rules};
use writ::policy::{Facts, authorize, permit};
use writ::revocation::{Lease, LiveToken, RevocationSet, Statement};
use writ::token::Chain;
use writ::token::proof::hold_by_connection;
use writ::token::verify::current;

use crate::tokens::*;

const NOW: Monotonic = Monotonic::from_origin(Duration::from_secs(1));

/// Four hops, each of which narrows.
fn chain() -> Arc<Chain> {
    let token = (1..=4).fold(minted(&authority()), |token, from| {
        let mut hop = new_hop(from + 1);
        hop.narrowing.capabilities = vec![capability("notes:read:team"), capability("notes:list:team")];
        hop.narrowing.until = Some(at(1000));
        hop.narrowing.checks = vec![r#"check if method("GET")"#.to_owned()];
        delegated(&token, from, &hop)
    });
    Arc::new(verified(&token).unwrap())
}

fn nothing_revoked() -> RevocationSet {
    let mut set = RevocationSet::for_log();
    set.apply(&Statement::of(0, 0, [])).unwrap();
    set
}

#[test]
fn what_is_asked_of_a_known_token_allocates_nothing() {
    let (chain, keys, expected, operation) = (chain(), keys(), expected(), operation("notes:read:team/1"));
    let (set, lease) = (nothing_revoked(), Lease::granted(NOW, Duration::from_secs(1)));
    let call = || {
        let token = current(&chain, &keys, &expected, at(60)).unwrap();
        let held = hold_by_connection(token, &public(5)).unwrap();
        let live: LiveToken = set.admit(held, &lease, NOW).unwrap();
        permit::decide(live.chain(), &operation, at(60)).unwrap();
    };
    assert_eq!(measure(call).count_total, 0);
}

/// What a warm decision about `path` allocates, under these rules.
fn allocated(path: &str, rules: &Arc<Rules>) -> u64 {
    let text = "name = 'notes'\nupstream = 'https://notes.example'\n[[route]]\nmethods = ['GET']\n\
                path = '/team/{*id}'\naction = 'read'\nresource = 'team/{*id}'\n";
    let service = Service::from_toml(text).unwrap();
    let (chain, target, headers) = (chain(), Target::parse(path).unwrap(), HeaderMap::new());
    let (set, lease) = (nothing_revoked(), Lease::granted(NOW, Duration::from_secs(1)));
    let call = || {
        let token = current(&chain, &keys(), &expected(), at(60)).unwrap();
        let live = set.admit(hold_by_connection(token, &public(5)).unwrap(), &lease, NOW).unwrap();
        let route = service.route("GET", &target).unwrap();
        route.needed().unwrap();
        let asked = route.ask(&headers, None).unwrap();
        authorize(live, asked.operations, rules, Facts::at(at(60))).unwrap()
    };
    call();
    measure(|| drop(call())).count_total - measure(|| drop((keys(), expected()))).count_total
}

#[test]
fn a_warm_decision_allocates_its_permit_and_nothing_else() {
    assert_eq!(allocated("/team/1", &Rules::built_in()), 1);
}

#[test]
fn a_resource_of_more_than_23_bytes_has_a_place_of_its_own() {
    assert_eq!(allocated("/team/notes/of-the-year-2026/1", &Rules::built_in()), 2);
}

#[test]
fn policies_that_ask_for_nothing_but_who_does_what_to_what_allocate_no_more() {
    let policy = r#"
        @id("team") permit(principal in Agent::"assistant", action in [Action::"reads"], resource in Resource::"notes:team");
        @id("no-deletion") forbid(principal, action in [Action::"deletes"], resource);"#;
    let document = Document { policy: policy.into(), ..Document::grants_decide() };
    let rules = Arc::new(Rules::compile(1, 0, PolicySet::parse(document).unwrap()).unwrap());
    assert_eq!(allocated("/team/1", &rules), 1);
}
