//! Whom a message is about (RFC 9493), and what those identifiers say in a provider's own words. Pure.

use crate::config::identity::ProviderTerms;
use crate::id::Subject;
use crate::identity::Refused;
use crate::identity::claims::in_tenant;
use crate::identity::scim::address;
use crate::token::strict_json::Object;

/// The longest identifier in bytes.
const TEXT_BYTES_MAX: usize = 1024;
/// The most identifiers that one `aliases` may hold.
const ALIASES_MAX: usize = 16;

/// A subject identifier. What a format requires is there; nothing says that there is such a subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SubjectId {
    /// `account`: an `acct:` URI.
    Account(String),
    /// `email`.
    Email(String),
    /// `iss_sub`.
    IssSub {
        /// The issuer.
        iss: String,
        /// The user, as that issuer names them.
        sub: String,
    },
    /// `opaque`: what it names, both sides know.
    Opaque(String),
    /// `phone_number`, as E.164 has it.
    Phone(String),
    /// `did` or `uri`.
    Url(String),
    /// `aliases`: several identifiers of the same subject.
    Aliases(Vec<SubjectId>),
    /// Of Shared Signals, section 3.2: a subject by its parts.
    Complex {
        /// The user.
        user: Option<Box<SubjectId>>,
        /// The session.
        session: Option<Box<SubjectId>>,
    },
}

/// Whom an identifier names, as far as a provider's settings say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// A user of the provider.
    User(Subject),
    /// A session at the provider.
    Session(Subject),
    /// Whoever has one of these addresses, as the directory compares them.
    Addressed(Vec<Box<str>>),
    /// Nobody who could be a user of the provider.
    Nobody,
}

impl SubjectId {
    /// Reads the JSON text of an identifier.
    pub fn parse(json: &[u8]) -> Result<Self, Refused> {
        Self::read(&Object::parse(json).ok_or_else(|| Refused::new("its subject identifier is not a JSON object"))?)
    }

    /// Reads an identifier, simple or complex.
    pub(crate) fn read(object: &Object) -> Result<Self, Refused> {
        let parts = ["user", "session", "tenant", "device", "org_unit", "group", "application"];
        // What Shared Signals calls complex had no `format` in its drafts.
        let complex = match object.text("format").as_deref() {
            Some("complex") => true,
            None => !object.has("format") && parts.iter().any(|part| object.has(part)),
            Some(_) => false,
        };
        if !complex {
            return Self::simple(object, true);
        }
        let part = |name: &str| match object.object(name) {
            None if object.has(name) => Err(Refused::new(format!("its subject's `{name}` is not an identifier"))),
            None => Ok(None),
            Some(part) => Self::simple(&part, true).map(|id| Some(Box::new(id))),
        };
        Ok(Self::Complex { user: part("user")?, session: part("session")? })
    }

    fn simple(object: &Object, aliases: bool) -> Result<Self, Refused> {
        let text = |name: &str| {
            let text = object.text(name).filter(|text| (1..=TEXT_BYTES_MAX).contains(&text.len()));
            text.ok_or_else(|| Refused::new(format!("its subject identifier has no `{name}` of 1 to 1024 bytes")))
        };
        // `subject_type`, with hyphens, is how the drafts of RISC had it, and how some still send it.
        let format = object.text("format").or_else(|| object.text("subject_type")).map(|name| name.replace('-', "_"));
        Ok(match format.as_deref() {
            Some("account") => Self::Account(text("uri")?),
            Some("email") => Self::Email(text("email")?),
            Some("iss_sub") => Self::IssSub { iss: text("iss")?, sub: text("sub")? },
            Some("opaque") => Self::Opaque(text("id")?),
            Some("phone_number") => Self::Phone(text("phone_number")?),
            Some("did") => Self::Url(text("url")?),
            Some("uri") => Self::Url(text("uri")?),
            // Aliases do not nest (RFC 9493 section 3.2.8).
            Some("aliases") if aliases => {
                let all = object.objects("identifiers").filter(|all| (1..=ALIASES_MAX).contains(&all.len()));
                let all = all.ok_or_else(|| Refused::new("its subject has no `identifiers`, or more than 16"))?;
                Self::Aliases(all.iter().map(|one| Self::simple(one, false)).collect::<Result<_, _>>()?)
            }
            _ => return Err(Refused::new("its subject identifier has no `format` of RFC 9493")),
        })
    }

    /// Whom it names, if `terms`' provider says it. A name counts in full or not at all: who is meant is never guessed.
    pub fn whom(&self, terms: &ProviderTerms) -> Whom {
        match self {
            Self::Complex { session: Some(session), user } => match (session.session(terms), user) {
                (Some(session), _) => Whom::Session(session),
                // Of a session that nobody can name, the user's sessions are the least that has it.
                (None, Some(user)) => user.user(terms),
                (None, None) => Whom::Nobody,
            },
            Self::Complex { user: Some(user), .. } => user.user(terms),
            Self::Complex { .. } => Whom::Nobody,
            simple => simple.user(terms),
        }
    }

    /// The user whom it names, whichever of their sessions it may name too.
    pub(super) fn account(&self, terms: &ProviderTerms) -> Whom {
        match self {
            Self::Complex { user: Some(user), .. } => user.user(terms),
            Self::Complex { user: None, .. } => Whom::Nobody,
            simple => simple.user(terms),
        }
    }

