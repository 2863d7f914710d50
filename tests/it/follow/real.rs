//! The edge's side and the real authority: the same promises, without a double.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::task::JoinHandle;
use writ::audit::Source;
use writ::clock::{Clock, SystemClock};
use writ::dial::TrustedRoots;
use writ::edge::channel::{Channel, ChannelError};
use writ::edge::follow::{FollowLimits, Follower};
use writ::edge::join::{Address, JoinError, Joined, Rejoin};
use writ::edge::journal::{Journal, Settings};
use writ::edge::knowledge::Knowledge;
use writ::edge::lend::{LendError, LendLimits, Lender};
use writ::edge::ship::{ShipLimits, Shipper, stored_head};
use writ::edge::streams::CutReason;
use writ::id::RequestId;
use writ::policy::permit::{NotClear, Permit, authorize};
use writ::revocation::{Entry, NotLive};
use writ::token::proof::{NonceRule, ProvenRequest, hold, make};
use writ::token::verify::current;
use writ::token::{Chain, HeldToken, Limits, Operation, RawToken, verify};
use writ::wire::refusal::WRIT_REFUSED;
use writ::wire::{LendReply, LendRequest};

use super::{eventually, ship};
use crate::store::{Database, for_every_backend};
use crate::support::authority::{TestAgent, TestAuthority, WITHIN, random, start};

for_every_backend!(
    a_ticket_makes_an_edge_once,
    a_receipt_waits_for_the_last_open_request_of_what_it_revokes,
    a_rotated_credential_replaces_the_one_that_is_kept,
    a_withdrawn_writ_is_lent_nothing,
    a_revoked_credential_is_lent_again_once_a_new_version_is_stored,
    a_writ_is_lent_nothing_at_a_service_that_was_revoked,
    a_journal_arrives_once,
    a_removed_edge_serves_no_longer_than_its_lease,
);

/// An edge that joined by a ticket and follows.
struct RealEdge {
    joined: Joined,
    channel: Arc<Channel>,
    knowledge: Arc<Knowledge>,
    lender: Arc<Lender>,
    following: JoinHandle<()>,
}

impl Drop for RealEdge {
    fn drop(&mut self) {
        self.following.abort();
    }
}

async fn join(test: &TestAuthority, dir: &Path, name: &str) -> Result<Joined, JoinError> {
    let ticket = test.ticket(name).await;
    let address = Address { origin: format!("https://{name}.example").into(), nonce: false };
    Joined::join(dir, &ticket, address, &TrustedRoots::web(), test.clock.clone(), Rejoin::Refuse).await
}

async fn edge(test: &TestAuthority, dir: &Path) -> RealEdge {
    let joined = join(test, dir, "edge-1").await.unwrap();
    let clock = test.clock.clone();
    let channel = Arc::new(joined.channel(&TrustedRoots::web(), &[], clock.clone()).unwrap());
    let knowledge = Arc::new(Knowledge::new(clock.clone()));
    let lender = Arc::new(Lender::new(channel.clone(), clock.clone(), LendLimits::default()));
    let follower = Follower::new(
        channel.clone(),
        knowledge.clone(),
        lender.clone(),
        joined.expected(),
        clock.clone(),
        FollowLimits::default(),
    );
    let following = tokio::spawn(follower.run());
    eventually("a lease", || knowledge.lease_holds()).await;
    RealEdge { joined, channel, knowledge, lender, following }
}

struct Shown {
    raw: RawToken,
    chain: Arc<Chain>,
}

impl RealEdge {
    fn shown(&self, writ: &str) -> Shown {
        let limits = Limits::default();
        let raw = RawToken::parse(writ, &limits).unwrap();
        let settings = self.knowledge.settings().unwrap();
        let chain = Arc::new(verify(&raw, &settings.root_keys, &limits).unwrap());
        Shown { raw, chain }
    }

    fn held(&self, test: &TestAuthority, agent: &TestAgent, shown: &Shown) -> HeldToken {
        let settings = self.knowledge.settings().unwrap();
        let now = test.clock.now();
        let token = current(&shown.chain, &settings.root_keys, &settings.expected, now).unwrap();
        let url = "https://edge-1.example/notes/team";
        let request = ProvenRequest { method: "GET", url, query: None, body_sha256: None };
        let covers = shown.chain.authority().proof_covers;
        let proof = make(&agent.key, &request, Some(shown.raw.digest()), covers, None, &random(), now);
        hold(token, &proof, &request, NonceRule::Optional, now).unwrap()
    }

