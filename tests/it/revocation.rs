//! What a revocation kills, and what it leaves alone: on minted and delegated tokens, without a network.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use writ::clock::{Monotonic, Timestamp};
use writ::id::BlockId;
use writ::revocation::{Entry, Lease, Loan, NotLive, RevocationSet, Target, Use};
use writ::token::chain::Authority;
use writ::token::proof::{BearerRule, bear};
use writ::token::verify::current;
use writ::token::{Chain, HeldToken, RawToken};

use crate::tokens::{accepted, at, authority, delegated, expected, keys, minted, new_hop, public, verified};

fn entry(seq: u64, target: Target) -> Entry {
    Entry { seq, target, at: at(0), forget_after: at(3600) }
}

fn revoked(targets: impl IntoIterator<Item = Target>) -> RevocationSet {
    let mut set = RevocationSet::default();
    for (seq, target) in (1..).zip(targets) {
        set.apply(entry(seq, target)).unwrap();
    }
    set
}

fn kills(set: &RevocationSet, token: &RawToken) -> bool {
    set.revokes(&verified(token).unwrap()).is_some()
}

/// root, child (key 2), grandchild (key 3), and another child (key 4) of the same root.
fn family() -> [RawToken; 4] {
    let root = minted(&Authority { epoch: 0, ..authority() });
    let child = delegated(&root, 1, &new_hop(2));
    let grandchild = delegated(&child, 2, &new_hop(3));
    let sibling = delegated(&root, 1, &new_hop(4));
    [root, child, grandchild, sibling]
}

fn deaths(target: Target) -> [bool; 4] {
    let set = revoked([target]);
    family().map(|token| kills(&set, &token))
}

#[test]
fn revoking_the_authority_block_kills_every_descendant() {
    assert_eq!(deaths(Target::Block(authority().id)), [true; 4]);
}

#[test]
fn revoking_a_middle_hop_kills_what_is_below_and_spares_ancestors_and_siblings() {
    assert_eq!(deaths(Target::Block(BlockId::from_bytes([2; 16]))), [false, true, true, false]);
}

#[test]
fn revoking_a_leaf_kills_the_leaf_alone() {
    assert_eq!(deaths(Target::Block(BlockId::from_bytes([3; 16]))), [false, false, true, false]);
}

#[test]
fn revoking_a_key_kills_every_chain_it_stands_in() {
    assert_eq!(deaths(Target::Holder(public(2))), [false, true, true, false]);
    assert_eq!(deaths(Target::Holder(public(1))), [true; 4]);
}

#[test]
fn a_hop_made_after_the_revocation_is_dead_too() {
    let [_, child, ..] = family();
    let set = revoked([Target::Block(BlockId::from_bytes([2; 16]))]);
    assert!(kills(&set, &delegated(&child, 2, &new_hop(9))));
}

#[test]
fn agent_subject_session_tenant_and_everything_kill_what_was_minted_before_and_spare_what_is_minted_later() {
    let session: Option<writ::id::Subject> = Some("sid/1".parse().unwrap());
    let Authority { tenant, subject, agent, .. } = authority();
    for target in [
        Target::Agent(tenant.clone(), agent.clone()),
        Target::Acting(tenant.clone(), agent, subject.clone().unwrap()),
        Target::Subject(tenant.clone(), subject.unwrap()),
        Target::Session(tenant.clone(), session.clone().unwrap()),
        Target::Tenant(tenant),
        Target::Everything,
    ] {
        let set = revoked([Target::Block(BlockId::from_bytes([0xff; 16])), target.clone()]);
        let minted_at = |epoch| minted(&Authority { epoch, session: session.clone(), ..authority() });
        assert!(kills(&set, &minted_at(1)), "{target}");
        assert!(!kills(&set, &minted_at(2)), "{target}");
    }
}

#[test]
fn a_session_kills_neither_the_user_s_other_sessions_nor_what_has_none() {
    let Authority { tenant, .. } = authority();
    let set = revoked([Target::Session(tenant, "sid/1".parse().unwrap())]);
    for session in [None, Some("sid/2".parse().unwrap())] {
        assert!(!kills(&set, &minted(&Authority { epoch: 0, session, ..authority() })));
    }
}

