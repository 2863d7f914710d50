//! Names from other people's documents, spelled as the catalog allows, and taken apart into words.

/// `projectsId` as `projects_id`: 1 to 64 of `a-z`, `0-9`, `_`, beginning with a letter.
pub(super) fn capture_name(text: &str) -> String {
    let mut name = String::new();
    for word in words(text) {
        if !name.is_empty() {
            name.push('_');
        }
        name.push_str(&word);
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        name.insert_str(0, if name.is_empty() { "part" } else { "part_" });
    }
    name.truncate(48);
    name
}

/// The words of a camel-case, snake-case or kebab-case name, in lower case. What is not ASCII separates words.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        if c.is_ascii_alphanumeric() {
            // `listXpnHosts`, and `IAMPolicy` between `M` and `P`.
            let begins = c.is_ascii_uppercase()
                && (!before.is_ascii_uppercase() || rest.peek().is_some_and(char::is_ascii_lowercase));
            if begins || !before.is_ascii_alphanumeric() {
                words.push(String::new());
            }
            if let Some(word) = words.last_mut() {
                word.push(c.to_ascii_lowercase());
            }
        }
        before = c;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_apart_into_words() {
        for (text, expected) in [
            ("listXpnHosts", "list xpn hosts"),
            ("getIAMPolicy", "get iam policy"),
            ("check-if_merged", "check if merged"),
            ("GetV1Charges", "get v1 charges"),
            ("$translate", "translate"),
            ("", ""),
            ("é", ""),
        ] {
            assert_eq!(words(text).join(" "), expected);
        }
    }

    #[test]
    fn a_capture_is_spelled_as_the_catalog_allows() {
        for (text, expected) in [
            ("projectsId", "projects_id"),
            ("enterprise-team", "enterprise_team"),
            ("1", "part_1"),
            ("_", "part"),
            ("", "part"),
            ("ü", "part"),
            ("v1p4beta1Id1", "v1p4beta1_id1"),
        ] {
            assert_eq!(capture_name(text), expected);
        }
        assert_eq!(capture_name(&"Ab".repeat(60)).len(), 48);
    }
}
