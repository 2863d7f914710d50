//! A token that goes on from blocks which were verified before gets the verdict that it gets without them.
//!
//! Failure is any difference: another verdict, another reason, another chain.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use biscuit_auth::format::schema;
use proptest::prelude::*;
use proptest::sample::Index;
use prost::Message as _;
use writ::token::hop::seal;
use writ::token::inspect::view;
use writ::token::prefix::{Prefix, PrefixDigest, verify_after};
use writ::token::verify::{RootKey, current};
use writ::token::{Chain, Limits, RawToken, RootKeys, TokenError, verify};

use crate::biscuit::raw;
use crate::tokens::*;

/// The prefixes of all tokens that it was asked about.
#[derive(Default)]
struct Memory(RefCell<HashMap<PrefixDigest, Arc<Prefix>>>);

impl Memory {
    fn of(tokens: &[RawToken]) -> Self {
        let memory = Self::default();
        for token in tokens {
            memory.verify(token).unwrap();
        }
        memory
    }

    fn verify(&self, token: &RawToken) -> Result<Arc<Chain>, TokenError> {
        self.verify_by(token, &keys(), &Limits::default())
    }

    fn verify_by(&self, token: &RawToken, keys: &RootKeys, limits: &Limits) -> Result<Arc<Chain>, TokenError> {
        let verified = verify_after(token, keys, limits, |digest| self.0.borrow().get(digest).cloned())?;
        self.0.borrow_mut().extend(verified.prefixes.into_iter().map(|(digest, prefix)| (digest, Arc::new(prefix))));
        Ok(verified.chain)
    }

    /// How many prefixes it did not know.
    fn learns(&self, token: &RawToken) -> usize {
        let before = self.0.borrow().len();
        self.verify(token).unwrap();
        self.0.borrow().len() - before
    }

    fn assert_same(&self, token: &RawToken) {
        let told =
            |chain: &Chain| (view(chain), chain.hops().to_vec(), chain.checks().to_vec(), chain.authority().clone());
        let plain = verified(token).map(|chain| told(&chain));
        assert_eq!(self.verify(token).map(|chain| told(&chain)), plain);
    }
}

