//! Envelope encryption: a random data key for each secret, wrapped by a key-encryption key. AES-256-GCM for both.
//!
//! Data keys and nonces are drawn here and not handed in: a caller that repeats one would undo the encryption.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize as _, Zeroizing};

use crate::key::sha256;
use crate::secret::Secret;

/// The longest text that can be sealed, in bytes: a request that waits for a person. A credential has far less.
pub const PLAINTEXT_BYTES_MAX: usize = 1 << 20;

const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;

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

impl fmt::Display for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KekId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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
    /// The key-encryption key is not 32 bytes in base64, or all its bytes are the same.
    #[error("not a key-encryption key: expected 32 random bytes in base64; make one with `writ vault keygen`")]
    NotAKey,
    /// It was sealed under a key that is not in the keyring.
    #[error("sealed under key-encryption key {0}, which is not configured: add it to `vault.kek_files`")]
    UnknownKek(Box<str>),
    /// More than a secret may have.
    #[error("the secret is longer than {PLAINTEXT_BYTES_MAX} bytes: store a shorter one")]
    TooLong,
    /// The operating system gave no random bytes. Nothing was sealed.
    #[error("the operating system gave no random bytes: nothing was sealed, try again")]
    NoRandomness,
    /// It does not open: tampered with, moved from another record, or the wrong key.
    #[error("a sealed secret does not open: it was tampered with or belongs to another record")]
    DoesNotOpen,
}

impl Kek {
    /// A key from 32 bytes in base64 (the contents of a key file or variable), surrounding white space ignored.
    pub fn parse(text: &str) -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES + 1]);
        let length = STANDARD.decode_slice(text.trim(), bytes.as_mut()).map_err(|_| VaultError::NotAKey)?;
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(&bytes[..KEY_BYTES]);
        // A placeholder of a sample file must not seal anything.
        if length != KEY_BYTES || key.iter().all(|byte| *byte == key[0]) {
            return Err(VaultError::NotAKey);
        }
        Ok(Self { id: KekId::of(&key), key: Secret::new(key) })
    }

    /// The text of a new key, for a key file.
    pub fn generate() -> Result<Secret<String>, VaultError> {
        Ok(Secret::new(STANDARD.encode(random_key()?.as_ref())))
    }

    /// Its name.
    pub const fn id(&self) -> KekId {
        self.id
    }
}

impl KekId {
    fn of(key: &[u8; KEY_BYTES]) -> Self {
        let mut text = Zeroizing::new(b"writ kek id v1".to_vec());
        text.reserve_exact(KEY_BYTES);
        text.extend_from_slice(key);
        let [a, b, c, d, e, f, g, h, ..] = sha256(&text);
        Self([a, b, c, d, e, f, g, h])
    }
}

impl Keyring {
    /// A keyring that seals with `active` and also opens what `previous` sealed.
    pub fn new(active: Kek, previous: Vec<Kek>) -> Self {
        let mut keys = vec![active];
        keys.extend(previous);
        Self { keys }
    }

    /// The key that seals.
    pub fn active(&self) -> KekId {
        self.keys[0].id
    }

    /// Whether this keyring can open what was sealed under the key-encryption key `kek`, by its [`Sealed::kek`] text.
    pub fn knows(&self, kek: &str) -> bool {
        self.key(kek).is_ok()
    }

    /// Seals `plaintext` for `binding` under a fresh data key.
    pub fn seal(&self, binding: &Binding<'_>, plaintext: &[u8]) -> Result<Sealed, VaultError> {
        if plaintext.len() > PLAINTEXT_BYTES_MAX {
            return Err(VaultError::TooLong);
        }
        let data_key = random_key()?;
        let active = &self.keys[0];
        Ok(Sealed {
            kek: active.id.to_string().into(),
            wrapped_key: encrypt(active.key.expose(), &binding.aad(Layer::DataKey), data_key.as_ref())?,
            ciphertext: encrypt(&data_key, &binding.aad(Layer::Secret), plaintext)?,
        })
    }

