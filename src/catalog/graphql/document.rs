//! GraphQL documents, and the one spelling in which they are forwarded.

use std::fmt;

use crate::catalog::graphql::Kind;
use crate::catalog::json::write_string;

/// A document of operations and fragments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Document {
    pub(super) operations: Vec<Operation>,
    pub(super) fragments: Vec<Fragment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Operation {
    pub(super) kind: Kind,
    pub(super) name: Option<Box<str>>,
    pub(super) variables: Vec<Variable>,
    pub(super) directives: Vec<Directive>,
    pub(super) selection: Vec<Selection>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    pub(super) name: Box<str>,
    pub(super) on: Box<str>,
    pub(super) directives: Vec<Directive>,
    pub(super) selection: Vec<Selection>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Variable {
    pub(super) name: Box<str>,
    /// As in `[ID!]!`.
    pub(super) kind: Box<str>,
    pub(super) default: Option<Value>,
    pub(super) directives: Vec<Directive>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Directive {
    pub(super) name: Box<str>,
    pub(super) arguments: Vec<(Box<str>, Value)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    Field(Field),
    /// `...name`
    Spread(Box<str>, Vec<Directive>),
    /// `... on Type { … }`
    Inline(Option<Box<str>>, Vec<Directive>, Vec<Selection>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Field {
    pub(super) alias: Option<Box<str>>,
    pub(super) name: Box<str>,
    pub(super) arguments: Vec<(Box<str>, Value)>,
    pub(super) directives: Vec<Directive>,
    pub(super) selection: Vec<Selection>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Variable(Box<str>),
    /// As it was written.
    Number(Box<str>),
    String(Box<str>),
    Boolean(bool),
    Null,
    Enum(Box<str>),
    List(Vec<Value>),
    Object(Vec<(Box<str>, Value)>),
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(name) = &self.name {
            write!(f, " {name}")?;
        }
        for (i, variable) in self.variables.iter().enumerate() {
            write!(f, "{}${}:{}", if i == 0 { "(" } else { "," }, variable.name, variable.kind)?;
            if let Some(default) = &variable.default {
                write!(f, "={default}")?;
            }
            directives(f, &variable.directives)?;
        }
        f.write_str(if self.variables.is_empty() { "" } else { ")" })?;
        directives(f, &self.directives)?;
        selection(f, &self.selection)
    }
}

impl fmt::Display for Fragment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fragment {} on {}", self.name, self.on)?;
        directives(f, &self.directives)?;
        selection(f, &self.selection)
    }
}

fn directives(f: &mut fmt::Formatter<'_>, directives: &[Directive]) -> fmt::Result {
    directives.iter().try_for_each(|directive| {
        write!(f, "@{}", directive.name)?;
        arguments(f, &directive.arguments)
    })
}

fn arguments(f: &mut fmt::Formatter<'_>, arguments: &[(Box<str>, Value)]) -> fmt::Result {
    for (i, (name, value)) in arguments.iter().enumerate() {
        write!(f, "{}{name}:{value}", if i == 0 { "(" } else { "," })?;
    }
    f.write_str(if arguments.is_empty() { "" } else { ")" })
}

fn selection(f: &mut fmt::Formatter<'_>, selected: &[Selection]) -> fmt::Result {
    for (i, part) in selected.iter().enumerate() {
        f.write_str(if i == 0 { "{" } else { " " })?;
        match part {
            Selection::Field(field) => {
                if let Some(alias) = &field.alias {
                    write!(f, "{alias}:")?;
                }
                f.write_str(&field.name)?;
                arguments(f, &field.arguments)?;
                directives(f, &field.directives)?;
                selection(f, &field.selection)?;
            }
            Selection::Spread(name, on) => {
                write!(f, "...{name}")?;
                directives(f, on)?;
            }
            Selection::Inline(on, with, inner) => {
                f.write_str("...")?;
                if let Some(on) = on {
                    write!(f, "on {on}")?;
                }
                directives(f, with)?;
                selection(f, inner)?;
            }
        }
    }
    f.write_str(if selected.is_empty() { "" } else { "}" })
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => write!(f, "${name}"),
            Self::Number(text) | Self::Enum(text) => f.write_str(text),
            Self::String(text) => write_string(f, text),
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Null => f.write_str("null"),
            Self::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("]")
            }
            Self::Object(members) => {
                f.write_str("{")?;
                for (i, (name, value)) in members.iter().enumerate() {
                    write!(f, "{}{name}:{value}", if i == 0 { "" } else { "," })?;
                }
                f.write_str("}")
            }
        }
    }
}
