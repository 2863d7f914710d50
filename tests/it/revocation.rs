//! What a revocation kills, and what it leaves alone: on minted and delegated tokens, without a network.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use writ::clock::{Monotonic, Timestamp};
use writ::id::{BlockId, GrantId};
use writ::revocation::{Entry, Lease, Loan, NotLive, RevocationSet, Statement, Target, Use};
use writ::token::chain::Authority;
use writ::token::hop::NewHop;
use writ::token::proof::{BearerRule, bear};
use writ::token::verify::current;
use writ::token::{Chain, HeldToken, RawToken};

use crate::tokens::{accepted, at, authority, delegated, expected, hop_id, keys, minted, new_hop, public, verified};

fn entry(seq: u64, target: Target) -> Entry {
    Entry { seq, target, at: at(0), forget_after: at(3600) }
}

fn revoked(targets: impl IntoIterator<Item = Target>) -> RevocationSet {
    let mut set = RevocationSet::default();
    for (seq, target) in (1..).zip(targets) {
        set.apply(&one(seq, target)).unwrap();
    }
    set
}

/// The statement of the entry at `seq` alone.
fn one(seq: u64, target: Target) -> Statement {
    Statement::of(seq - 1, seq, [entry(seq, target)])
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
    assert_eq!(deaths(Target::Block(hop_id(1, 2))), [false, true, true, false]);
}

#[test]
fn revoking_a_leaf_kills_the_leaf_alone() {
    assert_eq!(deaths(Target::Block(hop_id(2, 3))), [false, false, true, false]);
}

/// A holder chooses the `id` of its hops. One that copies an ancestor's or a sibling's names its own hop all the same.
#[test]
fn a_hop_that_copies_the_id_of_another_block_dies_alone() {
    let [root, child, grandchild, sibling] = family();
    let copies = |id: BlockId| delegated(&child, 2, &NewHop { id, ..new_hop(8) });
    for id in [authority().id, hop_id(1, 2), BlockId::from_bytes([2; 16]), BlockId::from_bytes([4; 16])] {
        let imitation = copies(id);
        let last = verified(&imitation).unwrap().block_ids().last().unwrap();
        let set = revoked([Target::Block(last)]);
        assert!(kills(&set, &imitation));
        for spared in [&root, &child, &grandchild, &sibling] {
            assert!(!kills(&set, spared), "{id}");
        }
    }
}

#[test]
fn revoking_a_key_kills_every_chain_it_stands_in() {
    assert_eq!(deaths(Target::Holder(public(2))), [false, true, true, false]);
    assert_eq!(deaths(Target::Holder(public(1))), [true; 4]);
}

#[test]
fn a_hop_made_after_the_revocation_is_dead_too() {
    let [_, child, ..] = family();
    let set = revoked([Target::Block(hop_id(1, 2))]);
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
    for seq in [1, 3, u64::MAX] {
        assert!(set.apply(&one(seq, Target::Holder(public(1)))).is_err(), "{seq}");
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

/// What the set says, by the words of the specification alone: no table, no note, no name that is hashed.
fn kills_by_the_book(entries: &[Entry], used: Use<'_>) -> bool {
    let authority = used.chain.authority();
    entries.iter().any(|entry| {
        let older = entry.seq > authority.epoch;
        match &entry.target {
            Target::Block(id) => used.chain.block_ids().any(|block| block == *id),
            Target::Holder(key) => used.chain.holders().any(|holder| holder == *key),
            Target::Subject(tenant, name) => {
                older && *tenant == authority.tenant && authority.subject.as_ref() == Some(name)
            }
            Target::Session(tenant, name) => {
                older && *tenant == authority.tenant && authority.session.as_ref() == Some(name)
            }
            Target::Agent(tenant, name) => older && *tenant == authority.tenant && authority.agent == *name,
            Target::Acting(tenant, agent, name) => {
                older
                    && *tenant == authority.tenant
                    && authority.agent == *agent
                    && authority.subject.as_ref() == Some(name)
            }
            Target::Grant(id) => older && authority.grants.contains(id),
            Target::Service(tenant, name) => older && *tenant == authority.tenant && used.service == name,
            Target::Credential(tenant, name) => {
                let loan = used.loan.filter(|loan| loan.credential == *name && entry.seq > loan.epoch);
                *tenant == authority.tenant && loan.is_some()
            }
            Target::Tenant(tenant) => older && *tenant == authority.tenant,
            Target::Everything => older,
        }
    })
}

fn any_entry() -> impl Strategy<Value = Target> {
    let tenant =
        || prop_oneof![Just("acme"), Just("other")].prop_map(|tenant| tenant.parse::<writ::id::TenantName>().unwrap());
    let name = || prop_oneof![Just("alice"), Just("assistant"), Just("notes"), Just("notes-key"), Just("a")];
    prop_oneof![
        4 => any_target(),
        1 => (tenant(), name()).prop_map(|(tenant, name)| Target::Subject(tenant, name.parse().unwrap())),
        1 => (tenant(), name()).prop_map(|(tenant, name)| Target::Session(tenant, name.parse().unwrap())),
        1 => (tenant(), name()).prop_map(|(tenant, name)| Target::Agent(tenant, name.parse().unwrap())),
        1 => (tenant(), name(), name()).prop_map(|(tenant, agent, name)| {
            Target::Acting(tenant, agent.parse().unwrap(), name.parse().unwrap())
        }),
        1 => (tenant(), name()).prop_map(|(tenant, name)| Target::Service(tenant, name.parse().unwrap())),
        1 => (tenant(), name()).prop_map(|(tenant, name)| Target::Credential(tenant, name.parse().unwrap())),
        1 => (0u8..3).prop_map(|id| Target::Grant(GrantId::from_bytes([id; 16]))),
        1 => tenant().prop_map(Target::Tenant),
    ]
}

/// One step of an edge's life.
#[derive(Clone, Debug)]
enum Step {
    /// The next entry reaches one of two sets.
    Entry(bool, Target),
    /// One of two sets is asked about one of the chains.
    Ask(bool, usize),
    Forget,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (any::<bool>(), any_entry()).prop_map(|(set, target)| Step::Entry(set, target)),
        3 => (any::<bool>(), 0usize..4).prop_map(|(set, chain)| Step::Ask(set, chain)),
        1 => Just(Step::Forget),
    ]
}

/// The chains that the properties below are asked about, read once: reading them costs more than all the rest.
fn chains() -> &'static [Arc<Chain>; 4] {
    static CHAINS: std::sync::OnceLock<[Arc<Chain>; 4]> = std::sync::OnceLock::new();
    CHAINS.get_or_init(|| {
        let root = |epoch| {
            let session = Some("a".parse().unwrap());
            minted(&Authority { epoch, session, grants: vec![GrantId::from_bytes([1; 16])], ..authority() })
        };
        let read = |token: &RawToken| Arc::new(verified(token).unwrap());
        [
            read(&root(0)),
            read(&root(4)),
            read(&delegated(&root(2), 1, &new_hop(2))),
            read(&delegated(&root(9), 1, &new_hop(3))),
        ]
    })
}

