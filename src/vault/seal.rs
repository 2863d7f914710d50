//! Envelope encryption: a random data key for each secret, wrapped by a key-encryption key. AES-256-GCM for both.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// What a ciphertext belongs to. Bound as associated data: it does not open as anything else.
#[derive(Clone, Copy, Debug)]
pub struct Binding<'a> {
    /// The tenant, or `-` for what belongs to the installation.
    pub tenant: &'a str,
    /// The record: a credential's name and user, or `root-key/3`.
    pub record: &'a str,
    /// The field within the record.
    pub field: &'a str,
    /// The version of the record.
    pub version: u32,
}

/// Names a key-encryption key: a digest of it. Public.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KekId(pub [u8; 8]);

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A key-encryption key.
#[derive(Debug)]
pub struct Kek {
    id: KekId,
    key: Secret<[u8; 32]>,
}

/// The key-encryption keys of an authority: the first seals, all of them open.
#[derive(Debug)]
pub struct Keyring {
    keys: Vec<Kek>,
}

/// A sealed secret. Safe to store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// The key-encryption key that wraps the data key, in hexadecimal.
    pub kek: Box<str>,
    /// The wrapped data key: nonce, ciphertext, tag; base64.
    pub wrapped_key: Box<str>,
    /// The secret: nonce, ciphertext, tag; base64.
    pub ciphertext: Box<str>,
}

/// Why something does not seal or open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VaultError {
    /// The key-encryption key is not 32 bytes in base64.
    #[error("not a key-encryption key: expected 32 bytes in base64; make one with `writ vault keygen`")]
    NotAKey,
    /// It was sealed under a key that is not in the keyring.
    #[error("sealed under key-encryption key {0}, which is not configured: add it to `vault.kek_files`")]
    UnknownKek(Box<str>),
    /// It does not open: tampered with, moved from another record, or the wrong key.
    #[error("a sealed secret does not open: it was tampered with or belongs to another record")]
    DoesNotOpen,
}

impl Kek {
    /// A key from 32 bytes in base64 (the contents of a key file or variable), surrounding white space ignored.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let _ = text;
        todo!()
    }

    /// Its name.
    pub const fn id(&self) -> KekId {
        self.id
    }
}

impl Keyring {
    /// A keyring that seals with `active` and also opens what `previous` sealed.
    pub fn new(active: Kek, previous: Vec<Kek>) -> Self {
        let _ = (active, previous);
        todo!()
    }

    /// The key that seals.
    pub fn active(&self) -> KekId {
        self.keys[0].id
    }

    /// Seals `plaintext` for `binding` under a fresh data key.
    pub fn seal(&self, binding: &Binding<'_>, plaintext: &[u8]) -> Result<Sealed, VaultError> {
        let _ = (binding, plaintext);
        todo!()
    }

    /// Opens what was sealed for exactly `binding`.
    pub fn open(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Secret<Vec<u8>>, VaultError> {
        let _ = (binding, sealed);
        todo!()
    }

    /// Wraps the data key anew under the active key; `None` when it already is.
    pub fn rewrap(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Option<Sealed>, VaultError> {
        let _ = (binding, sealed, &self.keys);
        todo!()
    }
}
