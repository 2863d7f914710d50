//! Biscuit's container: the chain of signatures around blocks that are still opaque here.
//!
//! Read and written from its protobuf form directly, so that each rule about keys, signatures and encoding stands in this
//! file. `tests/it/biscuit.rs` holds it against biscuit-auth.

use std::sync::OnceLock;

use biscuit_auth::format::schema;
use prost::Message as _;

use crate::key::{KeyPair, PublicKey, sha256};
use crate::token::limits::Limits;
use crate::token::raw::RawToken;
use crate::token::verify::TokenError;

type KeyBytes = [u8; 32];
type Signature = [u8; 64];

/// The blocks of a token with their signatures, decoded and in canonical encoding; nothing verified, no key unpacked.
pub(super) struct Container {
    pub(super) root_key_id: u32,
    /// At least one: the authority block.
    pub(super) blocks: Vec<SignedBlock>,
    pub(super) end: End,
}

pub(super) struct SignedBlock {
    pub(super) payload: Vec<u8>,
    next_key: KeyBytes,
    signature: Signature,
    /// Who signed the payload besides the chain, in a third-party block.
    pub(super) external: Option<External>,
    version: SignatureVersion,
}

#[derive(Clone, Copy)]
pub(super) struct External {
    key: KeyBytes,
    signature: Signature,
}

/// The keys of a container's blocks from some block on, unpacked once. All of them are acceptable.
pub(super) struct Keys {
    from: usize,
    blocks: Vec<BlockKeys>,
    /// Whether the next key of the last block is that of the token's end, which is open.
    ends: bool,
}

struct BlockKeys {
    /// `None` of the last block of a token that so ends: nobody has signed with it.
    next: Option<PublicKey>,
    external: Option<PublicKey>,
}

/// Who must sign the block behind some other. Unpacked when there is one.
#[derive(Debug)]
pub(super) struct NextKey {
    bytes: KeyBytes,
    unpacked: OnceLock<PublicKey>,
}

impl NextKey {
    /// The key.
    pub(super) fn unpack(&self) -> Result<PublicKey, TokenError> {
        match self.unpacked.get() {
            Some(key) => Ok(*key),
            None => {
                let key = unpacked(&self.bytes, None)?;
                Ok(*self.unpacked.get_or_init(|| key))
            }
        }
    }
}

fn unpacked(bytes: &KeyBytes, likely: Option<&PublicKey>) -> Result<PublicKey, TokenError> {
    PublicKey::of_bytes(bytes, likely).map_err(|_| TokenError::Malformed("a weak or malformed public key"))
}

impl Keys {
    /// Who signed a third-party block among those whose keys these are.
    pub(super) fn external(&self, block: usize) -> Option<PublicKey> {
        self.blocks.get(block.checked_sub(self.from)?)?.external
    }

    /// The next key of the last block but one, if it is among them.
    pub(super) fn before_last(&self) -> Option<NextKey> {
        let next = self.blocks.iter().rev().nth(1)?.next?;
        Some(NextKey { bytes: *next.as_bytes(), unpacked: next.into() })
    }

    /// Who signed third-party blocks.
    pub(super) fn externals(&self) -> impl Iterator<Item = &PublicKey> {
        self.blocks.iter().filter_map(|keys| keys.external.as_ref())
    }
}

/// Which bytes a block's signature covers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum SignatureVersion {
    /// Payload and next key.
    V0,
    /// These and the signature before, each with a label.
    V1,
}

pub(super) enum End {
    /// Whoever knows this seed can append a block.
    Open([u8; 32]),
    Sealed(Signature),
}