/// Every kind of block, and what siblings share.
static TOKENS: LazyLock<Vec<RawToken>> = LazyLock::new(|| {
    let parent = delegated(&minted(&authority()), 1, &new_hop(2));
    let narrowed = narrowed(&parent, &[r#"check if arg("amount", $x), $x <= 500"#]);
    let first = delegated(&narrowed, 2, &new_hop(3));
    let mut other_grant = authority();
    other_grant.id = writ::id::BlockId::from_bytes([0xa1; 16]);
    vec![
        parent.clone(),
        delegated(&narrowed, 2, &new_hop(4)),
        seal(&first, &Limits::default()).unwrap(),
        delegated(&delegated(&first, 3, &new_hop(4)), 4, &new_hop(5)),
        delegated(&minted(&other_grant), 1, &new_hop(2)),
    ]
});

/// Their prefixes.
static KNOWN: LazyLock<HashMap<PrefixDigest, Arc<Prefix>>> = LazyLock::new(|| Memory::of(&TOKENS).0.into_inner());

fn parts(token: &RawToken) -> schema::Biscuit {
    schema::Biscuit::decode(token.bytes()).unwrap()
}

fn refused(memory: &Memory, biscuit: &schema::Biscuit) -> TokenError {
    let token = raw(&biscuit.encode_to_vec());
    memory.assert_same(&token);
    memory.verify(&token).unwrap_err()
}

#[test]
fn known_blocks_are_not_verified_again() {
    let parent = delegated(&minted(&authority()), 1, &new_hop(2));
    let memory = Memory::of(std::slice::from_ref(&parent));
    // Its own; what it shares was known.
    assert_eq!(memory.learns(&delegated(&parent, 2, &new_hop(3))), 1);
    assert_eq!(memory.learns(&narrowed(&parent, &[r#"check if method("GET")"#])), 1);
    assert_eq!(memory.learns(&seal(&parent, &Limits::default()).unwrap()), 0);
    // A sibling's parent never came by itself.
    let deep = delegated(&delegated(&parent, 2, &new_hop(3)), 3, &new_hop(4));
    let memory = Memory::of(&[deep]);
    assert_eq!(memory.learns(&delegated(&delegated(&parent, 2, &new_hop(3)), 3, &new_hop(5))), 1);
}

#[test]
fn a_block_spliced_from_one_known_chain_into_another_is_refused() {
    let memory = Memory::of(&TOKENS);
    let (mut into, from) = (parts(&TOKENS[4]), parts(&TOKENS[0]));
    into.blocks = from.blocks;
    into.proof = from.proof;
    assert_eq!(refused(&memory, &into), TokenError::Signature);
}

#[test]
fn known_blocks_with_another_signature_are_refused() {
    let memory = Memory::of(&TOKENS);
    for at in [0, 63] {
        let mut changed = parts(&TOKENS[3]);
        changed.blocks[0].signature[at] ^= 1;
        assert_eq!(refused(&memory, &changed), TokenError::Signature);
        let mut changed = parts(&TOKENS[3]);
        changed.blocks[0].external_signature.as_mut().unwrap().signature[at] ^= 1;
        assert_eq!(refused(&memory, &changed), TokenError::Signature);
        let mut changed = parts(&TOKENS[3]);
        changed.authority.signature[at] ^= 1;
        assert_eq!(refused(&memory, &changed), TokenError::Signature);
    }
}

#[test]
fn known_blocks_without_the_secret_of_the_last_are_refused() {
    use schema::proof::Content;
    let memory = Memory::of(&TOKENS);
    let (whole, sealed) = (parts(&TOKENS[3]), parts(&TOKENS[2]));
    for left in 0..whole.blocks.len() {
        // Cut back to before a hop that narrows: the secret of another block, of nobody, another token's seal.
        for end in [
            whole.proof.content.clone(),
            sealed.proof.content.clone(),
            Some(Content::NextSecret(vec![7; 32])),
            Some(Content::FinalSignature(vec![0; 64])),
        ] {
            if left == sealed.blocks.len() && end == sealed.proof.content {
                continue;
            }
            let mut cut = whole.clone();
            cut.blocks.truncate(left);
            cut.proof.content = end;
            assert_eq!(refused(&memory, &cut), TokenError::Signature, "{left}");
        }
    }
}

#[test]
fn what_a_sealed_token_shares_with_an_open_one_says_nothing_of_its_seal() {
    let open = delegated(&minted(&authority()), 1, &new_hop(2));
    let memory = Memory::of(std::slice::from_ref(&open));
    let sealed = seal(&open, &Limits::default()).unwrap();
    memory.assert_same(&sealed);
    let mut broken = parts(&sealed);
    let Some(schema::proof::Content::FinalSignature(bytes)) = &mut broken.proof.content else { panic!() };
    bytes[5] ^= 1;
    assert_eq!(refused(&memory, &broken), TokenError::Signature);
}

#[test]
fn of_a_token_that_is_refused_nothing_is_remembered() {
    let memory = Memory::default();
    let mut late = parts(&TOKENS[3]);
    late.blocks.last_mut().unwrap().signature[3] ^= 1;
    assert_eq!(refused(&memory, &late), TokenError::Signature);
    // Its signatures hold, and its last hop goes deeper than allowed.
    let shallow = minted(&writ::token::chain::Authority { depth_max: 1, ..authority() });
    let deep = parts(&delegated(&minted(&authority()), 1, &new_hop(2)));
    let mut spliced = parts(&shallow);
    spliced.blocks = deep.blocks;
    spliced.proof = deep.proof;
    assert_eq!(refused(&memory, &spliced), TokenError::Signature);
    assert!(memory.0.borrow().is_empty());
}

#[test]
fn a_known_prefix_counts_under_its_root_key_and_its_limits_only() {
    let parent = delegated(&minted(&authority()), 1, &new_hop(2));
    let memory = Memory::of(std::slice::from_ref(&parent));
    let child = delegated(&parent, 2, &new_hop(3));
    let with = |id, seed| RootKeys { keys: vec![RootKey { id, key: public(seed), until: None }] };
    let by = |keys: &RootKeys, limits: &Limits| memory.verify_by(&child, keys, limits).unwrap_err();
    let limits = Limits::default();
    assert_eq!(by(&with(ROOT_KEY_ID, 0x12), &limits), TokenError::Signature);
    assert_eq!(by(&with(ROOT_KEY_ID + 1, 0xee), &limits), TokenError::UnknownRoot);
    assert_eq!(by(&keys(), &Limits { blocks_max: 2, ..limits.clone() }), TokenError::TooLarge("blocks"));
    assert_eq!(by(&keys(), &Limits { facts_max: 4, ..limits }), TokenError::TooLarge("facts"));
}

#[test]
fn a_known_prefix_does_not_outlive_its_root_key() {
    let parent = delegated(&minted(&authority()), 1, &new_hop(2));
    let memory = Memory::of(std::slice::from_ref(&parent));
    let chain = memory.verify(&delegated(&parent, 2, &new_hop(3))).unwrap();
    let mut retired = keys();
    retired.keys[0].until = Some(at(10));
    assert!(current(&chain, &retired, &expected(), at(10)).is_ok());
    assert_eq!(current(&chain, &retired, &expected(), at(11)).unwrap_err(), TokenError::UnknownRoot);
    let none = RootKeys::default();
    assert_eq!(
        memory.verify_by(&delegated(&parent, 2, &new_hop(4)), &none, &Limits::default()).unwrap_err(),
        TokenError::UnknownRoot
    );
}

#[derive(Clone, Debug)]
enum Change {
    Byte(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    /// A block of another token in the place of one, or behind the last.
    Splice(Index, Index, Index),
    Drop(Index),
    Swap(Index, Index),
    /// The end of another token.
    End(Index),
    Authority(Index),
    RootKeyId(u32),
    /// A bit of a block's payload, next key, signature, external signature or external key.
    Bit(Index, u8, Index),
}

fn any_change() -> impl Strategy<Value = Change> {
    let index = any::<Index>;
    prop_oneof![
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
        1 => (index(), any::<u8>()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        1 => index().prop_map(Change::Remove),
        4 => (index(), index(), index()).prop_map(|(token, from, to)| Change::Splice(token, from, to)),
        2 => index().prop_map(Change::Drop),
        1 => (index(), index()).prop_map(|(one, other)| Change::Swap(one, other)),
        2 => index().prop_map(Change::End),
        1 => index().prop_map(Change::Authority),
        1 => (6u32..9).prop_map(Change::RootKeyId),
        4 => (index(), 0u8..5, index()).prop_map(|(block, part, bit)| Change::Bit(block, part, bit)),
    ]
}

fn changed(bytes: &[u8], change: &Change) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let length = bytes.len();
    match change {
        Change::Byte(at, byte) => bytes[at.index(length)] = *byte,
        Change::Insert(at, byte) => bytes.insert(at.index(length), *byte),
        Change::Remove(at) => drop(bytes.remove(at.index(length))),
        structural => {
            let Ok(mut biscuit) = schema::Biscuit::decode(bytes.as_slice()) else { return bytes };
            restructure(&mut biscuit, structural);
            bytes = biscuit.encode_to_vec();
        }
    }
    bytes
}

fn restructure(biscuit: &mut schema::Biscuit, change: &Change) {
    let other = |token: &Index| parts(&TOKENS[token.index(TOKENS.len())]);
    let blocks = &mut biscuit.blocks;
    match change {
        Change::Splice(token, from, to) => {
            let mut others = other(token).blocks;
            let block = others.swap_remove(from.index(others.len()));
            let to = to.index(blocks.len() + 1);
            blocks.splice(to..(to + 1).min(blocks.len()), [block]);
        }
        Change::Drop(at) if !blocks.is_empty() => {
            let at = at.index(blocks.len());
            blocks.remove(at);
        }
        Change::Swap(one, with) if !blocks.is_empty() => {
            let (one, with) = (one.index(blocks.len()), with.index(blocks.len()));
            blocks.swap(one, with);
        }
        Change::End(token) => biscuit.proof = other(token).proof,
        Change::Authority(token) => biscuit.authority = other(token).authority,
        Change::RootKeyId(id) => biscuit.root_key_id = Some(*id),
        Change::Bit(at, part, bit) => {
            let at = at.index(blocks.len() + 1);
            let block = if at == 0 { &mut biscuit.authority } else { &mut blocks[at - 1] };
            let bytes = match (part, &mut block.external_signature) {
                (0, _) => &mut block.block,
                (1, _) => &mut block.next_key.key,
                (3, Some(external)) => &mut external.signature,
                (4, Some(external)) => &mut external.public_key.key,
                (_, _) => &mut block.signature,
            };
            if !bytes.is_empty() {
                let bit = bit.index(bytes.len() * 8);
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
        _ => {}
    }
}

proptest! {
    #![proptest_config(cases(2_000))]

    #[test]
    fn known_prefixes_change_no_verdict_on_a_changed_token(
        which in any::<Index>(),
        changes in proptest::collection::vec(any_change(), 0..3),
    ) {
        let memory = Memory(RefCell::new(KNOWN.clone()));
        let token = &TOKENS[which.index(TOKENS.len())];
        let bytes = changes.iter().fold(token.bytes().to_vec(), |bytes, change| changed(&bytes, change));
        let token = raw(&bytes);
        memory.assert_same(&token);
        // And once more, where it was itself remembered.
        memory.assert_same(&token);
    }
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn known_prefixes_change_no_verdict_on_a_chain_that_grows(
        steps in proptest::collection::vec(0u8..4, 0..6),
        known in proptest::collection::vec(any::<bool>(), 6),
    ) {
        let memory = Memory::default();
        let mut token = minted(&authority());
        let mut holder = 1;
        for (step, known) in steps.into_iter().zip(known) {
            if known {
                memory.assert_same(&token);
            }
            let next = match step {
                0 => writ::token::hop::narrow(&token, &Default::default(), &[step; 32], &Limits::default()).ok(),
                1 => Some(narrowed_or(&token, r#"check if arg("amount", $x), $x <= 500"#)),
                _ => {
                    let hop = new_hop(holder + 1);
                    let next = writ::token::hop::delegate(&token, &pair(holder), &hop, &[step; 32], &Limits::default()).ok();
                    holder += u8::from(next.is_some());
                    next
                }
            };
            token = next.unwrap_or(token);
        }
        memory.assert_same(&token);
        memory.assert_same(&seal(&token, &Limits::default()).unwrap());
    }
}

/// Unless its blocks are at their limit.
fn narrowed_or(token: &RawToken, check: &str) -> RawToken {
    let narrowing = writ::token::hop::Narrowing { checks: vec![check.to_owned()], ..Default::default() };
    writ::token::hop::narrow(token, &narrowing, &[0xd1; 32], &Limits::default()).unwrap_or_else(|_| token.clone())
}

#[test]
fn the_changes_of_the_property_leave_some_tokens_that_verify() {
    assert!(TOKENS.iter().all(|token| verify(token, &keys(), &Limits::default()).is_ok()));
}