    fn permit(&self, test: &TestAuthority, agent: &TestAgent, shown: &Shown) -> Result<Permit, NotLive> {
        let live = self.knowledge.admit(self.held(test, agent, shown))?;
        let operation = Operation {
            service: "notes".parse().unwrap(),
            action: "read".parse().unwrap(),
            resource: "team".parse().unwrap(),
            method: "GET".into(),
            arguments: Vec::new(),
        };
        Ok(authorize(
            live,
            operation.into(),
            &writ::policy::rules::Rules::built_in(),
            writ::policy::Facts::at(test.clock.now()),
        )
        .unwrap())
    }

    async fn lend(&self, shown: &Shown) -> Result<String, LendError> {
        let request = RequestId::from_bytes(random());
        let lent = self.lender.lend(shown.raw.shown(), &shown.chain, &"notes".parse().unwrap(), request).await?;
        Ok(lent.lent().secret.expose().clone())
    }
}

/// The service `notes`, an edge that follows, and a writ for it at that edge.
struct Stage {
    test: TestAuthority,
    edge: RealEdge,
    agent: TestAgent,
    shown: Shown,
    _dir: tempfile::TempDir,
}

async fn staged(database: &Database, secret: &str) -> Stage {
    let test = start(database).await;
    test.notes(secret).await;
    let dir = crate::canaries::folder();
    let edge = edge(&test, dir.path()).await;
    let (agent, _) = test.granted("planner", "notes:read:team").await;
    let shown = edge.shown(&test.writ(&agent, "notes:read:team").await);
    Stage { test, edge, agent, shown, _dir: dir }
}

async fn a_ticket_makes_an_edge_once(database: &Database) {
    let test = start(database).await;
    let (first, second) = (crate::canaries::folder(), crate::canaries::folder());
    let ticket = test.ticket("edge-1").await;
    let address = || Address { origin: "https://edge-1.example".into(), nonce: false };
    let join = |dir: &Path| {
        let (clock, dir) = (test.clock.clone(), dir.to_owned());
        let ticket = &ticket;
        async move { Joined::join(&dir, ticket, address(), &TrustedRoots::web(), clock, Rejoin::Refuse).await }
    };
    let joined = join(first.path()).await.unwrap();
    assert_eq!(joined.membership.name.as_str(), "edge-1");
    let error = join(second.path()).await.unwrap_err();
    assert!(matches!(error, JoinError::Ticket), "{error}");
    // The edge that used it up and lost what it kept of it is known by its key.
    std::fs::remove_file(first.path().join("edge.json")).unwrap();
    assert_eq!(join(first.path()).await.unwrap().membership, joined.membership);
}

async fn a_receipt_waits_for_the_last_open_request_of_what_it_revokes(database: &Database) {
    let Stage { test, edge, agent, shown, .. } = &staged(database, "secret-of-notes").await;
    let waiting = edge.permit(test, agent, shown).unwrap();
    let (_, open) = edge.knowledge.clear(edge.permit(test, agent, shown).unwrap(), None).unwrap();

    let revoking = test.post("/v1/revocations", json!({ "target": "agent:default/planner" }));
    tokio::pin!(revoking);
    tokio::select! {
        early = &mut revoking => panic!("a receipt while the request was open: {early:?}"),
        reason = open.cut() => assert!(matches!(reason, CutReason::Revoked(_))),
    }
    let early = tokio::time::timeout(Duration::from_millis(300), &mut revoking).await;
    assert!(early.is_err(), "a receipt while the request was open");
    drop(open);
    let receipt = revoking.await.ok();
    assert_eq!(receipt["edges"][0]["how"], "acknowledged");
    assert!(matches!(edge.knowledge.clear(waiting, None).unwrap_err().1, NotClear::NotLive(NotLive::Revoked(_))));
    assert!(matches!(edge.permit(test, agent, shown), Err(NotLive::Revoked(_))));
}

async fn a_rotated_credential_replaces_the_one_that_is_kept(database: &Database) {
    let Stage { test, edge, shown, .. } = &staged(database, "first-secret").await;
    assert_eq!(edge.lend(shown).await.as_deref(), Ok("first-secret"));
    let version = edge.knowledge.settings_version();
    test.notes("second-secret").await;
    eventually("the change", || edge.knowledge.settings_version() > version).await;
    eventually("the second secret's turn", || edge.lender.kept() == 0).await;
    assert_eq!(edge.lend(shown).await.as_deref(), Ok("second-secret"));
}