proptest! {
    /// A note that a chain was found live never outlives the entry that kills it, however entries and questions alternate,
    /// also where two sets are asked about the same chain.
    #[test]
    fn a_chain_that_was_found_live_is_dead_with_the_entry_that_kills_it(
        steps in proptest::collection::vec(any_step(), 1..60),
        epoch in 0u64..20,
    ) {
        let mut sets = [RevocationSet::for_log(), RevocationSet::default()];
        let mut logs = [Vec::new(), Vec::new()];
        let start = Monotonic::from_origin(Duration::ZERO);
        let lease = Lease::granted(start, Duration::from_secs(1));
        let loan = Loan { credential: "notes-key".parse().unwrap(), epoch };
        let service = "notes".parse().unwrap();
        for step in steps {
            match step {
                Step::Entry(which, target) => {
                    let which = usize::from(which);
                    let seq = sets[which].seq() + 1;
                    sets[which].apply(&one(seq, target.clone())).unwrap();
                    logs[which].push(entry(seq, target));
                }
                Step::Ask(which, chain) => {
                    let (set, log) = (&sets[usize::from(which)], &logs[usize::from(which)]);
                    let chain = &chains()[chain];
                    let used = Use { chain, service: &service, loan: Some(&loan) };
                    let noted = set.check_use(used, &lease, start);
                    let looked_up = set.revokes_use(used);
                    prop_assert_eq!(noted.is_err(), looked_up.is_some());
                    prop_assert_eq!(looked_up.is_some(), kills_by_the_book(log, used), "{:?}", log);
                    prop_assert_eq!(set.check(chain, &lease, start).is_err(), set.revokes(chain).is_some());
                }
                Step::Forget => sets.iter_mut().for_each(|set| set.forget(at(3600))),
            }
        }
    }

    /// The few entries that the authority asks its store for say the same as the whole log.
    #[test]
    fn the_targets_of_a_use_are_all_that_can_end_it(targets in proptest::collection::vec(any_entry(), 0..12), chain in 0usize..4, epoch in 0u64..12) {
        let loan = Loan { credential: "notes-key".parse().unwrap(), epoch };
        let service = "notes".parse().unwrap();
        let used = Use { chain: &chains()[chain], service: &service, loan: Some(&loan) };
        let log: Vec<Entry> = (1..).zip(targets).map(|(seq, target)| entry(seq, target)).collect();
        let asked = used.targets();
        let few: Vec<Entry> = log.iter().filter(|entry| asked.contains(&entry.target)).cloned().collect();
        prop_assert_eq!(kills_by_the_book(&log, used), kills_by_the_book(&few, used));
    }

    /// However entries reach the set, one by one or in pages, of which parts may be forgotten already, they kill the same.
    #[test]
    fn a_page_says_what_its_entries_said(targets in proptest::collection::vec(any_entry(), 0..12), cut in 0usize..12, chain in 0usize..4) {
        let chain = &chains()[chain];
        let single = revoked(targets.clone());
        let entries: Vec<Entry> = (1..).zip(targets).map(|(seq, target)| entry(seq, target)).collect();
        let (head, cut) = (entries.len() as u64, cut.min(entries.len()));
        let mut pages = RevocationSet::for_log();
        pages.apply(&Statement::of(0, cut as u64, entries[..cut].to_vec())).unwrap();
        pages.apply(&Statement::of(cut as u64, head, entries[cut..].to_vec())).unwrap();
        prop_assert_eq!(single.revokes(chain), pages.revokes(chain));
        prop_assert_eq!((single.seq(), single.len()), (pages.seq(), pages.len()));
    }

    /// A revocation is never taken back: what is dead stays dead, whatever is revoked next.
    #[test]
    fn more_entries_never_bring_a_token_back(targets in proptest::collection::vec(any_target(), 1..8), epoch in 0u64..8) {
        let root = minted(&Authority { epoch, ..authority() });
        let chain = verified(&delegated(&root, 1, &new_hop(2))).unwrap();
        let mut set = RevocationSet::default();
        let mut dead = false;
        for (seq, target) in (1..).zip(targets) {
            set.apply(&one(seq, target)).unwrap();
            prop_assert!(!dead || set.revokes(&chain).is_some());
            dead = set.revokes(&chain).is_some();
        }
    }
}