impl Container {
    pub(super) fn decode(raw: &RawToken, limits: &Limits) -> Result<Self, TokenError> {
        let biscuit = schema::Biscuit::decode(raw.bytes()).map_err(|_| TokenError::Malformed("not a Biscuit"))?;
        // Unknown fields, fields out of order and padded numbers would give the same blocks other bytes.
        if biscuit.encode_to_vec() != raw.bytes() {
            return Err(TokenError::Malformed("not in canonical encoding"));
        }
        if 1 + biscuit.blocks.len() > limits.blocks_max {
            return Err(TokenError::TooLarge("blocks"));
        }
        let root_key_id = biscuit.root_key_id.ok_or(TokenError::Malformed("no root key id"))?;
        let authority = SignedBlock::decode(biscuit.authority)?;
        if authority.external.is_some() {
            return Err(TokenError::Malformed("an external signature on the authority block"));
        }
        let mut blocks = vec![authority];
        for block in biscuit.blocks {
            blocks.push(SignedBlock::decode(block)?);
        }
        let end = match biscuit.proof.content {
            Some(schema::proof::Content::NextSecret(seed)) => {
                End::Open(seed.try_into().map_err(|_| TokenError::Malformed("a next secret is 32 bytes"))?)
            }
            Some(schema::proof::Content::FinalSignature(bytes)) => End::Sealed(signature(bytes)?),
            None => return Err(TokenError::Malformed("neither open nor sealed")),
        };
        Ok(Self { root_key_id, blocks, end })
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut blocks = self.blocks.iter().map(SignedBlock::encode);
        schema::Biscuit {
            root_key_id: Some(self.root_key_id),
            // Expect safety: decoding and minting both begin with the authority block.
            authority: blocks.next().expect("a container has an authority block"),
            blocks: blocks.collect(),
            proof: schema::Proof {
                content: Some(match &self.end {
                    End::Open(seed) => schema::proof::Content::NextSecret(seed.to_vec()),
                    End::Sealed(signature) => schema::proof::Content::FinalSignature(signature.to_vec()),
                }),
            },
        }
        .encode_to_vec()
    }

    /// The public half of the next secret; `None` when the token is sealed.
    pub(super) fn end_key(&self) -> Option<KeyBytes> {
        match &self.end {
            End::Open(seed) => Some(KeyPair::from_seed(seed).public_bytes()),
            End::Sealed(_) => None,
        }
    }

    /// Who must sign a further block.
    pub(super) fn next_key(&self) -> NextKey {
        NextKey { bytes: self.last().next_key, unpacked: OnceLock::new() }
    }

    /// The keys of the blocks from `from` on. The holder before those is likely among them, and the last is the
    /// [end's](Self::end_key), if that is given and it is.
    pub(super) fn keys(
        &self,
        from: usize,
        holder: Option<PublicKey>,
        end: Option<KeyBytes>,
    ) -> Result<Keys, TokenError> {
        let last = self.blocks.len() - 1;
        let ends = end == Some(self.last().next_key);
        let keys = self.blocks.iter().enumerate().skip(from).map(|(index, block)| {
            let external =
                block.external.as_ref().map(|external| unpacked(&external.key, holder.as_ref())).transpose()?;
            let next = if ends && index == last { None } else { Some(unpacked(&block.next_key, None)?) };
            Ok(BlockKeys { next, external })
        });
        Ok(Keys { from, blocks: keys.collect::<Result<_, _>>()?, ends })
    }

    /// Whether every signature holds from the first block of `keys`, which `signer` must have signed, to the end of the chain.
    pub(super) fn verify(&self, keys: &Keys, signer: PublicKey) -> Result<(), TokenError> {
        let mut signer = Some(signer);
        let (before, blocks) = self.blocks.split_at(keys.from);
        let mut previous = before.last().map(|block| &block.signature);
        if blocks.len() != keys.blocks.len() {
            return Err(TokenError::Signature);
        }
        for (block, BlockKeys { next, external }) in blocks.iter().zip(&keys.blocks) {
            if !signer.is_some_and(|signer| signer.verifies(&block.signed_bytes(previous), &block.signature)) {
                return Err(TokenError::Signature);
            }
            if let (Some(key), Some(external), Some(previous)) = (external, &block.external, previous)
                && !key.verifies(&external_bytes(&block.payload, previous), &external.signature)
            {
                return Err(TokenError::Signature);
            }
            signer = *next;
            previous = Some(&block.signature);
        }
        let holds = match &self.end {
            End::Open(_) => keys.ends,
            End::Sealed(signature) => {
                signer.is_some_and(|signer| signer.verifies(&sealed_bytes(self.last()), signature))
            }
        };
        if holds { Ok(()) } else { Err(TokenError::Signature) }
    }

