//! Group E at the edge: who is dead with what, whether the edge had verified and served the chain before or never saw it.

use writ::id::BlockId;
use writ::revocation::Target;
use writ::token::chain::Authority;
use writ::token::hop::{self, Narrowing, NewHop};
use writ::token::{Hop, Limits, RawToken};

use super::Siege;
use crate::edge::{World, Writ, random};
use crate::tokens::{pair, public};

const PATH: &str = "/notes/notes/7";

/// The writ in the next holder's hands, and the id of the hop.
fn handed_on(writ: &Writ, to: u8) -> (Writ, BlockId) {
    let id = BlockId::from_bytes(random());
    let hop = NewHop {
        holder: public(to),
        id,
        expires: writ.block.expires,
        not_before: None,
        agent: None,
        narrowing: Narrowing::default(),
    };
    let token = hop::delegate(&writ.token, &writ.holder, &hop, &random(), &Limits::default()).unwrap();
    let id = Hop::id_of(&writ.holder.public(), id, &hop.holder);
    (held(writ, token, to), id)
}

fn held(writ: &Writ, token: RawToken, by: u8) -> Writ {
    Writ { token, holder: pair(by), covers: writ.covers, block: writ.block.clone(), origin: writ.origin.clone() }
}

/// An agent's writ, the hops below it, and one beside them.
struct Family {
    root: Writ,
    child: Writ,
    child_id: BlockId,
    grandchild: Writ,
    grandchild_id: BlockId,
    sibling: Writ,
}

impl Family {
    fn new(world: &World) -> Self {
        let root = world.writ();
        let (child, child_id) = handed_on(&root, 2);
        let (grandchild, grandchild_id) = handed_on(&child, 3);
        let (sibling, _) = handed_on(&root, 4);
        Self { root, child, child_id, grandchild, grandchild_id, sibling }
    }

