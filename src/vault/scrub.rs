//! Takes a lent secret out of what an upstream answers, while it streams.
//!
//! Each occurrence is overwritten in its own length, so a `Content-Length` stays true. Sees the plain text only: the edge
//! must not let an upstream compress what is to be scrubbed.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use zeroize::Zeroize as _;

use crate::secret::Secret;

/// What to look for, compiled once for a lent credential. Cheap to clone.
// The automaton is a copy of the spellings that cannot be zeroed: like the rest of a process's memory it must not be dumped.
#[derive(Clone)]
pub struct Scrubber(Arc<Compiled>);

struct Compiled {
    automaton: AhoCorasick,
    needles: Vec<Needle>,
}

struct Needle {
    spelling: Secret<Vec<u8>>,
    /// For each length of a prefix: the length of the longest shorter prefix that it ends with (Knuth, Morris and Pratt).
    fallback: Vec<usize>,
    mask: Vec<u8>,
}

/// One body on its way through.
#[derive(Debug)]
pub struct Scrubbing {
    scrubber: Scrubber,
    /// The end of what was pushed, which may be the beginning of a spelling.
    held: Vec<u8>,
}

/// Spellings that no automaton can be built of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the spellings of a secret are too long to look for: store a shorter secret")]
pub struct TooMany;

impl Scrubber {
    /// Looks for `spellings`; empty ones are left out.
    pub fn new(spellings: Vec<Secret<Vec<u8>>>) -> Result<Self, TooMany> {
        let needles: Vec<_> = spellings.into_iter().filter(|spelling| !spelling.expose().is_empty()).collect();
        let masks = masks(&needles);
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            // A full table of a long secret's spellings would take tens of megabytes.
            .kind(Some(AhoCorasickKind::ContiguousNFA))
            .build(needles.iter().map(Secret::expose))
            .map_err(|_| TooMany)?;
        let needles = needles
            .into_iter()
            .zip(masks)
            .map(|(spelling, mask)| Needle { fallback: fallback(spelling.expose()), spelling, mask })
            .collect();
        Ok(Self(Arc::new(Compiled { automaton, needles })))
    }

    /// Begins a body.
    pub fn stream(&self) -> Scrubbing {
        Scrubbing { scrubber: self.clone(), held: Vec::new() }
    }

    /// A header's value with the secret overwritten; `None` if it does not hold it.
    pub fn scrub_header(&self, value: &[u8]) -> Option<Vec<u8>> {
        self.0.automaton.is_match(value).then(|| {
            let mut scrubbed = value.to_vec();
            self.overwrite(&mut scrubbed, Input::Ended);
            scrubbed
        })
    }

    /// Overwrites what is certainly an occurrence, and returns how many bytes from the start no later byte can change.
    fn overwrite(&self, text: &mut [u8], input: Input) -> usize {
        let mut done = 0;
        loop {
            let found = self.0.automaton.find(&text[done..]);
            let open = match input {
                Input::Continues => self.open_end(&text[done..]),
                Input::Ended => 0,
            };
            let settled = text.len() - open;
            let Some(found) = found.filter(|found| done + found.start() < settled) else {
                return settled;
            };
            let (start, end) = (done + found.start(), done + found.end());
            text[start..end].copy_from_slice(&self.0.needles[found.pattern().as_usize()].mask);
            done = end;
        }
    }

    /// The length of the longest end of `text` with which a spelling begins and does not yet end.
    fn open_end(&self, text: &[u8]) -> usize {
        self.0.needles.iter().map(|needle| needle.open_end(text)).max().unwrap_or(0)
    }
}

impl fmt::Debug for Scrubber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Scrubber(..)")
    }
}

#[derive(Clone, Copy)]
enum Input {
    Continues,
    Ended,
}

