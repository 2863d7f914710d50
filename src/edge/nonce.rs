//! The nonces of RFC 9449 section 8, without a memory: a keyed hash of the minute. The key lives as long as the process.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::clock::Timestamp;

/// How long one nonce is handed out. It is accepted for as long again.
const PERIOD_S: i64 = 60;

/// Makes this edge's nonces.
pub(super) struct Nonces(hmac::Key);

impl Nonces {
    /// From 32 bytes drawn at random when the edge starts.
    pub(super) fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// The one to hand out at `now`, and the one before it: both count.
    pub(super) fn at(&self, now: Timestamp) -> [String; 2] {
        let period = now.secs().div_euclid(PERIOD_S);
        [self.of(period), self.of(period.saturating_sub(1))]
    }

    fn of(&self, period: i64) -> String {
        URL_SAFE_NO_PAD.encode(&hmac::sign(&self.0, &period.to_be_bytes()).as_ref()[..16])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_counts_for_two_periods_and_at_one_edge() {
        let (here, there) = (Nonces::new(&[1; 32]), Nonces::new(&[2; 32]));
        let at = Timestamp::from_secs;
        let [first, _] = here.at(at(0));
        assert!(here.at(at(PERIOD_S * 2 - 1)).contains(&first));
        assert!(!here.at(at(PERIOD_S * 2)).contains(&first));
        assert!(!there.at(at(0)).contains(&first));
    }
}
