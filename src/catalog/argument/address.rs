//! E-mail addresses and URLs, in the one spelling that checks and policies compare.

use crate::catalog::origin::Origin;
use crate::catalog::target::Target;

/// The longest address (RFC 5321 section 4.5.3.1.3).
const EMAIL_BYTES_MAX: usize = 254;

/// An address `local@domain` in ASCII, the domain in lower case. The local part is kept as it is: only its own server knows
/// which spellings are one mailbox.
///
/// `None` for a display name, a comment, quotes, an address in brackets, a single-label or non-ASCII domain, and `%` or `!` in
/// the local part, by which some servers relay to another host.
pub(super) fn email(text: &str) -> Option<String> {
    let (local, domain) = text.split_once('@')?;
    let atext = |byte: u8| byte.is_ascii_alphanumeric() || b"#$&'*+-/=?^_`{|}~".contains(&byte);
    let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(atext);
    let is_label = |label: &str| {
        let plain = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        (1..=63).contains(&label.len()) && plain && !label.starts_with('-') && !label.ends_with('-')
    };
    let top = domain.rsplit('.').next()?;
    let fits = text.len() <= EMAIL_BYTES_MAX && local.len() <= 64 && domain.contains('.');
    if !fits || !local.split('.').all(is_atom) || !domain.split('.').all(is_label) {
        return None;
    }
    (!top.bytes().all(|byte| byte.is_ascii_digit())).then(|| format!("{local}@{}", domain.to_ascii_lowercase()))
}

/// An absolute URL whose path and query are in the spelling of `spec/catalog.md`; scheme and host in lower case, without the
/// default port, with a path.
///
/// `None` for a user name, a fragment, another scheme, and everything that is refused in a request's own target.
pub(super) fn url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let (host, target) = rest.split_at(rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len()));
    let origin: Origin = format!("{}://{host}", scheme.to_ascii_lowercase()).parse().ok()?;
    let target = if target.is_empty() { "/" } else { target };
    let read = Target::parse(target).ok()?;
    let written = match read.query() {
        Some(query) => format!("{}?{query}", read.path()),
        None => read.path().to_owned(),
    };
    (written == target).then(|| format!("{origin}{written}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_address_has_one_spelling_or_is_refused() {
        assert_eq!(email("Team.one+x@Domain.COM").as_deref(), Some("Team.one+x@domain.com"));
        assert_eq!(email("o'neil@a-b.example").as_deref(), Some("o'neil@a-b.example"));
        for text in [
            "",
            "a",
            "@",
            "a@",
            "@b.c",
            "a@b",
            "a@@b.c",
            "a@b.c@d.e",
            "a b@c.d",
            "a@b .c",
            " a@b.c",
            "a@b.c ",
            "a@b.c\n",
            "Team <team@b.c>",
            "<team@b.c>",
            "\"a\"@b.c",
            "\"a b\"@b.c",
            "a(x)@b.c",
            "a@b.c(x)",
            "a@[1.2.3.4]",
            "a@1.2.3.4",
            ".a@b.c",
            "a.@b.c",
            "a..b@c.d",
            "a@.b.c",
            "a@b.c.",
            "a@b..c",
            "a@-b.c",
            "a@b-.c",
            "a@b_c.d",
            "a,b@c.d",
            "a@b.c,d@e.f",
            "a;b@c.d",
            "a:b@c.d",
            "a\\b@c.d",
            "a%b@c.d",
            "host!a@b.c",
            "é@b.c",
            "a@é.c",
            "a@b.ç",
            "a@ｂ.c",
            "mailto:a@b.c",
            "a\0@b.c",
            "a@b.c\0",
            "a@b\u{3002}c",
        ] {
            assert_eq!(email(text), None, "{text}");
        }
        assert!(email(&format!("{}@b.c", "a".repeat(64))).is_some());
        assert_eq!(email(&format!("{}@b.c", "a".repeat(65))), None);
        assert_eq!(email(&format!("a@{}c", "b.".repeat(130))), None);
    }

    #[test]
    fn a_url_has_one_spelling_or_is_refused() {
        for (text, expected) in [
            ("https://example.com/a/b?c=d", "https://example.com/a/b?c=d"),
            ("HTTPS://Example.COM:443", "https://example.com/"),
            ("http://example.com:8080/", "http://example.com:8080/"),
            ("https://[::1]/", "https://[::1]/"),
            ("https://example.com/%252e%252e", "https://example.com/%252e%252e"),
        ] {
            assert_eq!(url(text).as_deref(), Some(expected), "{text}");
        }
        for text in [
            "",
            "example.com",
            "//example.com/",
            "/a",
            "ftp://example.com/",
            "javascript:alert(1)",
            "https:/example.com/",
            "https:///a",
            "https://",
            "https://u@example.com/",
            "https://u:p@example.com/",
            "https://example.com@evil.example/",
            "https://example.com/#f",
            "https://example.com#f",
            "https://example.com/../a",
            "https://example.com/%2e%2e/a",
            "https://example.com//a",
            "https://example.com\\@evil.example/",
            "https://example.com/a\\b",
            "https://example.com/a b",
            "https://example.com/%2f",
            "https://example.com/%41",
            "https://example.com/?a=b&&c",
            "https://example.com?a=b",
            "https://example.com/?a=b+c",
            "https://example.com/?_method=x",
            "https://exämple.com/",
            "https://127.1/",
            "https://0x7f.0.0.1/",
            "https://example.com./",
            "https://example.com:/",
            "https://example.com:0443/",
            " https://a.b/",
            "https://a.b/ ",
            "https://a.b/\n",
            "https://a.b/;x",
            "https://a.b/%00",
        ] {
            assert_eq!(url(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        // Failure: the WHATWG parser, which browsers and most clients follow, reads another URL than the one that was authorised.
        #[test]
        fn another_parser_reads_the_same_url(text in "(https?|HTTP)://[a-zA-Z0-9.:@\\[\\]%-]{1,12}(/[ -~]{0,8}){0,3}(\\?[ -~]{0,12})?") {
            let Some(canonical) = url(&text) else { return Ok(()) };
            let parsed = url::Url::parse(&text).unwrap();
            prop_assert_eq!(parsed.as_str(), canonical.as_str());
            prop_assert_eq!(url(&canonical), Some(canonical));
        }

        #[test]
        fn an_address_is_its_own_spelling(text in "[a-zA-Z.+]{1,6}@[a-zA-Z.-]{1,10}") {
            let Some(canonical) = email(&text) else { return Ok(()) };
            prop_assert!(canonical.eq_ignore_ascii_case(&text));
            prop_assert_eq!(email(&canonical), Some(canonical));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in any::<String>()) {
            let _ = (email(&text), url(&text));
        }
    }
}