impl Scrubbing {
    /// Takes the next bytes and returns what can be passed on: borrowed from `chunk` where nothing had to be changed.
    ///
    /// Holds back only what may be the beginning of a spelling, so an event of a stream is not delayed.
    pub fn push<'c>(&mut self, chunk: &'c [u8]) -> Cow<'c, [u8]> {
        let scrubber = &self.scrubber;
        if self.held.is_empty() && !scrubber.0.automaton.is_match(chunk) {
            let settled = chunk.len() - scrubber.open_end(chunk);
            self.held.extend_from_slice(&chunk[settled..]);
            return Cow::Borrowed(&chunk[..settled]);
        }
        let mut text = Vec::with_capacity(self.held.len() + chunk.len());
        text.extend_from_slice(&self.held);
        text.extend_from_slice(chunk);
        let settled = scrubber.overwrite(&mut text, Input::Continues);
        self.held.zeroize();
        self.held.extend_from_slice(&text[settled..]);
        text[settled..].zeroize();
        text.truncate(settled);
        Cow::Owned(text)
    }

    /// Ends the body and returns what was held back.
    pub fn finish(mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.held);
        self.scrubber.overwrite(&mut rest, Input::Ended);
        rest
    }
}

impl Drop for Scrubbing {
    fn drop(&mut self) {
        self.held.zeroize();
    }
}

impl Needle {
    fn open_end(&self, text: &[u8]) -> usize {
        let spelling = self.spelling.expose();
        let from = text.len().saturating_sub(spelling.len() - 1);
        let mut rest = &text[from..];
        let mut matched = 0;
        loop {
            if matched == 0 {
                // Most answers end without the first byte of any spelling.
                let Some(begins) = memchr::memchr(spelling[0], rest) else { return 0 };
                rest = &rest[begins..];
            }
            let Some((byte, behind)) = rest.split_first() else { return matched };
            while matched > 0 && spelling[matched] != *byte {
                matched = self.fallback[matched];
            }
            if spelling[matched] == *byte {
                matched += 1;
            }
            // A whole one is not open, and cannot be: one byte less than its length is looked at.
            rest = behind;
        }
    }
}

fn fallback(spelling: &[u8]) -> Vec<usize> {
    let mut fallback = vec![0; spelling.len() + 1];
    let mut matched = 0;
    for end in 1..spelling.len() {
        while matched > 0 && spelling[matched] != spelling[end] {
            matched = fallback[matched];
        }
        if spelling[matched] == spelling[end] {
            matched += 1;
        }
        fallback[end + 1] = matched;
    }
    fallback
}