#[test]
fn an_agent_ended_for_one_user_lives_for_others_and_for_itself() {
    let Authority { tenant, subject, agent, .. } = authority();
    let set = revoked([Target::Acting(tenant, agent, subject.clone().unwrap())]);
    assert!(kills(&set, &minted(&Authority { epoch: 0, ..authority() })));
    for other in [None, Some("somebody-else".parse().unwrap())] {
        assert!(!kills(&set, &minted(&Authority { epoch: 0, subject: other, ..authority() })));
    }
    let other = Authority { epoch: 0, agent: "other-agent".parse().unwrap(), ..authority() };
    assert!(!kills(&set, &minted(&other)));
}

/// What kills the use of a service by a writ of epoch 1, with a version of a credential that was stored at `loan`.
fn killed_by(set: &RevocationSet, service: &str, loan: Option<u64>) -> Option<Target> {
    let chain = verified(&minted(&Authority { epoch: 1, ..authority() })).unwrap();
    let loan = loan.map(|epoch| Loan { credential: "notes-key".parse().unwrap(), epoch });
    set.revokes_use(Use { chain: &chain, service: &service.parse().unwrap(), loan: loan.as_ref() })
}

#[test]
fn a_service_kills_its_use_by_older_writs_and_no_writ() {
    let tenant = authority().tenant;
    let target = Target::Service(tenant.clone(), "notes".parse().unwrap());
    let set = revoked([Target::Block(BlockId::from_bytes([0xff; 16])), target.clone()]);
    assert!(!kills(&set, &minted(&Authority { epoch: 0, ..authority() })));
    assert_eq!(killed_by(&set, "notes", None), Some(target.clone()));
    assert_eq!(killed_by(&set, "mail", None), None);
    let before_the_writ = revoked([target]);
    assert_eq!(killed_by(&before_the_writ, "notes", None), None);
    let of_another_tenant =
        revoked([Target::Everything, Target::Service("other".parse().unwrap(), "notes".parse().unwrap())]);
    assert_eq!(killed_by(&of_another_tenant, "notes", None), None);
}

#[test]
fn a_credential_kills_its_older_versions_and_no_writ() {
    let tenant = authority().tenant;
    let target = Target::Credential(tenant, "notes-key".parse().unwrap());
    let set = revoked([Target::Block(BlockId::from_bytes([0xff; 16])), target.clone()]);
    assert_eq!(killed_by(&set, "notes", None), None);
    for (stored, dead) in [(0, true), (1, true), (2, false), (3, false)] {
        assert_eq!(killed_by(&set, "notes", Some(stored)), dead.then(|| target.clone()), "{stored}");
    }
    let of_another_tenant =
        revoked([Target::Everything, Target::Credential("other".parse().unwrap(), "notes-key".parse().unwrap())]);
    assert_eq!(killed_by(&of_another_tenant, "notes", Some(0)), None);
}

#[test]
fn what_kills_a_chain_kills_its_use_too() {
    let set = revoked([Target::Block(authority().id)]);
    assert_eq!(killed_by(&set, "notes", Some(9)), Some(Target::Block(authority().id)));
}

#[test]
fn a_name_in_another_tenant_is_another_name() {
    let Authority { subject, agent, .. } = authority();
    let other: writ::id::TenantName = "other".parse().unwrap();
    for target in
        [Target::Agent(other.clone(), agent), Target::Subject(other.clone(), subject.unwrap()), Target::Tenant(other)]
    {
        assert_eq!(deaths(target), [false; 4]);
    }
}

#[test]
fn a_block_or_key_stays_revoked_for_tokens_minted_later() {
    let late = minted(&Authority { epoch: 1_000_000, ..authority() });
    assert!(kills(&revoked([Target::Holder(public(1))]), &late));
    assert!(kills(&revoked([Target::Block(authority().id)]), &late));
}