    fn members(&self) -> [(&'static str, &Writ); 4] {
        [("root", &self.root), ("child", &self.child), ("grandchild", &self.grandchild), ("sibling", &self.sibling)]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_kills_what_it_names_whether_the_edge_had_seen_it_or_not() {
    const ALL: &[&str] = &["root", "child", "grandchild", "sibling"];
    type Of = fn(&Family) -> Target;
    let cases: [(&str, Of, &[&str]); 9] = [
        ("the authority block", |family| Target::Block(family.root.block.id), ALL),
        ("a middle hop", |family| Target::Block(family.child_id), &["child", "grandchild"]),
        ("a leaf", |family| Target::Block(family.grandchild_id), &["grandchild"]),
        ("the agent's key", |_| Target::Holder(public(1)), ALL),
        ("a middle holder's key", |_| Target::Holder(public(2)), &["child", "grandchild"]),
        ("the agent", |_| Target::Agent("acme".parse().unwrap(), "assistant".parse().unwrap()), ALL),
        ("the user", |_| Target::Subject("acme".parse().unwrap(), "alice".parse().unwrap()), ALL),
        ("the tenant", |_| Target::Tenant("acme".parse().unwrap()), ALL),
        ("everything", |_| Target::Everything, ALL),
    ];
    for (name, target, dead) in cases {
        for seen_before in [true, false] {
            let world = World::start().await;
            let family = Family::new(&world);
            let mut siege = Siege::of(&world);
            if seen_before {
                for (who, writ) in family.members() {
                    siege.served(&format!("{who} before {name} is revoked"), writ.get(PATH)).await;
                }
            }
            world.authority.revoke(target(&family)).await;
            for (who, writ) in family.members() {
                let what = format!("{who} after {name} was revoked, seen before: {seen_before}");
                if dead.contains(&who) {
                    siege.repelled(&what, writ.get(PATH), 401, "revoked").await;
                } else {
                    siege.served(&what, writ.get(PATH)).await;
                }
            }
            siege.over().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_is_made_of_a_dead_writ_lives() {
    let world = World::start().await;
    let family = Family::new(&world);
    let mut siege = Siege::of(&world);
    siege.served("the child before", family.child.get(PATH)).await;
    world.authority.revoke(Target::Block(family.child_id)).await;

    let (later, _) = handed_on(&family.child, 5);
    siege.repelled("a hop made after the revocation", later.get(PATH), 401, "revoked").await;
    let narrowing = Narrowing { checks: vec![r#"check if method("GET")"#.into()], ..Narrowing::default() };
    let narrowed = hop::narrow(&family.child.token, &narrowing, &random(), &Limits::default()).unwrap();
    siege.repelled("a narrowing", held(&family.child, narrowed, 2).get(PATH), 401, "revoked").await;
    let sealed = hop::seal(&family.child.token, &Limits::default()).unwrap();
    siege.repelled("a seal", held(&family.child, sealed, 2).get(PATH), 401, "revoked").await;
    let again = appended_again(&family.root.token, &family.child.token);
    assert_ne!(again.text(), family.child.token.text());
    siege
        .repelled("the same hop with another signature", held(&family.child, again, 2).get(PATH), 401, "revoked")
        .await;

    // The parent's token lies in the child's, its key does not.
    let stolen = held(&family.child, family.root.token.clone(), 2);
    siege.repelled("the parent's token without its key", stolen.get(PATH), 401, "proof_key").await;
    siege.served("the parent with its key", family.root.get(PATH)).await;
    siege.over().await;
}

/// The child's hop behind its parent with another next key, as whoever saw both can write it.
fn appended_again(parent: &RawToken, child: &RawToken) -> RawToken {
    use biscuit_auth::format::schema;
    use prost::Message as _;
    let block = schema::Biscuit::decode(child.bytes()).unwrap().blocks.remove(0);
    let contents =
        schema::ThirdPartyBlockContents { payload: block.block, external_signature: block.external_signature.unwrap() };
    let again = biscuit_auth::UnverifiedBiscuit::from(parent.bytes())
        .unwrap()
        .append_third_party_with_keypair(&contents.encode_to_vec(), crate::biscuit::biscuit_pair(&pair(0x77)))
        .unwrap();
    crate::biscuit::raw(&again.to_vec().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_names_the_user_the_agent_and_every_holder() {
    let world = World::start().await;
    let family = Family::new(&world);
    let mut siege = Siege::of(&world);
    siege.served("the grandchild", family.grandchild.get(PATH)).await;
    world.authority.revoke(Target::Block(family.child_id)).await;
    siege.repelled("the grandchild", family.grandchild.get(PATH), 401, "revoked").await;
    siege.over().await;
    let decisions = world.decisions(2).await;
    for decision in &decisions[..2] {
        let who = decision.who.as_ref().unwrap();
        assert_eq!(who.subject.as_ref().map(ToString::to_string).as_deref(), Some("alice"));
        assert_eq!((who.tenant.as_str(), who.agent.as_str()), ("acme", "assistant"));
        let text = serde_json::to_string(who).unwrap();
        for key in [1, 2, 3] {
            assert!(text.contains(&public(key).to_string()), "holder {key}: {text}");
        }
        for block in [family.root.block.id, family.child_id, family.grandchild_id] {
            assert!(text.contains(&block.to_string()), "{block}: {text}");
        }
    }
    assert!(decisions[0].proof.is_some() && decisions[0].capability.is_some());
    assert!(decisions[1].revocation_seq >= decisions[0].revocation_seq);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writ_for_somebody_else_or_for_nothing_opens_nothing() {
    let world = World::start().await;
    let mut siege = Siege::of(&world);
    let block = World::block();
    let get = |block: Authority| world.writ_of(block).get(PATH);
    let tenant = Authority { tenant: "other".parse().unwrap(), ..block.clone() };
    siege.repelled("another tenant's writ", get(tenant), 404, "unknown_service").await;
    let audience = Authority { audience: "elsewhere".parse().unwrap(), ..block.clone() };
    siege.repelled("another deployment's writ", get(audience), 401, "token_audience").await;
    let empty = Authority { capabilities: Vec::new(), ..block.clone() };
    siege.repelled("a writ for nothing", get(empty), 403, "no_capability").await;
    for capability in ["notes:notes/rea:team", "notes:notes/read:tea", "notes:Notes/read:team", "notes:notes/read:Team"]
    {
        let near = Authority { capabilities: vec![capability.parse().unwrap()], ..block.clone() };
        siege.repelled(capability, get(near), 403, "no_capability").await;
    }
    siege.over().await;
}
