//! Under load that is meant to bring it down, an edge goes on serving others, says why it refuses, and loses no record.
//!
//! Failure is: somebody who asks as usual gets no answer while the attack stands; an answer without its reason; a call that was
//! let through and has no outcome in the authority's records; memory or connections without a bound. Not failure: that the
//! attacker's own connections are closed without a word.

mod authority;
mod bodies;
mod connections;
mod disk;
mod panics;
pub(crate) mod services;
mod store;

use std::collections::BTreeMap;

use writ::audit::{Event, Verdict};
use writ::catalog::Service;
use writ::vault::CredentialKind;

use crate::edge::raw::Answer;
use crate::edge::{SECRET, World, Writ, eventually};

/// Somebody else's calls, each on a connection of its own, while the attack stands.
async fn others_are_served(world: &World, writ: &Writ) {
    for _ in 0..3 {
        let answer = world.read(writ).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// Every call that was let through has reached the authority's records, with exactly one outcome.
async fn nothing_is_lost(world: &World) {
    let open = || {
        let mut requests = BTreeMap::new();
        for event in world.authority.events() {
            match event {
                Event::Decision(decision) if decision.verdict == Verdict::Allowed => {
                    *requests.entry(decision.request.to_string()).or_insert(0) += 1;
                }
                Event::Outcome(outcome) => *requests.entry(outcome.request.to_string()).or_insert(0) -= 1,
                _ => {}
            }
        }
        requests.into_values().filter(|open| *open != 0).count()
    };
    let journal = world.edge.journal();
    eventually("every call has its outcome and is shipped", || journal.unshipped_bytes() == 0 && open() == 0).await;
}

/// Refused by the edge for this reason, and told so.
fn refused(answer: &Answer, status: u16, reason: &str) {
    assert_eq!(answer.status, status, "{}", answer.text());
    assert_eq!(answer.header("writ-edge"), Some("denied"), "{}", answer.text());
    let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(problem["reason"], reason, "{}", answer.text());
}

/// A second service, for which [`SECRET`] is lent, at this address.
fn files(address: std::net::SocketAddr) -> Service {
    let text = format!(
        r#"
        name = "files"
        upstream = "http://{address}"
        allow_private = true
        credential = "files-key"
        [[route]]
        methods = ["GET", "PUT"]
        path = "/{{*id}}"
        action = "files"
        resource = "team/{{*id}}"
        "#
    );
    Service::from_toml(&text).unwrap()
}

/// An edge in front of `notes` and of `files` at `address`, and a writ for both.
async fn beside(
    address: std::net::SocketAddr,
    configure: impl FnOnce(&mut writ::config::edge::EdgeConfig),
) -> (World, Writ) {
    let world = World::start_with_services(configure, vec![files(address)]).await;
    world.authority.store("files", CredentialKind::Bearer, SECRET);
    let writ = everything(&world);
    (world, writ)
}

fn everything(world: &World) -> Writ {
    let capabilities = ["notes:/:/", "files:/:/"].map(|text| text.parse().unwrap()).into();
    world.writ_of(writ::token::chain::Authority { capabilities, ..World::block() })
}
