//! Biscuit's container: the chain of signatures around blocks that are still opaque here.
//!
//! Read and written from its protobuf form directly, so that each rule about keys, signatures and encoding stands in this
//! file. `tests/it/biscuit.rs` holds it against biscuit-auth.

use biscuit_auth::format::schema;
use prost::Message as _;

use crate::key::{KeyPair, PublicKey};
use crate::token::limits::Limits;
use crate::token::raw::RawToken;
use crate::token::verify::TokenError;

type Signature = [u8; 64];

/// The blocks of a token with their signatures, decoded and in canonical encoding; nothing verified.
pub(super) struct Container {
    pub(super) root_key_id: u32,
    /// At least one: the authority block.
    pub(super) blocks: Vec<SignedBlock>,
    pub(super) end: End,
}

pub(super) struct SignedBlock {
    pub(super) payload: Vec<u8>,
    next_key: PublicKey,
    signature: Signature,
    /// Who signed the payload besides the chain, in a third-party block.
    pub(super) external: Option<External>,
    version: SignatureVersion,
}

#[derive(Clone, Copy)]
pub(super) struct External {
    pub(super) key: PublicKey,
    signature: Signature,
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

    /// Whether every signature holds, from `root` to the end of the chain.
    pub(super) fn verify(&self, root: &PublicKey) -> Result<(), TokenError> {
        let mut key = root;
        let mut previous: Option<&Signature> = None;
        for block in &self.blocks {
            let external = block.external.as_ref();
            let signed = signed_bytes(block.version, &block.payload, &block.next_key, previous, external);
            if !key.verifies(&signed, &block.signature) {
                return Err(TokenError::Signature);
            }
            if let (Some(external), Some(previous)) = (external, previous)
                && !external.key.verifies(&external_bytes(&block.payload, previous), &external.signature)
            {
                return Err(TokenError::Signature);
            }
            key = &block.next_key;
            previous = Some(&block.signature);
        }
        let holds = match &self.end {
            End::Open(seed) => KeyPair::from_seed(seed).public() == *key,
            End::Sealed(signature) => key.verifies(&sealed_bytes(self.last()), signature),
        };
        if holds { Ok(()) } else { Err(TokenError::Signature) }
    }

    pub(super) fn mint(root_key_id: u32, root: &KeyPair, next_key_seed: &[u8; 32], payload: Vec<u8>) -> Self {
        let next_key = KeyPair::from_seed(next_key_seed).public();
        let version = SignatureVersion::V0;
        let signature = root.sign(&signed_bytes(version, &payload, &next_key, None, None));
        let authority = SignedBlock { payload, next_key, signature, external: None, version };
        Self { root_key_id, blocks: vec![authority], end: End::Open(*next_key_seed) }
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
        let next_key = KeyPair::from_seed(next_key_seed).public();
        let external = third_party
            .map(|pair| External { key: pair.public(), signature: pair.sign(&external_bytes(&payload, &previous)) });
        let version = match external {
            Some(_) => SignatureVersion::V1,
            None => self.blocks.iter().map(|block| block.version).max().unwrap_or(SignatureVersion::V0),
        };
        let signature = signer.sign(&signed_bytes(version, &payload, &next_key, Some(&previous), external.as_ref()));
        self.blocks.push(SignedBlock { payload, next_key, signature, external, version });
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
                Some(External { key: public_key(&external.public_key)?, signature: signature(external.signature)? })
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
            next_key: public_key(&block.next_key)?,
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
}

fn public_key(key: &schema::PublicKey) -> Result<PublicKey, TokenError> {
    // P-256 signatures are malleable: s and n-s both hold.
    if key.algorithm != schema::public_key::Algorithm::Ed25519 as i32 {
        return Err(TokenError::Malformed("a key that is not Ed25519"));
    }
    PublicKey::from_bytes(&key.key).map_err(|_| TokenError::Malformed("a weak or malformed public key"))
}

fn encode_key(key: &PublicKey) -> schema::PublicKey {
    schema::PublicKey { algorithm: schema::public_key::Algorithm::Ed25519 as i32, key: key.as_bytes().to_vec() }
}

fn signature(bytes: Vec<u8>) -> Result<Signature, TokenError> {
    bytes.try_into().map_err(|_| TokenError::Malformed("a signature is 64 bytes"))
}

/// Biscuit's number for Ed25519 where a key is signed over.
const ALGORITHM: [u8; 4] = 0i32.to_le_bytes();

fn signed_bytes(
    version: SignatureVersion,
    payload: &[u8],
    next_key: &PublicKey,
    previous: Option<&Signature>,
    external: Option<&External>,
) -> Vec<u8> {
    let next_key: &[u8] = next_key.as_bytes();
    match version {
        SignatureVersion::V0 => [payload, &ALGORITHM, next_key].concat(),
        SignatureVersion::V1 => {
            let mut bytes = [
                b"\0BLOCK\0\0VERSION\0".as_slice(),
                &1u32.to_le_bytes(),
                b"\0PAYLOAD\0",
                payload,
                b"\0ALGORITHM\0",
                &ALGORITHM,
                b"\0NEXTKEY\0",
                next_key,
            ]
            .concat();
            if let Some(previous) = previous {
                bytes.extend_from_slice(b"\0PREVSIG\0");
                bytes.extend_from_slice(previous);
            }
            if let Some(external) = external {
                bytes.extend_from_slice(b"\0EXTERNALSIG\0");
                bytes.extend_from_slice(&external.signature);
            }
            bytes
        }
    }
}

fn external_bytes(payload: &[u8], previous: &Signature) -> Vec<u8> {
    [b"\0EXTERNAL\0\0VERSION\0".as_slice(), &1u32.to_le_bytes(), b"\0PAYLOAD\0", payload, b"\0PREVSIG\0", previous]
        .concat()
}

fn sealed_bytes(last: &SignedBlock) -> Vec<u8> {
    [last.payload.as_slice(), &ALGORITHM, last.next_key.as_bytes(), &last.signature].concat()
}
