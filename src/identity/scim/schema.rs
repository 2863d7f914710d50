//! What a resource can have: attributes, and how a schema is shown to clients (RFC 7643 section 7).

use serde_json::{Value, json};

use crate::identity::scim::schemas::COMMON;

/// The most values of an attribute that does not say otherwise.
const VALUES_MAX: usize = 100;

/// A kind of resource.
#[derive(Debug)]
pub struct Model {
    /// Which.
    pub sort: Sort,
    /// Its name.
    pub name: &'static str,
    /// Where resources of it are, below the base URL.
    pub endpoint: &'static str,
    pub(crate) about: &'static str,
    pub(crate) schema: Schema,
    pub(crate) extensions: &'static [Schema],
}

/// The kinds of resource there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A user.
    User,
    /// A group.
    Group,
}

/// A set of attributes.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(crate) urn: &'static str,
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) attributes: &'static [Attribute],
}

/// The type of a value (RFC 7643 section 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// True or false.
    Boolean,
    /// A whole number. In descriptions only.
    Integer,
    /// A point in time, by RFC 3339.
    DateTime,
    /// Base64.
    Binary,
    /// A URI.
    Reference,
    /// Sub-attributes.
    Complex,
}

/// Who may write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutability {
    /// Clients.
    ReadWrite,
    /// Nobody but the server.
    ReadOnly,
    /// Clients, once.
    Immutable,
    /// Clients, and nobody reads it. It is not kept.
    WriteOnly,
}

/// An attribute or a sub-attribute.
#[derive(Debug)]
pub(crate) struct Attribute {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) many: bool,
    pub(crate) required: bool,
    pub(crate) case_exact: bool,
    pub(crate) mutability: Mutability,
    pub(crate) always: bool,
    pub(crate) unique: bool,
    pub(crate) canonical: &'static [&'static str],
    pub(crate) refers_to: &'static [&'static str],
    pub(crate) sub: &'static [Attribute],
    pub(crate) values_max: usize,
    pub(crate) about: &'static str,
}

impl Attribute {
    pub(crate) const fn new(name: &'static str, kind: Kind, about: &'static str) -> Self {
        Self {
            name,
            kind,
            many: false,
            required: false,
            // RFC 7643 sections 2.3.6 and 2.3.7.
            case_exact: matches!(kind, Kind::Binary | Kind::Reference),
            mutability: Mutability::ReadWrite,
            always: false,
            unique: false,
            canonical: &[],
            refers_to: &[],
            sub: &[],
            values_max: VALUES_MAX,
            about,
        }
    }

    pub(crate) const fn text(name: &'static str, about: &'static str) -> Self {
        Self::new(name, Kind::Text, about)
    }

    pub(crate) const fn complex(name: &'static str, sub: &'static [Self], about: &'static str) -> Self {
        Self { sub, ..Self::new(name, Kind::Complex, about) }
    }

    pub(crate) const fn reference(name: &'static str, refers_to: &'static [&'static str], about: &'static str) -> Self {
        Self { refers_to, ..Self::new(name, Kind::Reference, about) }
    }

    pub(crate) const fn many(self) -> Self {
        Self { many: true, ..self }
    }

    pub(crate) const fn at_most(self, values_max: usize) -> Self {
        Self { values_max, ..self }
    }

    pub(crate) const fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub(crate) const fn case_exact(self) -> Self {
        Self { case_exact: true, ..self }
    }

    pub(crate) const fn unique(self) -> Self {
        Self { unique: true, ..self }
    }

    pub(crate) const fn always(self) -> Self {
        Self { always: true, ..self }
    }

    pub(crate) const fn read_only(self) -> Self {
        Self { mutability: Mutability::ReadOnly, ..self }
    }

    pub(crate) const fn immutable(self) -> Self {
        Self { mutability: Mutability::Immutable, ..self }
    }

    pub(crate) const fn write_only(self) -> Self {
        Self { mutability: Mutability::WriteOnly, ..self }
    }

    pub(crate) const fn canonical(self, canonical: &'static [&'static str]) -> Self {
        Self { canonical, ..self }
    }

    /// The sub-attribute of this name.
    pub(crate) fn sub(&self, name: &str) -> Option<&'static Self> {
        self.sub.iter().find(|sub| sub.name.eq_ignore_ascii_case(name))
    }

    fn shown(&self) -> Value {
        let mutability = match self.mutability {
            Mutability::ReadWrite => "readWrite",
            Mutability::ReadOnly => "readOnly",
            Mutability::Immutable => "immutable",
            Mutability::WriteOnly => "writeOnly",
        };
        let returned = match self.mutability {
            Mutability::WriteOnly => "never",
            _ if self.always => "always",
            _ => "default",
        };
        let kind = match self.kind {
            Kind::Text => "string",
            Kind::Boolean => "boolean",
            Kind::Integer => "integer",
            Kind::DateTime => "dateTime",
            Kind::Binary => "binary",
            Kind::Reference => "reference",
            Kind::Complex => "complex",
        };
        let mut shown = json!({
            "name": self.name, "type": kind, "multiValued": self.many, "description": self.about,
            "required": self.required, "caseExact": self.case_exact, "mutability": mutability,
            "returned": returned,
            "uniqueness": if self.unique { "server" } else { "none" },
        });
        if !self.canonical.is_empty() {
            shown["canonicalValues"] = json!(self.canonical);
        }
        if !self.refers_to.is_empty() {
            shown["referenceTypes"] = json!(self.refers_to);
        }
        if !self.sub.is_empty() {
            shown["subAttributes"] = self.sub.iter().map(Self::shown).collect();
        }
        shown
    }
}

impl Schema {
    pub(crate) fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name))
    }

    pub(crate) fn shown(&self) -> Value {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Schema"],
            "id": self.urn, "name": self.name, "description": self.about,
            "attributes": self.attributes.iter().map(Attribute::shown).collect::<Value>(),
        })
    }
}

impl Model {
    /// The URN of its schema.
    pub const fn urn(&self) -> &'static str {
        self.schema.urn
    }

    /// The attribute of this name that is in no extension.
    pub(crate) fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        let common = COMMON.iter().find(|attribute| attribute.name.eq_ignore_ascii_case(name));
        common.or_else(|| self.schema.attribute(name))
    }

    pub(crate) fn extension(&self, urn: &str) -> Option<&'static Schema> {
        self.extensions.iter().find(|extension| extension.urn.eq_ignore_ascii_case(urn))
    }

    /// The URNs that a resource uses: that of its schema, and of each extension that it has.
    pub fn schemas_of(&self, resource: &super::Resource) -> Value {
        let extensions = self.extensions.iter().filter(|extension| resource.contains_key(extension.urn));
        std::iter::once(self.urn()).chain(extensions.map(|extension| extension.urn)).collect()
    }
}