/// What overwrites each spelling: a label as far as it fits, and a filler that stands in none of them.
///
/// The label is left out where a spelling could arise from it and what stands beside it.
fn masks(spellings: &[Secret<Vec<u8>>]) -> Vec<Vec<u8>> {
    let stands = |byte: &u8| spellings.iter().any(|spelling| spelling.expose().contains(byte));
    // A control character stands in no secret that can be stored.
    let filler = b"*#-_.=".iter().copied().find(|byte| !stands(byte)).unwrap_or(0x7f);
    let label_is_safe = |label: &[u8]| {
        spellings.iter().map(Secret::expose).all(|spelling| {
            let overlaps =
                |n: usize| label.ends_with(&spelling[..n]) || label.starts_with(&spelling[spelling.len() - n..]);
            let apart = !(1..=label.len().min(spelling.len())).any(overlaps);
            apart && !label.windows(spelling.len()).any(|window| window == spelling)
        })
    };
    let labels: Vec<&[u8]> =
        [b"[redacted by writ]".as_slice(), b"[redacted]"].into_iter().filter(|label| label_is_safe(label)).collect();
    let mask = |length: usize| {
        let mut mask = vec![filler; length];
        if let Some(label) = labels.iter().find(|label| label.len() <= length) {
            mask[..label.len()].copy_from_slice(label);
        }
        mask
    };
    spellings.iter().map(|spelling| mask(spelling.expose().len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vault::credential::{CredentialKind, Lent};
    use proptest::prelude::*;

    fn scrubber(spellings: &[&str]) -> Scrubber {
        Scrubber::new(spellings.iter().map(|s| Secret::new(s.as_bytes().to_vec())).collect()).unwrap()
    }

    fn whole(scrubber: &Scrubber, text: &[u8]) -> Vec<u8> {
        in_chunks(scrubber, &[text])
    }

    fn in_chunks(scrubber: &Scrubber, chunks: &[&[u8]]) -> Vec<u8> {
        let mut stream = scrubber.stream();
        let mut out = Vec::new();
        for chunk in chunks {
            out.extend_from_slice(&stream.push(chunk));
        }
        out.extend(stream.finish());
        out
    }

    fn holds(text: &[u8], spelling: &str) -> bool {
        text.windows(spelling.len()).any(|window| window == spelling.as_bytes())
    }

    #[test]
    fn an_echoed_secret_is_overwritten_in_its_own_length() {
        let scrubber = scrubber(&["s3cret-s3cret-s3cret-s3cret", "s3cret-s3cret"]);
        assert_eq!(
            whole(&scrubber, b"a s3cret-s3cret-s3cret-s3cret b s3cret-s3cret c"),
            b"a [redacted by writ]********* b [redacted]*** c"
        );
    }

    #[test]
    fn a_secret_is_found_wherever_the_chunks_are_cut() {
        let scrubber = scrubber(&["s3cret-s3cret"]);
        let text = b"before s3cret-s3cret after";
        for cut in 0..=text.len() {
            assert_eq!(in_chunks(&scrubber, &[&text[..cut], &text[cut..]]), b"before [redacted]*** after", "{cut}");
        }
        let bytes: Vec<&[u8]> = text.chunks(1).collect();
        assert_eq!(in_chunks(&scrubber, &bytes), b"before [redacted]*** after");
    }

    #[test]
    fn an_event_that_does_not_end_like_a_secret_begins_passes_at_once_and_is_not_copied() {
        let scrubber = scrubber(&["s3cret-s3cret"]);
        let mut stream = scrubber.stream();
        assert!(matches!(stream.push(b"data: {\"tick\": 1}\n\n"), Cow::Borrowed(b"data: {\"tick\": 1}\n\n")));
        assert_eq!(&*stream.push(b"data: s3c"), b"data: ");
        assert_eq!(&*stream.push(b"ond\n\n"), b"s3cond\n\n");
        assert_eq!(stream.finish(), b"");
    }

    #[test]
    fn a_body_that_ends_in_the_beginning_of_a_secret_keeps_it() {
        assert_eq!(whole(&scrubber(&["s3cret-s3cret"]), b"x s3cret-s3"), b"x s3cret-s3");
    }

    #[test]
    fn of_two_spellings_with_one_beginning_the_longer_is_taken_even_if_it_ends_later() {
        let scrubber = scrubber(&["c2VjcmV0", "c2VjcmV0LXM="]);
        assert_eq!(in_chunks(&scrubber, &[b"c2VjcmV0", b"LXM=", b"."]), b"[redacted]**.");
        assert_eq!(in_chunks(&scrubber, &[b"c2VjcmV0", b"LX."]), b"********LX.");
    }

    #[test]
    fn a_header_is_scrubbed_and_one_without_the_secret_is_left_alone() {
        let scrubber = scrubber(&["s3cret-s3cret"]);
        assert_eq!(
            scrubber.scrub_header(b"/login?key=s3cret-s3cret&a=b"),
            Some(b"/login?key=[redacted]***&a=b".to_vec())
        );
        assert_eq!(scrubber.scrub_header(b"/login?key=s3cret"), None);
    }

    #[test]
    fn what_overwrites_a_secret_never_spells_one_with_its_surroundings() {
        // Each would arise from the label or the usual filler and what stands beside the occurrence.
        for secret in ["xxxxxxx[", "]yyyyyyy", "********", "redacted", "writ]***", "*#-_.=*#-_.="] {
            let scrubber = scrubber(&[secret]);
            for text in [
                format!("{}{secret}", &secret[..secret.len() - 1]),
                format!("{secret}{}", &secret[1..]),
                format!("{secret}{secret}"),
            ] {
                assert!(!holds(&whole(&scrubber, text.as_bytes()), secret), "{text}");
            }
        }
    }

    #[test]
    fn without_spellings_everything_passes() {
        assert_eq!(whole(&scrubber(&[]), b"anything"), b"anything");
        assert_eq!(whole(&scrubber(&[""]), b"anything"), b"anything");
    }

    #[test]
    fn what_an_upstream_makes_of_a_basic_password_is_scrubbed() {
        let kind = CredentialKind::Basic { username: "alice".into() };
        let lent = Lent { kind, secret: Secret::new("pa55/w0rd\"+x".to_owned()), version: 1 };
        let scrubber = Scrubber::new(lent.spellings()).unwrap();
        for echo in [
            r#"{"password": "pa55/w0rd\"+x"}"#,
            "authorization: Basic YWxpY2U6cGE1NS93MHJkIit4",
            "YWxpY2U6cGE1NS93MHJkIit4",
            "/?p=pa55%2Fw0rd%22%2Bx",
            "/?p=pa55%2fw0rd%22%2bx",
            "<p>pa55/w0rd&quot;+x</p>",
            "alice:pa55/w0rd\"+x",
        ] {
            let scrubbed = whole(&scrubber, echo.as_bytes());
            assert_eq!(scrubbed.len(), echo.len());
            assert!(!holds(&scrubbed, "w0rd"), "{}", String::from_utf8_lossy(&scrubbed));
            assert!(!holds(&scrubbed, "YWxpY2U6cGE1"), "{}", String::from_utf8_lossy(&scrubbed));
        }
    }

    /// Few letters, so that spellings overlap one another and the text is full of their beginnings.
    fn cramped() -> impl Strategy<Value = (Vec<String>, Vec<Vec<u8>>)> {
        let spellings = prop::collection::vec("[ab*]{2,8}", 1..5);
        let chunks =
            prop::collection::vec(prop::collection::vec(prop::sample::select(b"ab*[]r".to_vec()), 0..12), 0..12);
        (spellings, chunks)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_output_does_not_depend_on_the_chunks_and_holds_no_spelling((spellings, chunks) in cramped()) {
            let spellings: Vec<&str> = spellings.iter().map(String::as_str).collect();
            let scrubber = scrubber(&spellings);
            let text = chunks.concat();
            let out = whole(&scrubber, &text);
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(&in_chunks(&scrubber, &chunks), &out);
            prop_assert_eq!(scrubber.scrub_header(&text).unwrap_or_else(|| text.clone()), out.clone());
            prop_assert_eq!(out.len(), text.len());
            for spelling in spellings {
                prop_assert!(!holds(&out, spelling), "{spelling} in {}", String::from_utf8_lossy(&out));
            }
        }

        #[test]
        fn no_more_is_held_back_than_the_beginning_of_a_spelling((spellings, chunks) in cramped()) {
            let spellings: Vec<&str> = spellings.iter().map(String::as_str).collect();
            let mut stream = scrubber(&spellings).stream();
            for chunk in &chunks {
                let _ = stream.push(chunk);
                let held = &stream.held;
                let begins = |s: &&str| s.len() > held.len() && s.as_bytes().starts_with(held);
                prop_assert!(held.is_empty() || spellings.iter().any(begins));
            }
        }

        #[test]
        fn a_text_without_the_secret_is_unchanged(chunks: Vec<Vec<u8>>) {
            let scrubber = scrubber(&["s3cret-s3cret", "czNjcmV0LXMzY3JldA=="]);
            let pieces: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            prop_assert_eq!(in_chunks(&scrubber, &pieces), chunks.concat());
        }
    }
}