    /// For each block a digest over it and all before it, with all that is signed and every signature; begun with `seed`.
    pub(super) fn digests(&self, seed: [u8; 32]) -> Vec<[u8; 32]> {
        let digests = self.blocks.iter().scan(seed, |digest, block| {
            *digest = sha256(&block.digested(digest));
            Some(*digest)
        });
        digests.collect()
    }

    /// With its keys: the only next key is the end's.
    pub(super) fn mint(root_key_id: u32, root: &KeyPair, next_key_seed: &[u8; 32], payload: Vec<u8>) -> (Self, Keys) {
        let next_key = KeyPair::from_seed(next_key_seed).public_bytes();
        let version = SignatureVersion::V0;
        let mut authority = SignedBlock { payload, next_key, signature: [0; 64], external: None, version };
        authority.signature = root.sign(&authority.signed_bytes(None));
        let minted = Self { root_key_id, blocks: vec![authority], end: End::Open(*next_key_seed) };
        (minted, Keys { from: 0, blocks: vec![BlockKeys { next: None, external: None }], ends: true })
    }

    /// Appends a block, signed by `third_party` as well if one is given; `None` when the token is sealed.
    pub(super) fn append(
        mut self,
        payload: Vec<u8>,
        third_party: Option<&KeyPair>,
        next_key_seed: &[u8; 32],
    ) -> Option<Self> {
        let End::Open(seed) = &self.end else { return None };
        let signer = KeyPair::from_seed(seed);
        let previous = self.last().signature;
        let next_key = KeyPair::from_seed(next_key_seed).public_bytes();
        let external = third_party.map(|pair| External {
            key: pair.public_bytes(),
            signature: pair.sign(&external_bytes(&payload, &previous)),
        });
        let version = match external {
            Some(_) => SignatureVersion::V1,
            None => self.blocks.iter().map(|block| block.version).max().unwrap_or(SignatureVersion::V0),
        };
        let mut block = SignedBlock { payload, next_key, signature: [0; 64], external, version };
        block.signature = signer.sign(&block.signed_bytes(Some(&previous)));
        self.blocks.push(block);
        self.end = End::Open(*next_key_seed);
        Some(self)
    }

    /// Closes the chain; `None` when the token is sealed.
    pub(super) fn seal(mut self) -> Option<Self> {
        let End::Open(seed) = &self.end else { return None };
        self.end = End::Sealed(KeyPair::from_seed(seed).sign(&sealed_bytes(self.last())));
        Some(self)
    }

    fn last(&self) -> &SignedBlock {
        // Expect safety: decoding and minting both begin with the authority block.
        self.blocks.last().expect("a container has an authority block")
    }
}

impl SignedBlock {
    fn decode(block: schema::SignedBlock) -> Result<Self, TokenError> {
        let external = match block.external_signature {
            Some(external) => {
                Some(External { key: key_bytes(external.public_key)?, signature: signature(external.signature)? })
            }
            None => None,
        };
        let version = match block.version {
            None => SignatureVersion::V0,
            Some(1) => SignatureVersion::V1,
            Some(_) => return Err(TokenError::Malformed("an unknown signature version")),
        };
        // Version 0 does not bind an external signature to its place in the chain (GHSA-rgqv-mwc3-c78m).
        if external.is_some() && version == SignatureVersion::V0 {
            return Err(TokenError::Malformed("a third-party block of signature version 0"));
        }
        Ok(Self {
            next_key: key_bytes(block.next_key)?,
            signature: signature(block.signature)?,
            payload: block.block,
            external,
            version,
        })
    }