    /// Opens what was sealed for exactly `binding`.
    pub fn open(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Secret<Vec<u8>>, VaultError> {
        let data_key = self.data_key(binding, sealed)?;
        decrypt(&data_key, &binding.aad(Layer::Secret), &sealed.ciphertext)
    }

    /// Wraps the data key anew under the active key; `None` when it already is. The secret itself is not opened.
    pub fn rewrap(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Option<Sealed>, VaultError> {
        let data_key = self.data_key(binding, sealed)?;
        let active = &self.keys[0];
        let kek = active.id.to_string();
        if *sealed.kek == kek {
            return Ok(None);
        }
        Ok(Some(Sealed {
            kek: kek.into(),
            wrapped_key: encrypt(active.key.expose(), &binding.aad(Layer::DataKey), data_key.as_ref())?,
            ciphertext: sealed.ciphertext.clone(),
        }))
    }

    fn key(&self, kek: &str) -> Result<&Kek, VaultError> {
        // Public names: no need for constant time. A foreign text may be long, and is shown only in part.
        let unknown = || VaultError::UnknownKek(kek.chars().take(16).filter(char::is_ascii_hexdigit).collect());
        self.keys.iter().find(|key| key.id.to_string() == kek).ok_or_else(unknown)
    }

    fn data_key(&self, binding: &Binding<'_>, sealed: &Sealed) -> Result<Zeroizing<[u8; KEY_BYTES]>, VaultError> {
        let opened = decrypt(self.key(&sealed.kek)?.key.expose(), &binding.aad(Layer::DataKey), &sealed.wrapped_key)?;
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        if opened.expose().len() != KEY_BYTES {
            return Err(VaultError::DoesNotOpen);
        }
        key.copy_from_slice(opened.expose());
        Ok(key)
    }
}

/// Which of the two ciphertexts: one never opens as the other.
#[derive(Clone, Copy)]
enum Layer {
    DataKey,
    Secret,
}

impl Binding<'_> {
    /// Each text behind its length, so that no two bindings have the same bytes.
    fn aad(&self, layer: Layer) -> Vec<u8> {
        let mut aad = match layer {
            Layer::DataKey => b"writ vault v1 key".to_vec(),
            Layer::Secret => b"writ vault v1 secret".to_vec(),
        };
        aad.push(0);
        for part in [self.tenant, self.record, self.field] {
            aad.extend_from_slice(&(part.len() as u64).to_be_bytes());
            aad.extend_from_slice(part.as_bytes());
        }
        aad.extend_from_slice(&self.version.to_be_bytes());
        aad
    }
}

fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, VaultError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    aws_lc_rs::rand::fill(key.as_mut()).map_err(|_| VaultError::NoRandomness)?;
    Ok(key)
}

/// Base64 of a random nonce, the ciphertext and the tag.
fn encrypt(key: &[u8; KEY_BYTES], aad: &[u8], plaintext: &[u8]) -> Result<Box<str>, VaultError> {
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| VaultError::NoRandomness)?;
    let mut out = vec![0; NONCE_LEN + plaintext.len() + TAG_BYTES];
    let (nonce_out, rest) = out.split_at_mut(NONCE_LEN);
    let (text, tag_out) = rest.split_at_mut(plaintext.len());
    text.copy_from_slice(plaintext);
    let Ok((nonce, tag)) = key.seal_in_place_separate_tag(Aad::from(aad), text) else {
        text.zeroize();
        return Err(VaultError::NoRandomness);
    };
    nonce_out.copy_from_slice(nonce.as_ref());
    tag_out.copy_from_slice(tag.as_ref());
    Ok(STANDARD.encode(out).into())
}