#[test]
fn an_entry_that_does_not_continue_the_log_is_refused_and_changes_nothing() {
    let mut set = revoked([Target::Everything]);
    for seq in [0, 1, 3, u64::MAX] {
        assert!(set.apply(entry(seq, Target::Holder(public(1)))).is_err(), "{seq}");
    }
    assert_eq!((set.seq(), set.len()), (1, 1));
}

#[test]
fn forgetting_drops_only_what_can_affect_nothing() {
    let mut set = revoked([Target::Block(authority().id)]);
    set.forget(at(3600));
    assert_eq!(set.len(), 1);
    set.forget(at(3601));
    assert!(set.is_empty());
}

fn held() -> HeldToken {
    let bearer = minted(&Authority { holder: None, epoch: 0, ..authority() });
    bear(accepted(&bearer, at(0)).unwrap(), BearerRule::Accept).unwrap()
}

#[test]
fn without_a_lease_nothing_is_admitted_and_nothing_is_said_about_the_token() {
    let second = Monotonic::from_origin(Duration::from_secs(1));
    let lease = Lease::granted(Monotonic::from_origin(Duration::ZERO), Duration::from_secs(1));
    let empty = RevocationSet::default();
    assert_eq!(empty.admit(held(), &lease, second).unwrap_err(), NotLive::NoLease);
    assert_eq!(revoked([Target::Everything]).admit(held(), &Lease::none(), second).unwrap_err(), NotLive::NoLease);
    let valid = Lease::granted(second, Duration::from_secs(1));
    assert!(empty.admit(held(), &valid, second).is_ok());
    assert_eq!(
        revoked([Target::Everything]).admit(held(), &valid, second).unwrap_err(),
        NotLive::Revoked(Box::new(Target::Everything))
    );
}

#[test]
fn a_cached_chain_does_not_outlive_its_root_key() {
    let chain = Arc::new(verified(&minted(&authority())).unwrap());
    let mut retired = keys();
    retired.keys[0].until = Some(at(10));
    let ask = |now: Timestamp| current(&chain, &retired, &expected(), now).is_ok();
    assert!(ask(at(10)));
    assert!(!ask(at(11)));
}

fn any_target() -> impl Strategy<Value = Target> {
    prop_oneof![
        (0u8..6).prop_map(|id| Target::Block(BlockId::from_bytes([id; 16]))),
        (1u8..6).prop_map(|seed| Target::Holder(public(seed))),
        Just(Target::Agent("acme".parse().unwrap(), "assistant".parse().unwrap())),
        Just(Target::Everything),
    ]
}

proptest! {
    /// However entries reach the set, by delta or by snapshot, and however often, they kill the same.
    #[test]
    fn a_snapshot_says_what_its_deltas_said(targets in proptest::collection::vec(any_target(), 0..8), epoch in 0u64..8) {
        let deltas = revoked(targets.clone());
        let entries = (1..).zip(targets.clone()).map(|(seq, target)| entry(seq, target));
        let snapshot = RevocationSet::from_snapshot(targets.len() as u64, entries);
        let root = minted(&Authority { epoch, ..authority() });
        let chain: Chain = verified(&delegated(&root, 1, &new_hop(2))).unwrap();
        prop_assert_eq!(deltas.revokes(&chain), snapshot.revokes(&chain));
        prop_assert_eq!(deltas.seq(), snapshot.seq());
    }

    /// A revocation is never taken back: what is dead stays dead, whatever is revoked next.
    #[test]
    fn more_entries_never_bring_a_token_back(targets in proptest::collection::vec(any_target(), 1..8), epoch in 0u64..8) {
        let root = minted(&Authority { epoch, ..authority() });
        let chain = verified(&delegated(&root, 1, &new_hop(2))).unwrap();
        let mut set = RevocationSet::default();
        let mut dead = false;
        for (seq, target) in (1..).zip(targets) {
            set.apply(entry(seq, target)).unwrap();
            prop_assert!(!dead || set.revokes(&chain).is_some());
            dead = set.revokes(&chain).is_some();
        }
    }
}
