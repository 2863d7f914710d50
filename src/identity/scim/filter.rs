//! Filters (RFC 7644 section 3.4.2.2): the whole grammar, within limits.

use serde_json::Value;

use crate::identity::scim::path::AttributePath;
use crate::identity::scim::schema::{Attribute, Kind, Model, Mutability};
use crate::identity::scim::{Fault, Refused, Resource};

/// The longest filter in bytes.
const BYTES_MAX: usize = 4096;
/// How deep parentheses, brackets and `not` may be nested.
const DEPTH_MAX: usize = 16;
/// The most comparisons.
const TERMS_MAX: usize = 64;

/// A filter over resources of one kind.
#[derive(Debug)]
pub struct Filter(Term);

#[derive(Debug)]
enum Term {
    And(Vec<Term>),
    Or(Vec<Term>),
    Not(Box<Term>),
    Present(AttributePath),
    Compare {
        path: AttributePath,
        operator: Operator,
        with: Value,
    },
    /// Some value of a complex attribute fits.
    Any(AttributePath, Box<Term>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Contains,
    Starts,
    Ends,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

const OPERATORS: [(&str, Operator); 9] = [
    ("eq", Operator::Equal),
    ("ne", Operator::Unequal),
    ("co", Operator::Contains),
    ("sw", Operator::Starts),
    ("ew", Operator::Ends),
    ("gt", Operator::Greater),
    ("ge", Operator::GreaterOrEqual),
    ("lt", Operator::Less),
    ("le", Operator::LessOrEqual),
];

/// What narrows a search to a few resources, by an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Narrow<'a> {
    /// `id eq …`
    Id(&'a str),
    /// `userName eq …`, `displayName eq …` of a group.
    Name(&'a str),
    /// `externalId eq …`
    ExternalId(&'a str),
}

impl Filter {
    /// Reads a filter over resources of `model`.
    pub fn parse(model: &'static Model, text: &str) -> Result<Self, Refused> {
        if text.len() > BYTES_MAX {
            return Err(wrong(format!("the filter is longer than {BYTES_MAX} bytes")));
        }
        let mut parser = Parser { text, at: 0, terms: 0, scope: Scope::Resource(model) };
        let term = parser.alternatives(0)?;
        parser.space();
        if parser.at < text.len() {
            return Err(parser.unexpected());
        }
        Ok(Self(term))
    }

    /// Reads what stands between brackets behind `attribute`.
    pub(super) fn parse_within(attribute: &'static Attribute, text: &str) -> Result<Self, Refused> {
        let mut parser = Parser { text, at: 0, terms: 0, scope: Scope::Value(attribute) };
        let term = parser.alternatives(0)?;
        parser.space();
        if parser.at < text.len() {
            return Err(parser.unexpected());
        }
        Ok(Self(term))
    }

    /// Whether `resource` fits.
    pub fn fits(&self, resource: &Resource) -> bool {
        self.0.fits(resource)
    }

    /// What every resource that fits has in common, if an index knows it.
    pub fn narrow(&self) -> Option<Narrow<'_>> {
        match &self.0 {
            Term::And(terms) => terms.iter().find_map(Term::narrow),
            term => term.narrow(),
        }
    }

    /// Whether it looks at this attribute.
    pub fn looks_at(&self, name: &str) -> bool {
        self.0.looks_at(name)
    }

    /// The sub-attributes that a value must have, where all of them are joined by `and`: to make one that fits.
    pub(super) fn demands(&self) -> Option<Resource> {
        let terms = match &self.0 {
            Term::And(terms) => terms.as_slice(),
            term => std::slice::from_ref(term),
        };
        let demand = |term: &Term| match term {
            Term::Compare { path, operator: Operator::Equal, with } if !with.is_null() => {
                Some((path.leaf()?.name.to_owned(), with.clone()))
            }
            _ => None,
        };
        terms.iter().map(demand).collect()
    }
}

fn wrong(detail: impl Into<String>) -> Refused {
    Refused::new(Fault::InvalidFilter, detail)
}

impl Term {
    fn fits(&self, resource: &Resource) -> bool {
        match self {
            Self::And(terms) => terms.iter().all(|term| term.fits(resource)),
            Self::Or(terms) => terms.iter().any(|term| term.fits(resource)),
            Self::Not(term) => !term.fits(resource),
            Self::Present(path) => !path.values(resource).is_empty(),
            Self::Any(path, term) => {
                path.values(resource).into_iter().filter_map(Value::as_object).any(|value| term.fits(value))
            }
            Self::Compare { path, operator, with } => {
                let values = path.values(resource);
                let Some(leaf) = path.leaf() else { return false };
                match operator {
                    Operator::Equal if with.is_null() => values.is_empty(),
                    Operator::Unequal if with.is_null() => !values.is_empty(),
                    Operator::Unequal => !values.iter().any(|value| holds(leaf, value, Operator::Equal, with)),
                    operator => values.iter().any(|value| holds(leaf, value, *operator, with)),
                }
            }
        }
    }

    fn narrow(&self) -> Option<Narrow<'_>> {
        let Self::Compare { path, operator: Operator::Equal, with: Value::String(with) } = self else { return None };
        if path.extension.is_some() || path.sub.is_some() {
            return None;
        }
        match path.attribute?.name {
            "id" => Some(Narrow::Id(with)),
            "externalId" => Some(Narrow::ExternalId(with)),
            // Of a user `displayName` is another thing, with no index: it is not required there.
            "userName" => Some(Narrow::Name(with)),
            "displayName" if path.attribute?.required => Some(Narrow::Name(with)),
            _ => None,
        }
    }

    fn looks_at(&self, name: &str) -> bool {
        let is = |path: &AttributePath| path.attribute.is_some_and(|attribute| attribute.name == name);
        match self {
            Self::And(terms) | Self::Or(terms) => terms.iter().any(|term| term.looks_at(name)),
            Self::Not(term) => term.looks_at(name),
            Self::Present(path) | Self::Compare { path, .. } | Self::Any(path, _) => is(path),
        }
    }
}

/// Whether one value compares so. What cannot be compared was refused when the filter was read.
fn holds(leaf: &Attribute, value: &Value, operator: Operator, with: &Value) -> bool {
    // Of a value with parts, the part that is called so (RFC 7643 section 2.4).
    let value = if leaf.kind == Kind::Complex { &value["value"] } else { value };
    match (value, with) {
        (Value::Bool(value), Value::Bool(with)) => operator == Operator::Equal && value == with,
        (Value::String(value), Value::String(with)) => match leaf.kind {
            Kind::DateTime => match (value.parse::<jiff::Timestamp>(), with.parse::<jiff::Timestamp>()) {
                (Ok(value), Ok(with)) => in_order(&value, operator, &with),
                _ => false,
            },
            _ if leaf.compares_case() => text_holds(value, operator, with),
            _ => text_holds(&value.to_lowercase(), operator, &with.to_lowercase()),
        },
        _ => false,
    }
}

fn text_holds(value: &str, operator: Operator, with: &str) -> bool {
    match operator {
        Operator::Contains => value.contains(with),
        Operator::Starts => value.starts_with(with),
        Operator::Ends => value.ends_with(with),
        operator => in_order(value, operator, with),
    }
}

fn in_order<T: Ord + ?Sized>(value: &T, operator: Operator, with: &T) -> bool {
    match operator {
        Operator::Equal => value == with,
        Operator::Greater => value > with,
        Operator::GreaterOrEqual => value >= with,
        Operator::Less => value < with,
        Operator::LessOrEqual => value <= with,
        Operator::Unequal | Operator::Contains | Operator::Starts | Operator::Ends => false,
    }
}

impl Attribute {
    /// Whether its values, or those that stand for it, compare with regard to case.
    fn compares_case(&self) -> bool {
        if self.kind == Kind::Complex { self.sub("value").is_some_and(|sub| sub.case_exact) } else { self.case_exact }
    }
}

/// Where names are looked up.
#[derive(Clone, Copy)]
enum Scope {
    Resource(&'static Model),
    Value(&'static Attribute),
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    terms: usize,
    scope: Scope,
}

impl<'a> Parser<'a> {
    fn alternatives(&mut self, depth: usize) -> Result<Term, Refused> {
        if depth > DEPTH_MAX {
            return Err(wrong(format!("the filter is nested deeper than {DEPTH_MAX} levels")));
        }
        let mut terms = vec![self.conjunction(depth)?];
        while self.takes_word("or") {
            terms.push(self.conjunction(depth)?);
        }
        Ok(one_or(terms, Term::Or))
    }

    fn conjunction(&mut self, depth: usize) -> Result<Term, Refused> {
        let mut terms = vec![self.term(depth)?];
        while self.takes_word("and") {
            terms.push(self.term(depth)?);
        }
        Ok(one_or(terms, Term::And))
    }

    fn term(&mut self, depth: usize) -> Result<Term, Refused> {
        let before = self.at;
        if self.takes_word("not") {
            if self.takes('(') {
                return Ok(Term::Not(Box::new(self.enclosed(')', depth)?)));
            }
            self.at = before;
        }
        if self.takes('(') {
            return self.enclosed(')', depth);
        }
        self.terms += 1;
        if self.terms > TERMS_MAX {
            return Err(wrong(format!("the filter has more than {TERMS_MAX} comparisons")));
        }
        let path = self.path()?;
        if self.takes('[') {
            return self.any(path, depth);
        }
        let operator = self.word().to_ascii_lowercase();
        if operator == "pr" {
            return Ok(Term::Present(path));
        }
        let found = OPERATORS.iter().find(|(name, _)| *name == operator);
        let Some((_, operator)) = found else { return Err(self.unexpected()) };
        let with = self.value()?;
        comparable(&path, *operator, &with)?;
        Ok(Term::Compare { path, operator: *operator, with })
    }

    fn any(&mut self, path: AttributePath, depth: usize) -> Result<Term, Refused> {
        let (Scope::Resource(_), Some(attribute), None) = (self.scope, path.attribute, path.sub) else {
            return Err(self.unexpected());
        };
        let outer = std::mem::replace(&mut self.scope, Scope::Value(attribute));
        let term = self.enclosed(']', depth);
        self.scope = outer;
        Ok(Term::Any(path, Box::new(term?)))
    }

    fn enclosed(&mut self, end: char, depth: usize) -> Result<Term, Refused> {
        let term = self.alternatives(depth + 1)?;
        if self.takes(end) { Ok(term) } else { Err(self.unexpected()) }
    }

    fn path(&mut self) -> Result<AttributePath, Refused> {
        let name = self.word();
        let path = match self.scope {
            // Nobody may find out by a filter what nobody may read.
            Scope::Resource(model) => AttributePath::parse(model, name)
                .filter(|path| path.attribute.is_some_and(|found| found.mutability != Mutability::WriteOnly)),
            Scope::Value(attribute) => AttributePath::within(attribute, name),
        };
        path.ok_or_else(|| wrong(format!("the filter names no attribute at `{}`", crate::id::shown(name))))
    }

    /// A JSON text, `true`, `false`, `null` or a number.
    fn value(&mut self) -> Result<Value, Refused> {
        self.space();
        let rest = &self.text[self.at..];
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        match values.next() {
            Some(Ok(value)) if !value.is_array() && !value.is_object() => {
                self.at += values.byte_offset();
                Ok(value)
            }
            _ => Err(self.unexpected()),
        }
    }

    /// The name or operator here; empty if there is none.
    fn word(&mut self) -> &'a str {
        self.space();
        let rest = &self.text[self.at..];
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '_' | '$')));
        let word = &rest[..end.unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn takes_word(&mut self, word: &str) -> bool {
        let before = self.at;
        if self.word().eq_ignore_ascii_case(word) {
            return true;
        }
        self.at = before;
        false
    }

    fn takes(&mut self, c: char) -> bool {
        self.space();
        let found = self.text[self.at..].starts_with(c);
        if found {
            self.at += c.len_utf8();
        }
        found
    }

    fn space(&mut self) {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start_matches(' ').len();
    }

    fn unexpected(&self) -> Refused {
        wrong(format!("the filter cannot be understood at byte {}: see RFC 7644 section 3.4.2.2", self.at))
    }
}

fn one_or(mut terms: Vec<Term>, several: fn(Vec<Term>) -> Term) -> Term {
    match (terms.pop(), terms.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            terms.extend(last);
            several(terms)
        }
    }
}

fn comparable(path: &AttributePath, operator: Operator, with: &Value) -> Result<(), Refused> {
    let Some(leaf) = path.leaf() else { return Err(wrong("an extension as a whole cannot be compared")) };
    let kind = match leaf.kind {
        Kind::Complex => leaf.sub("value").map_or(Kind::Complex, |sub| sub.kind),
        kind => kind,
    };
    let equality = matches!(operator, Operator::Equal | Operator::Unequal);
    let fits = match (kind, with) {
        (Kind::Complex, _) => false,
        (_, Value::Null) | (Kind::Boolean, Value::Bool(_)) => equality,
        (Kind::DateTime, Value::String(text)) => {
            text.parse::<jiff::Timestamp>().is_ok()
                && !matches!(operator, Operator::Contains | Operator::Starts | Operator::Ends)
        }
        (Kind::Text | Kind::Reference, Value::String(_)) => true,
        (Kind::Binary, Value::String(_)) => equality,
        _ => false,
    };
    if fits { Ok(()) } else { Err(wrong(format!("`{}` cannot be compared with that, or not so", leaf.name))) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::scim::{GROUP, USER};

    fn bjensen() -> Resource {
        let user = json!({
            "id": "2819c223", "externalId": "Ext-1", "userName": "bjensen@example.com", "active": true, "title": "Tour Guide",
            "name": { "familyName": "Jensen" }, "userType": "Employee",
            "emails": [
                { "value": "bjensen@example.com", "type": "work", "primary": true },
                { "value": "babs@jensen.org", "type": "home" },
            ],
            "meta": { "lastModified": "2011-05-13T04:42:34Z" },
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "Tours", "manager": { "value": "26118915" } },
        });
        user.as_object().unwrap().clone()
    }

    fn fits(filter: &str) -> bool {
        Filter::parse(&USER, filter).unwrap_or_else(|error| panic!("{filter}: {error}")).fits(&bjensen())
    }

    #[test]
    fn the_examples_of_the_rfc_and_their_like_are_understood() {
        for filter in [
            r#"userName Eq "BJENSEN@example.com""#,
            r#"urn:ietf:params:scim:schemas:core:2.0:User:userName sw "b""#,
            r#"name.familyName co "ense""#,
            r#"title pr"#,
            r#"title pr and userType eq "Employee""#,
            r#"title pr or userType eq "Intern""#,
            r#"meta.lastModified gt "2011-05-13T04:42:33Z""#,
            r#"meta.lastModified le "2011-05-13T06:42:34+02:00""#,
            r#"emails co "example.com""#,
            r#"userType eq "Employee" and (emails co "example.com" or emails.value co "example.org")"#,
            r#"userType ne "Intern" and not (emails co "nowhere")"#,
            r#"emails[type eq "work" and value co "@example.com"]"#,
            r#"emails[not (type eq "work")] and active eq true"#,
            r#"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value eq "26118915""#,
            r#"URN:ietf:params:scim:schemas:extension:enterprise:2.0:User:department ew "ours""#,
            r#"nickName eq null"#,
            r#"title ne null"#,
            r#"externalId eq "Ext-1""#,
            r#"userName eq "bjensen\u0040example.com""#,
        ] {
            assert!(fits(filter), "{filter}");
        }
        for filter in [
            r#"externalId eq "ext-1""#,
            r#"emails[type eq "work" and value co "jensen.org"]"#,
            r#"not (title pr)"#,
            r#"title pr and userType eq "Intern" or active eq false"#,
            r#"nickName pr"#,
            r#"meta.lastModified gt "2011-05-13T04:42:34Z""#,
            r#"userName ne "bjensen@example.com""#,
            r#"nickName co "x""#,
        ] {
            assert!(!fits(filter), "{filter}");
        }
    }

    #[test]
    fn and_binds_closer_than_or() {
        assert!(fits(r#"title pr or title pr and nickName pr"#));
        assert!(!fits(r#"(title pr or title pr) and nickName pr"#));
    }

    #[test]
    fn what_is_no_filter_is_refused_and_so_is_what_is_too_much() {
        let deep = format!("{}title pr{}", "(".repeat(17), ")".repeat(17));
        let many = vec!["title pr"; 65].join(" or ");
        let long = format!(r#"title eq "{}""#, "a".repeat(4096));
        for filter in [
            "",
            "title",
            "title eq",
            "title eq Tour",
            "title is \"x\"",
            "nosuch pr",
            "title pr title pr",
            "title pr)",
            "(title pr",
            "emails[type pr",
            "emails[nosuch pr]",
            "emails[type[value pr]]",
            "emails[emails.type pr]",
            "active gt true",
            "active eq \"yes\"",
            "title eq 7",
            "title eq [\"x\"]",
            "name eq \"x\"",
            "meta.lastModified gt \"yesterday\"",
            "urn:nobody:User:title pr",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User pr",
            "not title pr",
            "password pr",
            "title\tpr",
            &deep,
            &many,
            &long,
        ] {
            assert_eq!(Filter::parse(&USER, filter).unwrap_err().fault, Fault::InvalidFilter, "{filter}");
        }
        assert!(Filter::parse(&USER, &deep[1..deep.len() - 1]).is_ok());
    }

    #[test]
    fn an_index_is_used_where_the_filter_leaves_no_others() {
        let narrow = |model, text: &str| Filter::parse(model, text).unwrap().narrow().map(|found| format!("{found:?}"));
        assert_eq!(narrow(&USER, r#"active eq true and userName eq "b""#), Some(r#"Name("b")"#.into()));
        assert_eq!(narrow(&USER, r#"externalId eq "b""#), Some(r#"ExternalId("b")"#.into()));
        assert_eq!(narrow(&GROUP, r#"displayName eq "b""#), Some(r#"Name("b")"#.into()));
        for text in [
            r#"displayName eq "b""#,
            r#"userName eq "b" or title pr"#,
            r#"not (userName eq "b")"#,
            r#"userName sw "b""#,
        ] {
            assert_eq!(narrow(&USER, text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in ".{0,200}") {
            let _ = Filter::parse(&USER, &text);
        }

        #[test]
        fn no_shuffled_filter_breaks_the_reader(words in proptest::collection::vec(
            proptest::sample::select(vec!["title", "emails", "[", "]", "(", ")", "not", "and", "or", "pr", "eq", "\"x\"", "active", "true", "null", "."]), 0..40)) {
            if let Ok(filter) = Filter::parse(&USER, &words.join(" ")) {
                let _ = filter.fits(&bjensen());
            }
        }
    }
}
