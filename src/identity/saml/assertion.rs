//! What an assertion says, once its signature holds: about whom, by whom, for whom and until when (SAML core section 2, SAML
//! profiles section 4.1.4, RFC 7522 section 3).

use roxmltree::Node;

use super::document::{self, ASSERTION_NS as NS, children, one, only, optional, text};
use super::signature::SignedAssertion;
use crate::clock::Timestamp;
use crate::config::identity::{ClaimKind, Reuse};
use crate::config::saml::{SamlSessions, SamlTerms, SamlUser};
use crate::id::{Group, Subject};
use crate::identity::user::{Said, for_policies};
use crate::identity::{Refused, VerifiedIdentity};
use crate::key::sha256;
use crate::token::claims::ClaimValue;

const BEARER: &str = "urn:oasis:names:tc:SAML:2.0:cm:bearer";
/// What a `NameID` without a format has (SAML core section 8.3.1).
const UNSPECIFIED: &str = "urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified";

/// Who issued an assertion, by its own word.
pub(super) fn issuer<'a>(assertion: Node<'a, 'a>) -> Result<&'a str, Refused> {
    text(one(assertion, NS, "Issuer")?)
}

/// Reads an assertion whose signature holds.
pub(super) fn identity(
    signed: &SignedAssertion,
    terms: &SamlTerms,
    now: Timestamp,
) -> Result<VerifiedIdentity, Refused> {
    let document = document::parse(signed.xml())?;
    let assertion = document.root_element();
    if !assertion.has_tag_name((NS, "Assertion")) || assertion.attribute("ID") != Some(signed.id()) {
        return Err(Refused::new("its signature is for another element: `URI` and `ID` must be equal"));
    }
    if assertion.attribute("Version") != Some("2.0") {
        return Err(Refused::new("its `Version` is not 2.0"));
    }
    if issuer(assertion)? != &*terms.entity_id {
        return Err(Refused::new("its `Issuer` is another provider's"));
    }
    let statements = ["AuthnStatement", "AttributeStatement", "AuthzDecisionStatement"];
    only(assertion, NS, &[&["Issuer", "Subject", "Conditions", "Advice"], &statements[..]].concat())?;
    fresh(assertion, terms, now)?;
    let subject = one(assertion, NS, "Subject")?;
    let conditions = conditions(assertion, terms, now)?;
    // Of all its ends the first: what was not meant to count later can't buy what does.
    let until = conditions.until.min(confirmed(subject, terms, now)?);
    let login = login(assertion, terms, now)?;
    let attributes = Attributes::read(assertion)?;
    let user = match &terms.user {
        SamlUser::NameId(formats) => name_id(subject, formats, terms)?,
        SamlUser::Attribute(name) => attributes.only(name)?,
    };
    Ok(VerifiedIdentity {
        provider: terms.name.clone(),
        tenant: terms.tenant.clone(),
        subject: named("user", user, terms)?,
        groups: attributes.groups(&terms.groups_attribute)?,
        claims: for_policies(&terms.name, &terms.policy_claims, |name, kind| attributes.for_policy(name, kind))?,
        session: match (terms.sessions, login.session) {
            (SamlSessions::Unique, Some(session)) => Some(named("`SessionIndex`", session, terms)?),
            (SamlSessions::Recurring, _) | (_, None) => None,
        },
        login: login.at,
        expires: login.until.map_or(until, |end| end.min(until)),
        writ_ttl_max: terms.writ_ttl_max,
        clock_skew: terms.clock_skew,
        // By its name and not its bytes: the same assertion can stand in many documents.
        digest: sha256(&[b"writ assertion\0", terms.entity_id.as_bytes(), b"\0", signed.id().as_bytes()].concat()),
        single_use: terms.reuse == Reuse::Once || conditions.once,
        bound_to: None,
        may_act: None,
    })
}

fn fresh(assertion: Node<'_, '_>, terms: &SamlTerms, now: Timestamp) -> Result<(), Refused> {
    let issued = time(assertion, "IssueInstant")?.ok_or_else(|| Refused::new("its `IssueInstant` is missing"))?;
    not_ahead("IssueInstant", issued, terms, now)?;
    if now.since(issued) > terms.assertion_age_max {
        return Err(Refused::new(format!(
            "it is older than {} s (`assertion_age_max_s` of provider `{}`): get a fresh one from the provider",
            terms.assertion_age_max.as_secs(),
            terms.name
        )));
    }
    Ok(())
}