async fn a_withdrawn_writ_is_lent_nothing(database: &Database) {
    let Stage { test, edge, shown, .. } = &staged(database, "secret-of-notes").await;
    test.post("/v1/revocations", json!({ "target": "agent:default/planner" })).await.ok();
    // The edge's own check is left out: the authority does not take its word.
    assert!(matches!(edge.lend(shown).await, Err(LendError::Refused(_))));
}

async fn a_revoked_credential_is_lent_again_once_a_new_version_is_stored(database: &Database) {
    let Stage { test, edge, shown, .. } = &staged(database, "first-secret").await;
    assert_eq!(edge.lend(shown).await.as_deref(), Ok("first-secret"));
    let receipt = test.post("/v1/revocations", json!({ "target": "credential:default/notes-key" })).await.ok();
    assert_eq!(receipt["edges"][0]["how"], "acknowledged");
    assert_eq!(edge.lender.kept(), 0);
    assert_eq!(edge.lend(shown).await, Err(LendError::NoCredential));
    test.notes("second-secret").await;
    assert_eq!(edge.lend(shown).await.as_deref(), Ok("second-secret"));
    let entry = test.store.revocations_after(0, 10).await.unwrap().pop().unwrap();
    assert_eq!(entry.forget_after, Entry::FOREVER, "what was stored once may be there for ever");
}

async fn a_writ_is_lent_nothing_at_a_service_that_was_revoked(database: &Database) {
    let Stage { test, edge, agent, shown, .. } = &staged(database, "first-secret").await;
    test.post("/v1/revocations", json!({ "target": "service:default/mail" })).await.ok();
    assert!(edge.lend(shown).await.is_ok());
    test.post("/v1/revocations", json!({ "target": "service:default/notes" })).await.ok();
    // What is kept may be lent, and is not cleared for the old writ.
    let fresh = edge.shown(&test.writ(agent, "notes:read:team").await);
    assert!(edge.lend(&fresh).await.is_ok());
    let permit = edge.permit(test, agent, shown).unwrap();
    assert!(matches!(edge.knowledge.clear(permit, None).unwrap_err().1, NotClear::NotLive(NotLive::Revoked(_))));
    let question = LendRequest {
        token: shown.raw.text().into(),
        service: "notes".parse().unwrap(),
        request: RequestId::from_bytes(random()),
    };
    let answer = edge.channel.call::<_, LendReply>("/v1/edge/lend", &question, WITHIN).await;
    let Err(ChannelError::Refused { refusal, .. }) = answer else { panic!("lent") };
    assert_eq!(&*refusal.code, WRIT_REFUSED);
}

async fn a_journal_arrives_once(database: &Database) {
    let test = start(database).await;
    let dir = crate::canaries::folder();
    let edge = edge(&test, dir.path()).await;
    let source = Source::Edge(edge.joined.membership.name.clone());
    let journal = |stored: Option<&_>| {
        let place = dir.path().join("journal");
        Journal::open(&place, source.clone(), stored, Arc::new(SystemClock), Settings::default()).unwrap().0
    };
    assert_eq!(stored_head(&edge.channel, WITHIN).await.unwrap().seq, 0);
    for round in 0..2 {
        let journal = journal(None);
        ship::append(&journal, 10 * round..10 * round + 10).await;
        let limits = ShipLimits { records_max: 3, ..ShipLimits::default() };
        let shipper = Shipper::new(edge.channel.clone(), journal.clone(), source.clone(), test.clock.clone(), limits);
        shipper.flush().await.unwrap();
        assert_eq!(journal.unshipped_bytes(), 0);
    }
    assert_eq!(stored_head(&edge.channel, WITHIN).await.unwrap().seq, 20);
    let checkpoints = test.store.checkpoints(&source).await.unwrap();
    assert!(checkpoints.iter().all(|checkpoint| checkpoint.verify().is_ok()) && checkpoints.len() == 8);
}

async fn a_removed_edge_serves_no_longer_than_its_lease(database: &Database) {
    let test = start(database).await;
    let dir = crate::canaries::folder();
    let edge = edge(&test, dir.path()).await;
    test.call(Method::DELETE, "/v1/edges/edge-1", None).await.ok();
    test.let_time_pass(eventually("the end of its lease", || !edge.knowledge.lease_holds())).await;
    assert!(join(&test, dir.path(), "edge-1").await.is_err_and(|error| matches!(error, JoinError::Already { .. })));
}