fn decrypt(key: &[u8; KEY_BYTES], aad: &[u8], text: &str) -> Result<Secret<Vec<u8>>, VaultError> {
    // Four characters carry three bytes: decoding more than could be a secret would only cost memory.
    if text.len() > (NONCE_LEN + PLAINTEXT_BYTES_MAX + TAG_BYTES).div_ceil(3) * 4 {
        return Err(VaultError::DoesNotOpen);
    }
    let mut bytes = Zeroizing::new(STANDARD.decode(text).map_err(|_| VaultError::DoesNotOpen)?);
    let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(VaultError::DoesNotOpen)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| VaultError::DoesNotOpen)?;
    let key = RandomizedNonceKey::new(&AES_256_GCM, key).map_err(|_| VaultError::DoesNotOpen)?;
    let opened = key.open_in_place(nonce, Aad::from(aad), sealed).map_err(|_| VaultError::DoesNotOpen)?;
    Ok(Secret::new(opened.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const BINDING: Binding<'_> = Binding { tenant: "acme", record: "github/alice", field: "secret", version: 7 };

    fn kek(n: u8) -> Kek {
        let mut bytes = [n; KEY_BYTES];
        bytes[0] ^= 1;
        Kek::parse(&STANDARD.encode(bytes)).unwrap()
    }

    fn keyring() -> Keyring {
        Keyring::new(kek(1), vec![])
    }

    fn opened(keyring: &Keyring, binding: &Binding<'_>, sealed: &Sealed) -> Result<Vec<u8>, VaultError> {
        keyring.open(binding, sealed).map(|secret| secret.expose().clone())
    }

    #[test]
    fn a_sealed_value_opens_for_its_owner_and_not_as_anything_else() {
        let sealed = keyring().seal(&BINDING, b"hunter2hunter2").unwrap();
        assert_eq!(opened(&keyring(), &BINDING, &sealed).unwrap(), b"hunter2hunter2");
        for other in [
            Binding { tenant: "acm", ..BINDING },
            Binding { tenant: "", ..BINDING },
            Binding { record: "github/bob", ..BINDING },
            Binding { field: "password", ..BINDING },
            Binding { version: 6, ..BINDING },
            // The same bytes in a row, cut elsewhere.
            Binding { tenant: "acmeg", record: "ithub/alice", ..BINDING },
            Binding { record: "github/alices", field: "ecret", ..BINDING },
        ] {
            assert_eq!(opened(&keyring(), &other, &sealed), Err(VaultError::DoesNotOpen), "{other:?}");
            assert_eq!(keyring().rewrap(&other, &sealed), Err(VaultError::DoesNotOpen), "{other:?}");
        }
    }

    #[test]
    fn a_flipped_bit_anywhere_does_not_open() {
        let sealed = keyring().seal(&BINDING, b"a secret").unwrap();
        let flips = |text: &str| -> Vec<Box<str>> {
            let bytes = STANDARD.decode(text).unwrap();
            let flip = |bit: usize| {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                STANDARD.encode(flipped).into()
            };
            (0..bytes.len() * 8).map(flip).collect()
        };
        for ciphertext in flips(&sealed.ciphertext) {
            let tampered = Sealed { ciphertext, ..sealed.clone() };
            assert_eq!(opened(&keyring(), &BINDING, &tampered), Err(VaultError::DoesNotOpen));
        }
        for wrapped_key in flips(&sealed.wrapped_key) {
            let tampered = Sealed { wrapped_key, ..sealed.clone() };
            assert_eq!(opened(&keyring(), &BINDING, &tampered), Err(VaultError::DoesNotOpen));
        }
    }

    #[test]
    fn what_is_cut_short_at_any_place_does_not_open() {
        let sealed = keyring().seal(&BINDING, b"a secret").unwrap();
        for end in 0..sealed.ciphertext.len() {
            let cut = Sealed { ciphertext: sealed.ciphertext[..end].into(), ..sealed.clone() };
            assert_eq!(opened(&keyring(), &BINDING, &cut), Err(VaultError::DoesNotOpen), "{end}");
        }
        for end in 0..sealed.wrapped_key.len() {
            let cut = Sealed { wrapped_key: sealed.wrapped_key[..end].into(), ..sealed.clone() };
            assert_eq!(opened(&keyring(), &BINDING, &cut), Err(VaultError::DoesNotOpen), "{end}");
        }
    }

    #[test]
    fn the_two_ciphertexts_of_a_secret_cannot_change_places() {
        let sealed = keyring().seal(&BINDING, &[5; KEY_BYTES]).unwrap();
        let swapped =
            Sealed { wrapped_key: sealed.ciphertext.clone(), ciphertext: sealed.wrapped_key.clone(), ..sealed };
        assert_eq!(opened(&keyring(), &BINDING, &swapped), Err(VaultError::DoesNotOpen));
    }

    #[test]
    fn another_key_encryption_key_does_not_open_it_whatever_it_is_called() {
        let sealed = keyring().seal(&BINDING, b"a secret").unwrap();
        let other = Keyring::new(kek(2), vec![]);
        assert!(!other.knows(&sealed.kek));
        assert_eq!(opened(&other, &BINDING, &sealed), Err(VaultError::UnknownKek(sealed.kek.clone())));
        let renamed = Sealed { kek: other.active().to_string().into(), ..sealed };
        assert_eq!(opened(&other, &BINDING, &renamed), Err(VaultError::DoesNotOpen));
    }

    #[test]
    fn a_rewrapped_secret_opens_under_the_new_key_alone_and_its_ciphertext_is_untouched() {
        let sealed = keyring().seal(&BINDING, b"a secret").unwrap();
        let both = Keyring::new(kek(2), vec![kek(1)]);
        assert_eq!(opened(&both, &BINDING, &sealed).unwrap(), b"a secret");
        let rewrapped = both.rewrap(&BINDING, &sealed).unwrap().unwrap();
        assert_eq!(rewrapped.ciphertext, sealed.ciphertext);
        assert_eq!(opened(&Keyring::new(kek(2), vec![]), &BINDING, &rewrapped).unwrap(), b"a secret");
        assert!(opened(&keyring(), &BINDING, &rewrapped).is_err());
        assert_eq!(both.rewrap(&BINDING, &rewrapped), Ok(None));
    }

    #[test]
    fn a_key_file_holds_exactly_32_random_bytes_in_base64() {
        let text = Kek::generate().unwrap();
        let key = Kek::parse(&format!("  {}\n", text.expose())).unwrap();
        assert_eq!(key.id(), Kek::parse(text.expose()).unwrap().id());
        let encoded = |bytes: &[u8]| STANDARD.encode(bytes);
        let placeholder = encoded(&[0; KEY_BYTES]);
        let (short, long) = (encoded(&[1; KEY_BYTES - 1]), encoded(&[1; KEY_BYTES + 1]));
        for text in ["", "x", &placeholder, &short, &long, &"A".repeat(4096)] {
            assert_eq!(Kek::parse(text).unwrap_err(), VaultError::NotAKey, "{text}");
        }
    }

    #[test]
    fn the_name_of_a_key_is_pinned() {
        let bytes: Vec<u8> = (0..32).collect();
        let id = Kek::parse(&STANDARD.encode(&bytes)).unwrap().id();
        assert_eq!(id.to_string(), "22cade314b1ec7a2");
    }

    #[test]
    fn debug_shows_no_key() {
        let bytes = [0xab; KEY_BYTES - 1];
        let kek = Kek::parse(&STANDARD.encode([&[1], bytes.as_slice()].concat())).unwrap();
        let shown = format!("{:?}", Keyring::new(kek, vec![]));
        assert!(!shown.contains("171") && !shown.contains("abab"), "{shown}");
    }

    #[test]
    fn too_long_a_secret_is_refused() {
        assert!(keyring().seal(&BINDING, &vec![1; PLAINTEXT_BYTES_MAX]).is_ok());
        assert_eq!(keyring().seal(&BINDING, &vec![1; PLAINTEXT_BYTES_MAX + 1]), Err(VaultError::TooLong));
    }

    proptest! {
        #[test]
        fn sealing_round_trips_and_never_repeats(
            tenant: String, record: String, field: String, version: u32, plaintext: Vec<u8>,
        ) {
            let binding = Binding { tenant: &tenant, record: &record, field: &field, version };
            let ring = keyring();
            let (first, second) = (ring.seal(&binding, &plaintext).unwrap(), ring.seal(&binding, &plaintext).unwrap());
            prop_assert_ne!(&first.ciphertext, &second.ciphertext);
            prop_assert_ne!(&first.wrapped_key, &second.wrapped_key);
            prop_assert_eq!(opened(&ring, &binding, &first).unwrap(), plaintext);
        }
    }
}
