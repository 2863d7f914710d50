//! What nobody but the signers can write: each bit of a token counts, and none of them is a way to a panic.

use biscuit_auth::Biscuit;
use proptest::prelude::*;
use writ::token::hop::seal;
use writ::token::inspect::inspect;
use writ::token::{Limits, RawToken, TokenError, verify};

use crate::biscuit::{biscuit_pair, raw};
use crate::tokens::*;

/// Every kind of block: authority, hop, narrowing, hop; once open and once sealed.
fn tokens() -> [RawToken; 2] {
    let token = delegated(&minted(&authority()), 1, &new_hop(2));
    let token = narrowed(&token, &[r#"check if arg("amount", $x), $x <= 500"#]);
    let token = delegated(&token, 2, &new_hop(3));
    let sealed = seal(&token, &Limits::default()).unwrap();
    [token, sealed]
}

#[test]
fn no_bit_of_a_token_can_be_flipped() {
    for token in tokens() {
        verified(&token).unwrap();
        for offset in 0..token.bytes().len() {
            for bit in 0..8 {
                let mut bytes = token.bytes().to_vec();
                bytes[offset] ^= 1 << bit;
                assert!(verified(&raw(&bytes)).is_err(), "bit {bit} of byte {offset}");
            }
        }
    }
}

#[test]
fn no_character_of_a_text_can_be_changed() {
    let [token, _] = tokens();
    for offset in 0..token.text().len() {
        for other in ["A", "_", "=", " "] {
            let mut text = token.text().to_owned();
            text.replace_range(offset..=offset, other);
            if text != token.text() {
                let read = RawToken::parse(&text, &Limits::default()).and_then(|raw| verified(&raw));
                assert!(read.is_err(), "{other:?} at {offset}");
            }
        }
    }
}

#[test]
fn no_part_of_a_token_verifies() {
    for token in tokens() {
        for end in 0..token.bytes().len() {
            assert!(verified(&raw(&token.bytes()[..end])).is_err(), "{end}");
        }
    }
}

#[test]
fn blocks_are_counted_before_a_signature_is_checked() {
    let limits = Limits { blocks_max: 3, ..Limits::default() };
    // Unsigned by any root we know: were signatures first, that would be the error.
    let nobody = writ::token::RootKeys::default();
    let [token, _] = tokens();
    assert_eq!(verify(&token, &nobody, &limits).unwrap_err(), TokenError::TooLarge("blocks"));
    assert_eq!(verify(&token, &nobody, &Limits::default()).unwrap_err(), TokenError::UnknownRoot);
}

#[test]
fn a_hop_that_its_reader_appends_again_keeps_its_id_and_gets_another_text() {
    // Whoever saw the parent unsealed can give the same hop another next key: only what stands inside it names it.
    use biscuit_auth::format::schema;
    use prost::Message as _;
    let parent = minted(&authority());
    let child = delegated(&parent, 1, &new_hop(2));
    let block = schema::Biscuit::decode(child.bytes()).unwrap().blocks.remove(0);
    let contents =
        schema::ThirdPartyBlockContents { payload: block.block, external_signature: block.external_signature.unwrap() };
    let again = biscuit_auth::UnverifiedBiscuit::from(parent.bytes())
        .unwrap()
        .append_third_party_with_keypair(&contents.encode_to_vec(), biscuit_pair(&pair(0x77)))
        .unwrap();
    let again = raw(&again.to_vec().unwrap());
    assert_ne!(again.digest(), child.digest());
    let ids = |token: &RawToken| verified(token).unwrap().block_ids().collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&child));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn what_we_accept_biscuit_auth_accepts(
        which in 0usize..2,
        cuts in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0u8..3), 1..4),
    ) {
        let token = &tokens()[which];
        let mut bytes = token.bytes().to_vec();
        for (at, byte, how) in cuts {
            let at = at.index(bytes.len());
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => {
                    bytes.remove(at);
                }
            }
        }
        let changed = raw(&bytes);
        let _ = inspect(&changed, &Limits::default());
        if verified(&changed).is_ok() {
            prop_assert!(Biscuit::from(&bytes, biscuit_pair(&root()).public()).is_ok());
            prop_assert_eq!(&bytes, token.bytes());
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let token = raw(&bytes);
        prop_assert!(inspect(&token, &Limits::default()).is_err());
        prop_assert!(verified(&token).is_err());
    }
}