/// Checks that whoever brings the assertion here may, and until when.
fn confirmed<'a>(subject: Node<'a, 'a>, terms: &SamlTerms, now: Timestamp) -> Result<Timestamp, Refused> {
    only(subject, NS, &["NameID", "SubjectConfirmation"])?;
    let confirmation = one(subject, NS, "SubjectConfirmation")?;
    if confirmation.attribute("Method") != Some(BEARER) {
        return Err(Refused::new("its `SubjectConfirmation` is not of the method `bearer`"));
    }
    only(confirmation, NS, &["SubjectConfirmationData"])?;
    let data = one(confirmation, NS, "SubjectConfirmationData")?;
    if data.attribute("Recipient") != Some(&*terms.recipient) {
        return Err(Refused::new(format!(
            "its `Recipient` is not {} (`recipient` of provider `{}`)",
            terms.recipient, terms.name
        )));
    }
    // SAML profiles section 4.1.4.2.
    if data.has_attribute("NotBefore") {
        return Err(Refused::new("its `SubjectConfirmationData` has `NotBefore`, which must not stand there"));
    }
    end(data, "NotOnOrAfter", now)?.ok_or_else(|| Refused::new("its `SubjectConfirmationData` has no `NotOnOrAfter`"))
}

struct Conditions {
    until: Timestamp,
    once: bool,
}

fn conditions<'a>(assertion: Node<'a, 'a>, terms: &SamlTerms, now: Timestamp) -> Result<Conditions, Refused> {
    let conditions = one(assertion, NS, "Conditions")?;
    // One that is not known is not met.
    only(conditions, NS, &["AudienceRestriction", "OneTimeUse"])?;
    if let Some(not_before) = time(conditions, "NotBefore")? {
        not_ahead("NotBefore", not_before, terms, now)?;
    }
    let until = end(conditions, "NotOnOrAfter", now)?;
    let restriction = one(conditions, NS, "AudienceRestriction")?;
    only(restriction, NS, &["Audience"])?;
    // Whoever else is meant could have brought it here.
    if text(one(restriction, NS, "Audience")?)? != &*terms.audience {
        return Err(Refused::new(format!(
            "its `Audience` is not {} (`audience` of provider `{}`)",
            terms.audience, terms.name
        )));
    }
    Ok(Conditions {
        until: until.ok_or_else(|| Refused::new("its `Conditions` have no `NotOnOrAfter`"))?,
        once: optional(conditions, NS, "OneTimeUse")?.is_some(),
    })
}

struct Login<'a> {
    at: Timestamp,
    session: Option<&'a str>,
    until: Option<Timestamp>,
}

fn login<'a>(assertion: Node<'a, 'a>, terms: &SamlTerms, now: Timestamp) -> Result<Login<'a>, Refused> {
    let statement = one(assertion, NS, "AuthnStatement")?;
    let at = time(statement, "AuthnInstant")?.ok_or_else(|| Refused::new("its `AuthnInstant` is missing"))?;
    not_ahead("AuthnInstant", at, terms, now)?;
    if let Some(age_max) = terms.login_age_max
        && now.since(at) > age_max
    {
        return Err(Refused::new(format!("the login is older than {} s: log in again", age_max.as_secs())));
    }
    Ok(Login { at, session: statement.attribute("SessionIndex"), until: end(statement, "SessionNotOnOrAfter", now)? })
}

fn name_id<'a>(subject: Node<'a, 'a>, formats: &[Box<str>], terms: &SamlTerms) -> Result<&'a str, Refused> {
    let name_id = one(subject, NS, "NameID")?;
    let format = name_id.attribute("Format").unwrap_or(UNSPECIFIED);
    if !formats.iter().any(|known| **known == *format) {
        return Err(Refused::new(format!(
            "its `NameID` has a format that does not count: `name_id_formats` of provider `{}` lists those that do",
            terms.name
        )));
    }
    // Otherwise it is a name in somebody else's list of users.
    let qualified = |attribute: &str, by: &str| name_id.attribute(attribute).is_none_or(|named| named == by);
    if !qualified("NameQualifier", &terms.entity_id) || !qualified("SPNameQualifier", &terms.audience) {
        return Err(Refused::new("its `NameID` is qualified by another provider or audience than its own"));
    }
    text(name_id)
}

/// The attributes of all statements.
struct Attributes<'a>(Vec<(&'a str, Node<'a, 'a>)>);

impl<'a> Attributes<'a> {
    fn read(assertion: Node<'a, 'a>) -> Result<Self, Refused> {
        let mut all = Vec::new();
        let statements = children(assertion)?.into_iter().filter(|node| node.has_tag_name((NS, "AttributeStatement")));
        for statement in statements {
            only(statement, NS, &["Attribute"])?;
            for attribute in children(statement)? {
                only(attribute, NS, &["AttributeValue"])?;
                all.push((attribute.attribute("Name").unwrap_or(""), attribute));
            }
        }
        Ok(Self(all))
    }

