//! What a warm call allocates, between its parsed request and its permit.
//!
//! Failure is one allocation more.

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use http::HeaderMap;
use writ::catalog::{Service, Target};
use writ::clock::Monotonic;
use writ::policy::rules::Rules;
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

#[test]
fn a_warm_decision_allocates_what_its_permit_and_its_record_say() {
    // Names, paths and lists of the operation, of what is shown of it, of the capability that allows it and of the policies that say so.
    const ALLOCATIONS_MAX: u64 = 29;
    let text = "name = 'notes'\nupstream = 'https://notes.example'\n[[route]]\nmethods = ['GET']\n\
                path = '/team/{id}'\naction = 'read'\nresource = 'team/{id}'\n";
    let service = Service::from_toml(text).unwrap();
    let (chain, target, headers) = (chain(), Target::parse("/team/1").unwrap(), HeaderMap::new());
    let (set, lease, rules) = (nothing_revoked(), Lease::granted(NOW, Duration::from_secs(1)), Rules::built_in());
    let call = || {
        let token = current(&chain, &keys(), &expected(), at(60)).unwrap();
        let live = set.admit(hold_by_connection(token, &public(5)).unwrap(), &lease, NOW).unwrap();
        let asked = service.route("GET", &target).unwrap().ask(&headers, None).unwrap();
        authorize(live, asked.operations, &rules, Facts::at(at(60))).unwrap()
    };
    call();
    let counted = measure(|| drop(call())).count_total - measure(|| drop((keys(), expected()))).count_total;
    assert!(counted <= ALLOCATIONS_MAX, "{counted} allocations");
}