    fn session(&self, terms: &ProviderTerms) -> Option<Subject> {
        match self {
            Self::Opaque(id) => in_tenant(id, terms),
            // The draft of CAEP had sessions as `iss_sub`, with the `sid`.
            Self::IssSub { iss, sub } if **iss == *terms.issuer => in_tenant(sub, terms),
            Self::Aliases(all) => all.iter().find_map(|one| one.session(terms)),
            _ => None,
        }
    }

    fn user(&self, terms: &ProviderTerms) -> Whom {
        let named = |name: &str| in_tenant(name, terms).map_or(Whom::Nobody, Whom::User);
        let claim = &*terms.claims.user;
        match self {
            // Where another claim names the users, `sub` says nothing that anybody here could know.
            Self::IssSub { iss, sub } if claim == "sub" && **iss == *terms.issuer => named(sub),
            Self::Opaque(id) if claim == "sub" => named(id),
            Self::Email(email) if claim == "email" => named(email),
            Self::Phone(number) if claim == "phone_number" => named(number),
            Self::Email(email) => Whom::Addressed(vec![address::email(email)]),
            Self::Phone(number) => address::phone(number).map_or(Whom::Nobody, |number| Whom::Addressed(vec![number])),
            Self::Aliases(all) => {
                let mut addresses = Vec::new();
                for one in all {
                    match one.user(terms) {
                        Whom::Addressed(more) => addresses.extend(more),
                        Whom::Nobody => {}
                        known => return known,
                    }
                }
                if addresses.is_empty() { Whom::Nobody } else { Whom::Addressed(addresses) }
            }
            _ => Whom::Nobody,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::authority::AuthorityConfig;

    fn terms(more: &str) -> ProviderTerms {
        let sample = include_str!("../../samples/authority.toml");
        let provider = "[[identity.provider]]\nname = \"corp\"\nissuer = \"https://i\"\nclient_ids = [\"app\"]\n";
        let text = format!("{sample}\n{provider}{more}\n");
        AuthorityConfig::parse(&text, "/writ.toml".as_ref()).unwrap().terms.providers.remove(0)
    }

    fn whom(json: &str, more: &str) -> Whom {
        SubjectId::parse(json.as_bytes()).unwrap().whom(&terms(more))
    }

    fn user(name: &str) -> Whom {
        Whom::User(name.parse().unwrap())
    }

    #[test]
    fn a_provider_names_its_own_users_and_sessions_and_nobody_else_s() {
        let prefix = "user_prefix = \"corp:\"";
        for (json, named) in [
            (r#"{"format":"iss_sub","iss":"https://i","sub":"alice"}"#, user("corp:alice")),
            (r#"{"subject_type":"iss-sub","iss":"https://i","sub":"alice"}"#, user("corp:alice")),
            (r#"{"format":"iss_sub","iss":"https://other","sub":"alice"}"#, Whom::Nobody),
            (r#"{"format":"opaque","id":"alice"}"#, user("corp:alice")),
            (r#"{"format":"did","url":"did:example:1"}"#, Whom::Nobody),
            (r#"{"format":"account","uri":"acct:alice@i"}"#, Whom::Nobody),
            (
                r#"{"format":"aliases","identifiers":[{"format":"email","email":"a@b"},{"format":"opaque","id":"alice"}]}"#,
                user("corp:alice"),
            ),
            (
                r#"{"format":"complex","user":{"format":"opaque","id":"alice"},"session":{"format":"opaque","id":"s"}}"#,
                Whom::Session("corp:s".parse().unwrap()),
            ),
            (
                r#"{"user":{"format":"opaque","id":"alice"},"session":{"format":"uri","uri":"urn:s"}}"#,
                user("corp:alice"),
            ),
            (r#"{"tenant":{"format":"opaque","id":"t"}}"#, Whom::Nobody),
        ] {
            assert_eq!(whom(json, prefix), named, "{json}");
        }
    }

    #[test]
    fn what_names_users_is_what_their_tokens_name_them_by() {
        let email = r#"{"format":"email","email":"a@b.c"}"#;
        assert_eq!(whom(email, ""), Whom::Addressed(vec!["email:a@b.c".into()]));
        assert_eq!(whom(email, "user_claim = \"email\""), user("a@b.c"));
        let sub = r#"{"format":"iss_sub","iss":"https://i","sub":"alice"}"#;
        assert_eq!(whom(sub, "user_claim = \"email\""), Whom::Nobody);
    }

    #[test]
    fn an_identifier_without_what_its_format_requires_is_refused() {
        for json in [
            "{}",
            "[]",
            r#"{"format":"email"}"#,
            r#"{"format":"email","email":""}"#,
            r#"{"format":"email","email":7}"#,
            r#"{"format":"iss_sub","iss":"https://i"}"#,
            r#"{"format":"opaque","id":"a","id":"b"}"#,
            r#"{"format":"other","id":"a"}"#,
            r#"{"format":"aliases","identifiers":[]}"#,
            r#"{"format":"aliases","identifiers":[{"format":"aliases","identifiers":[{"format":"opaque","id":"a"}]}]}"#,
            r#"{"format":"complex","user":"alice"}"#,
            r#"{"format":"complex","user":{"format":"complex","user":{"format":"opaque","id":"a"}}}"#,
        ] {
            assert!(SubjectId::parse(json.as_bytes()).is_err(), "{json}");
        }
        let long = format!(r#"{{"format":"opaque","id":"{}"}}"#, "a".repeat(1025));
        assert!(SubjectId::parse(long.as_bytes()).is_err());
    }
}