    fn encode(&self) -> schema::SignedBlock {
        schema::SignedBlock {
            block: self.payload.clone(),
            next_key: encode_key(&self.next_key),
            signature: self.signature.to_vec(),
            external_signature: self.external.map(|external| schema::ExternalSignature {
                signature: external.signature.to_vec(),
                public_key: encode_key(&external.key),
            }),
            version: match self.version {
                SignatureVersion::V0 => None,
                SignatureVersion::V1 => Some(1),
            },
        }
    }

    /// What the key before signed.
    fn signed_bytes(&self, previous: Option<&Signature>) -> Vec<u8> {
        match self.version {
            SignatureVersion::V0 => [&self.payload[..], &ALGORITHM, &self.next_key].concat(),
            SignatureVersion::V1 => {
                let (previous_label, previous) = labelled(b"\0PREVSIG\0", previous);
                let external = self.external.as_ref().map(|external| &external.signature);
                let (external_label, external) = labelled(b"\0EXTERNALSIG\0", external);
                [
                    b"\0BLOCK\0\0VERSION\0".as_slice(),
                    &1u32.to_le_bytes(),
                    b"\0PAYLOAD\0",
                    &self.payload,
                    b"\0ALGORITHM\0",
                    &ALGORITHM,
                    b"\0NEXTKEY\0",
                    &self.next_key,
                    previous_label,
                    previous,
                    external_label,
                    external,
                ]
                .concat()
            }
        }
    }

    /// All of the block behind `before`. Of what follows the first byte, only the payload has a length of its own, and it is last.
    fn digested(&self, before: &[u8; 32]) -> Vec<u8> {
        let version = match self.version {
            SignatureVersion::V0 => 0,
            SignatureVersion::V1 => 1,
        };
        let (key, signature, third_party) = match &self.external {
            Some(External { key, signature }) => (key.as_slice(), signature.as_slice(), 1),
            None => (&[][..], &[][..], 0),
        };
        let form = [version << 1 | third_party];
        [before, form.as_slice(), &self.next_key, &self.signature, key, signature, &self.payload].concat()
    }
}

/// Nothing at all where there is no signature.
fn labelled<'a>(label: &'static [u8], signature: Option<&'a Signature>) -> (&'static [u8], &'a [u8]) {
    signature.map_or((&[], &[]), |signature| (label, signature))
}

fn key_bytes(key: schema::PublicKey) -> Result<KeyBytes, TokenError> {
    // P-256 signatures are malleable: s and n-s both hold.
    if key.algorithm != schema::public_key::Algorithm::Ed25519 as i32 {
        return Err(TokenError::Malformed("a key that is not Ed25519"));
    }
    key.key.try_into().map_err(|_| TokenError::Malformed("a weak or malformed public key"))
}

fn encode_key(key: &KeyBytes) -> schema::PublicKey {
    schema::PublicKey { algorithm: schema::public_key::Algorithm::Ed25519 as i32, key: key.to_vec() }
}

fn signature(bytes: Vec<u8>) -> Result<Signature, TokenError> {
    bytes.try_into().map_err(|_| TokenError::Malformed("a signature is 64 bytes"))
}

/// Biscuit's number for Ed25519 where a key is signed over.
const ALGORITHM: [u8; 4] = 0i32.to_le_bytes();

fn external_bytes(payload: &[u8], previous: &Signature) -> Vec<u8> {
    [b"\0EXTERNAL\0\0VERSION\0".as_slice(), &1u32.to_le_bytes(), b"\0PAYLOAD\0", payload, b"\0PREVSIG\0", previous]
        .concat()
}

fn sealed_bytes(last: &SignedBlock) -> Vec<u8> {
    [last.payload.as_slice(), &ALGORITHM, &last.next_key, &last.signature].concat()
}
