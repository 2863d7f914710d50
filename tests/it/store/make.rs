//! Things to put into a store.

use writ::audit::event::{Decision, Event, What, Who};
use writ::audit::{Actor, Change, Head, Record, Source, Verdict};
use writ::clock::Timestamp;
use writ::id::{BlockId, GrantId, RequestId};
use writ::key::{KeyPair, PublicKey};
use writ::policy::grant::GrantSubject;
use writ::policy::{Grant, Role};
use writ::revocation::Target;
use writ::store::{
    Agent, AgentStatus, AuditQuery, CredentialKey, CredentialRecord, Edge, Installation, IssuedWrit, JoinTicket,
    NewRevocation, Operator, RootKeyRecord, Store,
};
use writ::token::chain::ProofCovers;
use writ::vault::{CredentialKind, Sealed};

pub(crate) const AT: Timestamp = Timestamp::from_secs(1_800_000_000);
pub(crate) const LATER: Timestamp = Timestamp::from_secs(1_800_000_600);

pub(crate) fn name<T: std::str::FromStr>(text: &str) -> T
where
    T::Err: std::fmt::Debug,
{
    text.parse().unwrap()
}

pub(crate) fn key(n: u8) -> PublicKey {
    KeyPair::from_seed(&[n; 32]).public()
}

pub(crate) fn change(action: &str, object: &str) -> Change {
    Change {
        actor: Actor::Operator(name("olga")),
        action: action.into(),
        object: object.into(),
        tenant: Some(name("acme")),
        detail: serde_json::Map::new(),
    }
}

pub(crate) fn event() -> Change {
    change("test", "thing")
}

pub(crate) fn agent(text: &str, n: u8) -> Agent {
    Agent {
        tenant: name("acme"),
        name: name(text),
        key: Some(key(n)),
        key_until: None,
        status: AgentStatus::Active,
        created: AT,
        owner: None,
        purpose: None,
    }
}

pub(crate) fn grant(n: u8, agent: &str) -> Grant {
    Grant {
        id: GrantId::from_bytes([n; 16]),
        tenant: name("acme"),
        to: GrantSubject {
            agent: name(agent),
            subject: n.is_multiple_of(2).then(|| name("alice@example.com")),
            group: (n == 3).then(|| name("staff")),
        },
        capabilities: vec![name("notes:read:team"), name("mail:send:team/a")],
        ttl_s_max: 600,
        depth_max: 3,
        bearer: n == 3,
        proof_covers: ProofCovers { query: n == 1, body: false },
    }
}

pub(crate) fn issued(n: u8) -> IssuedWrit {
    IssuedWrit {
        id: BlockId::from_bytes([n; 16]),
        tenant: name("acme"),
        agent: name("a"),
        subject: Some(name("ünï code / \"quoted\" %_")),
        session: n.is_multiple_of(2).then(|| name("session/1")),
        grants: vec![GrantId::from_bytes([1; 16]), GrantId::from_bytes([2; 16])],
        issued: AT,
        expires: LATER,
        epoch: 7,
        holder: Some(key(n)),
        services: Some(vec![name("mail"), name("notes")]),
    }
}

pub(crate) fn sealed(n: u8) -> Sealed {
    Sealed {
        kek: format!("kek{n}").into(),
        wrapped_key: format!("wrapped{n}").into(),
        ciphertext: format!("text{n}").into(),
    }
}

pub(crate) fn installation() -> Installation {
    Installation {
        issuer: "https://writ.example".into(),
        kek_check: sealed(1),
        authority_key: key(100),
        authority_seed: sealed(2),
        created: AT,
    }
}

pub(crate) fn root(id: u32) -> RootKeyRecord {
    RootKeyRecord {
        id,
        key: key(u8::try_from(id).unwrap()),
        seed: sealed(3),
        created: AT,
        signs_from: LATER,
        until: None,
    }
}

pub(crate) fn operator(text: &str, n: u8) -> Operator {
    Operator { name: name(text), role: Role::Admin, person: None, secret_sha256: [n; 32], created: AT }
}

pub(crate) fn credential_key(text: &str, subject: Option<&str>) -> CredentialKey {
    CredentialKey { tenant: name("acme"), name: name(text), subject: subject.map(name) }
}

pub(crate) fn credential(key: CredentialKey, version: u32) -> CredentialRecord {
    let kind = CredentialKind::Header { name: "x-api-key".into() };
    CredentialRecord { key, kind, sealed: sealed(1), version, updated: AT, stored_epoch: 0 }
}

pub(crate) fn ticket(n: u8, edge: &str) -> JoinTicket {
    JoinTicket { secret_sha256: [n; 32], name: name(edge), audience: name("prod"), expires: LATER }
}

pub(crate) fn edge(text: &str, n: u8) -> Edge {
    Edge {
        name: name(text),
        key: key(n),
        audience: name("prod"),
        origin: format!("https://{text}.example").into(),
        nonce: false,
        joined: AT,
    }
}

pub(crate) fn revocation(target: Target) -> NewRevocation {
    NewRevocation { target, forget_after: LATER, at: AT, idempotency_key: None }
}

pub(crate) fn block(n: u8) -> BlockId {
    BlockId::from_bytes([n; 16])
}

/// A decision with everything that a query can name.
pub(crate) fn decision(n: u8, verdict: Verdict) -> Event {
    let who = Who {
        tenant: name("acme"),
        subject: Some(name("alice")),
        session: Some(name("corp/session-1")),
        agent: name("bot"),
        holders: vec![key(1), key(2)],
        called: vec![None],
        blocks: vec![block(1), block(n)],
        grants: vec![GrantId::from_bytes([1; 16])],
        token_sha256: "0".repeat(64).into(),
        root_key_id: 1,
        epoch: Some(2),
    };
    Event::Decision(Box::new(Decision {
        request: RequestId::from_bytes([n; 16]),
        verdict,
        reason: "allowed".into(),
        detail: Some("with \u{0} a control character, a \"quote\" and ünïcode".into()),
        who: Some(who.into()),
        method: "GET".into(),
        path: "/notes/1".into(),
        what: Some(What {
            service: name("notes"),
            action: name("read"),
            resource: name("team/a"),
            arguments: vec![],
            notes: vec![],
        }),
        capability: Some(name("notes:read:team")),
        also: Vec::new(),
        credential: None,
        policy: None,
        approval: None,
        revocation_seq: 3,
        proof: None,
        by_connection: false,
        client: None,
    }))
}

/// The records that follow `head` in an edge's journal.
pub(crate) fn journal(source: &Source, head: &Head, events: impl IntoIterator<Item = Event>) -> Vec<Record> {
    let mut head = head.clone();
    let mut records = Vec::new();
    for event in events {
        let record = Record::after(&head, source.clone(), AT, &event);
        head = record.head();
        records.push(record);
    }
    records
}

pub(crate) fn everything() -> AuditQuery {
    AuditQuery { limit: 1000, ..AuditQuery::default() }
}

/// The actions and objects in the authority's chain, after checking that it is whole.
pub(crate) async fn changes(store: &dyn Store) -> Vec<String> {
    let query = AuditQuery { source: Some(Source::Authority), ..everything() };
    let mut head = Head::empty();
    let mut changes = Vec::new();
    for (_, record) in store.audit(&query).await.unwrap() {
        record.follows(&head).unwrap();
        head = record.head();
        match serde_json::from_str(record.event.get()).unwrap() {
            Event::Change(change) => changes.push(format!("{} {}", change.action, change.object)),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(store.audit_head(&Source::Authority).await.unwrap(), head);
    changes
}
