//! Blocks that tokens share: a token that goes on from blocks which were verified before pays only for its own.

use std::sync::Arc;

use crate::key::{PublicKey, sha256};
use crate::token::chain::Chain;
use crate::token::container::{Container, End, NextKey};
use crate::token::limits::Limits;
use crate::token::profile::{self, Contents};
use crate::token::raw::RawToken;
use crate::token::verify::{self, RootKey, RootKeys, TokenError};

/// Names the first blocks of a token: a digest over all that their verification depends on. That is every byte of them, signatures
/// included, the root key, and the limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PrefixDigest([u8; 32]);

/// The first blocks of a token that was verified in full: what they state, and who must sign what follows.
///
/// Says nothing about now, as a [`Chain`] says nothing, nor about who may append: a token's own end is checked each time.
#[derive(Debug)]
pub struct Prefix {
    /// A chain that begins with them.
    chain: Arc<Chain>,
    blocks: usize,
    next_key: NextKey,
}

/// A verified chain, and the prefixes of it that are worth remembering.
#[derive(Debug)]
pub struct Verified {
    /// The chain.
    pub chain: Arc<Chain>,
    /// Those that were verified just now: what it shares with its siblings, and what it would share with its children.
    pub prefixes: Vec<(PrefixDigest, Prefix)>,
}

/// [`verify`](verify::verify), but for the blocks that `known` knows. The verdict is the same.
pub fn verify_after(
    raw: &RawToken,
    keys: &RootKeys,
    limits: &Limits,
    known: impl Fn(&PrefixDigest) -> Option<Arc<Prefix>>,
) -> Result<Verified, TokenError> {
    let container = Container::decode(raw, limits)?;
    let root = keys.with_id(container.root_key_id);
    let digests = root.as_ref().map_or_else(|_| Vec::new(), |root| digests(&container, root, limits));
    let longest = digests.iter().enumerate().rev();
    let prefix = longest.into_iter().find_map(|(last, digest)| known(digest).filter(|known| known.blocks == last + 1));

    let from = prefix.as_ref().map_or(0, |prefix| prefix.blocks);
    let holder = prefix.as_ref().and_then(|prefix| prefix.holder());
    let keys = container.keys(from, holder, container.end_key())?;
    let root = root?;
    let signer = prefix.as_ref().map_or(Ok(root.key), |prefix| prefix.next_key.unpack())?;
    container.verify(&keys, signer)?;
    let contents = match &prefix {
        Some(prefix) => profile::read_on(prefix.contents(), &container, from, &keys, limits)?,
        None => profile::read(&container, &keys, limits)?,
    };
    let chain = Arc::new(verify::chain(raw, &container, contents)?);

    let last = digests.len() - 1;
    let prefix = |last: usize, next_key| (digests[last], Prefix { chain: chain.clone(), blocks: last + 1, next_key });
    let mut prefixes = Vec::with_capacity(2);
    if let Some(next_key) = keys.before_last() {
        prefixes.push(prefix(last - 1, next_key));
    }
    if from <= last && matches!(container.end, End::Open(_)) {
        prefixes.push(prefix(last, container.next_key()));
    }
    Ok(Verified { chain, prefixes })
}

fn digests(container: &Container, root: &RootKey, limits: &Limits) -> Vec<PrefixDigest> {
    let Limits {
        text_bytes_max,
        blocks_max,
        facts_max,
        checks_max,
        queries_max,
        string_bytes_max,
        capabilities_max,
        not_before_ahead_s_max,
    } = *limits;
    let counts = [text_bytes_max, blocks_max, facts_max, checks_max, queries_max, string_bytes_max, capabilities_max];
    let mut seed = b"writ prefix\0".to_vec();
    counts.iter().for_each(|count| seed.extend(count.to_le_bytes()));
    seed.extend(not_before_ahead_s_max.to_le_bytes());
    seed.extend(root.id.to_le_bytes());
    seed.extend(root.key.as_bytes());
    container.digests(sha256(&seed)).into_iter().map(PrefixDigest).collect()
}

impl Prefix {
    /// Who holds a token of these blocks.
    fn holder(&self) -> Option<PublicKey> {
        let hops = self.chain.hops.iter().take_while(|hop| hop.block < self.blocks);
        hops.last().map(|hop| hop.holder).or(self.chain.authority.holder)
    }

    fn contents(&self) -> Contents {
        let hops = self.chain.hops.iter().take_while(|hop| hop.block < self.blocks);
        let checks = self.chain.checks.iter().take_while(|check| check.block < self.blocks);
        Contents {
            authority: self.chain.authority.clone(),
            hops: hops.cloned().collect(),
            checks: checks.cloned().collect(),
        }
    }
}
