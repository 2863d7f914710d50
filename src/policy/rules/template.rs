//! Policies with parameters, ready to use. A parameter's value becomes a literal of Cedar: never policy text.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::id::{AgentName, Group, Subject, shown};
use crate::policy::rules::expression::quoted;
use crate::token::Path;

/// A policy with parameters, and cases that show what it does.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Template {
    /// What it is called.
    pub name: Box<str>,
    /// What it allows, in a sentence or two.
    pub about: Box<str>,
    /// The services of the catalog that it is for.
    pub services: Vec<Box<str>>,
    /// Words by which somebody may look for it.
    pub words: Vec<Box<str>>,
    /// Its parameters.
    #[serde(rename = "parameter")]
    pub parameters: Vec<Parameter>,
    /// Cedar, with `{{name}}` where a parameter's value goes.
    pub policy: Box<str>,
    /// Its cases, as in a file beside a policy; they are for the parameters' examples.
    pub cases: Box<str>,
}

/// A parameter of a template.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Parameter {
    /// Its name.
    pub name: Box<str>,
    /// What may be given for it.
    pub kind: Kind,
    /// What it is for.
    pub about: Box<str>,
    /// A value as it is given, for which the cases hold.
    pub example: Vec<Box<str>>,
    /// Put before a path to make a resource of it.
    #[serde(default)]
    pub within: Box<str>,
}

/// What may be given for a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An agent's name.
    Agent,
    /// A group's name.
    Group,
    /// A user, as the identity provider names it.
    User,
    /// A resource: segments with `/` between them.
    Path,
    /// An hour of the day, 0 to 24.
    Hour,
    /// Whom an approval is asked of: a group, or `approver`.
    Approver,
}

/// Why a template cannot be filled in.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadParameter(String);

macro_rules! templates {
    ($($name:literal),*) => {
        [$(($name, include_str!(concat!("../templates/", $name, ".toml")))),*]
    };
}

const FILES: [(&str, &str); 5] =
    templates!("calendar-assistant", "deployer", "e-mail-assistant", "read-only-analyst", "repository-triage");

impl Template {
    /// All of them, by name.
    pub fn all() -> Vec<Self> {
        // Expect safety: the files are constant, and a test reads each.
        FILES.iter().map(|(_, text)| toml::from_str(text).expect("a template of ours is read")).collect()
    }

    /// The one of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().into_iter().find(|template| *template.name == *name)
    }

    /// The one that a description in words is most like; `None` if no word fits.
    pub fn nearest(words: &str) -> Option<Self> {
        let words: Vec<String> = words
            .split(|c: char| !c.is_alphanumeric())
            .map(|word| word.to_lowercase().trim_end_matches('s').to_owned())
            .filter(|word| word.len() > 2)
            .collect();
        let fit = |template: &Self| {
            let own: Vec<&str> = template.words.iter().map(|word| word.trim_end_matches('s')).collect();
            words.iter().filter(|word| own.contains(&word.as_str())).count()
        };
        Self::all().into_iter().filter(|template| fit(template) > 0).max_by_key(fit)
    }

    /// The parameters' examples.
    pub fn example(&self) -> BTreeMap<Box<str>, Vec<Box<str>>> {
        self.parameters.iter().map(|parameter| (parameter.name.clone(), parameter.example.clone())).collect()
    }

    /// The policies, with these values; each parameter needs one value.
    pub fn fill(&self, values: &BTreeMap<Box<str>, Vec<Box<str>>>) -> Result<String, BadParameter> {
        if let Some(unknown) = values.keys().find(|name| !self.parameters.iter().any(|known| known.name == **name)) {
            let names: Vec<String> = self.parameters.iter().map(|known| format!("`{}`", known.name)).collect();
            let told = format!("`{}` has no parameter `{}`: it has {}", self.name, shown(unknown), names.join(", "));
            return Err(BadParameter(told));
        }
        let mut literals = BTreeMap::new();
        for parameter in &self.parameters {
            let given = values.get(&parameter.name).map(Vec::as_slice).unwrap_or_default();
            let [value] = given else {
                let Parameter { name, about, .. } = parameter;
                return Err(BadParameter(format!("give one value for `{name}` ({about}): `--param {name}=…`")));
            };
            literals.insert(&*parameter.name, parameter.literal(value)?);
        }
        Ok(filled(&self.policy, &literals))
    }
}

/// One pass from the left: what a value holds is never looked at again.
fn filled(text: &str, literals: &BTreeMap<&str, String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (name, behind) = after.split_once("}}").unwrap_or((after, ""));
        out.push_str(literals.get(name).map(String::as_str).unwrap_or_default());
        rest = behind;
    }
    out + rest
}

impl Parameter {
    /// A value as a literal of Cedar.
    fn literal(&self, value: &str) -> Result<String, BadParameter> {
        let wrong = |error: String| BadParameter(format!("`{}`: `{}`: {error}", self.name, shown(value)));
        match self.kind {
            Kind::Agent => {
                value.parse::<AgentName>().map(|name| quoted(name.as_str())).map_err(|e| wrong(e.to_string()))
            }
            Kind::User => value.parse::<Subject>().map(|name| quoted(name.as_str())).map_err(|e| wrong(e.to_string())),
            Kind::Group | Kind::Approver => {
                value.parse::<Group>().map(|name| quoted(name.as_str())).map_err(|e| wrong(e.to_string()))
            }
            Kind::Path => {
                let path =
                    Path::from_segments(value.split('/').map(str::as_bytes)).map_err(|e| wrong(e.to_string()))?;
                Ok(quoted(&format!("{}{path}", self.within)))
            }
            Kind::Hour => match value.parse::<u8>() {
                Ok(hour) if hour <= 24 => Ok(hour.to_string()),
                _ => Err(wrong("write an hour from 0 to 24".to_owned())),
            },
        }
    }
}

#[cfg(test)]
mod tests;