    /// The values of an attribute; none if it is not there.
    fn values(&self, name: &str) -> Result<Vec<&'a str>, Refused> {
        let mut found = self.0.iter().filter(|(other, _)| *other == name);
        match (found.next(), found.next()) {
            (None, _) => Ok(Vec::new()),
            (Some((_, attribute)), None) => children(*attribute)?.into_iter().map(text).collect(),
            (Some(_), Some(_)) => {
                Err(Refused::new(format!("its attribute `{name}` stands in it twice, which can mean two things")))
            }
        }
    }

    fn only(&self, name: &str) -> Result<&'a str, Refused> {
        match self.values(name)?[..] {
            [value] => Ok(value),
            _ => Err(Refused::new(format!("its attribute `{name}`, which names the user, has not exactly one value"))),
        }
    }

    /// What an attribute says to policies. All values of an attribute are texts.
    fn for_policy(&self, name: &str, kind: ClaimKind) -> Result<Said, Refused> {
        let values = self.values(name)?;
        Ok(match (kind, &values[..]) {
            (_, []) => Said::Nothing,
            (ClaimKind::Strings, values) => Said::texts(values.iter().map(|value| (*value).to_owned()).collect()),
            (ClaimKind::String, [only]) => Said::text((*only).to_owned()),
            // As `xs:boolean` and `xs:integer` are written in one way.
            (ClaimKind::Boolean, ["true"]) => Said::Value(ClaimValue::Boolean(true)),
            (ClaimKind::Boolean, ["false"]) => Said::Value(ClaimValue::Boolean(false)),
            (ClaimKind::Integer, [only]) => match only.parse::<i64>() {
                Ok(number) if number.to_string() == *only => Said::Value(ClaimValue::Integer(number)),
                _ => Said::Otherwise,
            },
            (ClaimKind::String | ClaimKind::Boolean | ClaimKind::Integer, _) => Said::Otherwise,
        })
    }

    fn groups(&self, name: &str) -> Result<Vec<Group>, Refused> {
        let groups = self.values(name)?.into_iter().map(|group| group.parse().ok()).collect::<Option<_>>();
        groups.ok_or_else(|| {
            Refused::new(format!(
                "its attribute `{name}` holds a group that is not 1 to 255 bytes without control characters"
            ))
        })
    }
}

/// A user or a session, by the name that is unique in the tenant.
fn named(what: &str, name: &str, terms: &SamlTerms) -> Result<Subject, Refused> {
    let named = (!name.is_empty()).then(|| format!("{}{name}", terms.user_prefix)).and_then(|name| name.parse().ok());
    named.ok_or_else(|| Refused::new(format!("its {what} is not a text of 1 to 255 bytes without control characters")))
}

/// When something ends, which must be later than now, without allowance.
fn end(node: Node<'_, '_>, attribute: &str, now: Timestamp) -> Result<Option<Timestamp>, Refused> {
    match time(node, attribute)? {
        Some(end) if end <= now => Err(Refused::new(format!(
            "it has expired by the `{attribute}` of its `{}`: get a fresh one from the provider",
            document::name(node)
        ))),
        end => Ok(end),
    }
}

fn not_ahead(what: &str, time: Timestamp, terms: &SamlTerms, now: Timestamp) -> Result<(), Refused> {
    if time <= now.after(terms.clock_skew) {
        return Ok(());
    }
    Err(Refused::new(format!(
        "its `{what}` is in the future: set the clocks right, or `clock_skew_s` of provider `{}`",
        terms.name
    )))
}

/// An `xs:dateTime` in UTC, as SAML core section 1.3.3 asks for, rounded down to the second.
fn time(node: Node<'_, '_>, attribute: &str) -> Result<Option<Timestamp>, Refused> {
    let Some(text) = node.attribute(attribute) else { return Ok(None) };
    let wrong = || Refused::new(format!("its `{attribute}` is not a time such as 2026-11-22T10:00:00Z"));
    let (whole, rest) = text.split_at_checked(19).ok_or_else(wrong)?;
    let fits = whole.bytes().zip(b"0000-00-00T00:00:00".iter()).all(|(byte, form)| match form {
        b'0' => byte.is_ascii_digit(),
        form => byte == *form,
    });
    let fraction = rest.strip_suffix('Z').ok_or_else(wrong)?;
    let fraction = fraction
        .strip_prefix('.')
        .map_or(fraction.is_empty(), |digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    if !fits || !fraction {
        return Err(wrong());
    }
    let time: jiff::Timestamp = format!("{whole}Z").parse().map_err(|_| wrong())?;
    Ok(Some(Timestamp::from_secs(time.as_second())))
}
