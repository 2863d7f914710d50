//! What a route's requests do, and the arguments they are asked for.

use http::HeaderName;

use crate::catalog::argument::{ArgumentRule, Kind, ListForm, Place, Source};
use crate::catalog::body::BodyKind;
use crate::catalog::headers::reaches_upstream;
use crate::catalog::json::Pointer;
use crate::catalog::load::invalid;
use crate::catalog::pattern::Pattern;
use crate::catalog::route::{Call, Selector};
use crate::catalog::service::{CatalogError, Service};
use crate::catalog::spec::{ArgumentSpec, RouteSpec};
use crate::id::shown;
use crate::token::Path;

/// A route's calls: one, or where its body holds several, one for each entry.
pub(super) fn calls(
    spec: &RouteSpec,
    pattern: &Pattern,
    body: Option<BodyKind>,
    place: &str,
) -> Result<Vec<Call>, CatalogError> {
    let make = Maker { pattern, body, route: place };
    let (kind, other) = match body {
        Some(BodyKind::JsonRpc) => ("call", spec.fields.is_empty()),
        Some(BodyKind::Graphql) => ("field", spec.calls.is_empty()),
        _ => {
            if !spec.calls.is_empty() || !spec.fields.is_empty() {
                let problem =
                    "`[[route.call]]` needs `body = \"json-rpc\"`, and `[[route.field]]` `body = \"graphql\"`";
                return Err(invalid(place, "body", problem));
            }
            let missing = |key| move || invalid(place, key, "it is missing");
            let action = spec.action.as_ref().ok_or_else(missing("action"))?;
            let resource = spec.resource.as_ref().ok_or_else(missing("resource"))?;
            return Ok(vec![make.call(Selector::Request, action, resource, &spec.arguments)?]);
        }
    };
    if spec.action.is_some() || spec.resource.is_some() {
        return Err(invalid(place, "action", format!("it stands below each `[[route.{kind}]]`, not here")));
    }
    if !other {
        return Err(invalid(place, "body", "`[[route.call]]` is for JSON-RPC, `[[route.field]]` for GraphQL"));
    }
    let of_calls = spec
        .calls
        .iter()
        .map(|call| (Selector::Method(call.method.clone()), &call.action, &call.resource, &call.arguments));
    let of_fields = spec
        .fields
        .iter()
        .map(|field| (Selector::Field(field.on, field.name.clone()), &field.action, &field.resource, &field.arguments));
    let mut calls: Vec<Call> = Vec::new();
    for (selector, action, resource, arguments) in of_calls.chain(of_fields) {
        if calls.iter().any(|call| call.selector == selector) {
            return Err(invalid(place, kind, format!("{selector} has two entries")));
        }
        calls.push(make.call(selector, action, resource, arguments)?);
    }
    match calls.len() {
        1..=Service::CALLS_MAX => Ok(calls),
        _ => Err(invalid(place, kind, format!("declare 1 to {} of them", Service::CALLS_MAX))),
    }
}

struct Maker<'a> {
    pattern: &'a Pattern,
    body: Option<BodyKind>,
    route: &'a str,
}

impl Maker<'_> {
    fn call(
        &self,
        selector: Selector,
        action: &str,
        resource: &str,
        specs: &[ArgumentSpec],
    ) -> Result<Call, CatalogError> {
        let place = match &selector {
            Selector::Request => self.route.to_owned(),
            part => format!("{}, {}", self.route, shown(&part.to_string())),
        };
        if let Selector::Method(Some(name)) | Selector::Field(_, Some(name)) = &selector
            && (name.is_empty() || name.len() > 128 || name.chars().any(char::is_control))
        {
            return Err(invalid(&place, "name", "use 1 to 128 characters without control characters"));
        }
        let action: Path = action.parse().map_err(|error| invalid(&place, "action", error))?;
        if action == Path::root() {
            return Err(invalid(&place, "action", "name what is done, as in `events/read`"));
        }
        let call = Call {
            selector,
            action,
            template: resource.parse().map_err(|error| invalid(&place, "resource", error))?,
            arguments: self.arguments(specs, &place)?,
        };
        // An absent or several values would leave a hole in the resource.
        let sure = |rule: &&ArgumentRule| rule.required && rule.kind == Kind::String && rule.list.is_none();
        let names: Vec<&str> = call.arguments.iter().filter(sure).map(ArgumentRule::name).collect();
        call.template.check(self.pattern, &names).map_err(|error| invalid(&place, "resource", error))?;
        Ok(call)
    }

    fn arguments(&self, specs: &[ArgumentSpec], place: &str) -> Result<Vec<ArgumentRule>, CatalogError> {
        if specs.len() > Service::ARGUMENTS_MAX {
            return Err(invalid(place, "argument", format!("declare at most {} arguments", Service::ARGUMENTS_MAX)));
        }
        let mut rules: Vec<ArgumentRule> = Vec::with_capacity(specs.len());
        for spec in specs {
            let place = format!("{place}, argument `{}`", shown(&spec.name));
            let is_name = (1..=64).contains(&spec.name.len())
                && spec.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
            if !is_name {
                return Err(invalid(&place, "name", "use 1 to 64 letters, digits, `_`, `-` and `.`"));
            }
            if rules.iter().any(|rule| *rule.name == *spec.name) {
                return Err(invalid(&place, "name", "another argument of the route has it: rename one"));
            }
            rules.push(ArgumentRule {
                name: spec.name.as_ref().into(),
                sources: self.sources(spec, &place)?,
                kind: spec.kind,
                list: spec.list,
                required: spec.required,
                loggable: spec.loggable,
            });
        }
        Ok(rules)
    }

    /// Without a `key`, the argument's name is the parameter, the capture, the header, the field, or the member at the top.
    fn sources(&self, spec: &ArgumentSpec, place: &str) -> Result<Vec<Source>, CatalogError> {
        let fits = match (spec.list, spec.from) {
            (None | Some(ListForm::Commas), _) | (Some(ListForm::Array), Place::Json) => true,
            (Some(ListForm::Repeated), Place::Query | Place::Form) => true,
            (Some(ListForm::Array | ListForm::Repeated), _) => false,
        };
        if !fits {
            let problem = "use `array` with `from = \"json\"`, `repeated` with a query or form, `commas` with any";
            return Err(invalid(place, "list", problem));
        }
        if !spec.also.is_empty() && spec.list.is_none() {
            return Err(invalid(place, "also", "only a list takes values from several places"));
        }
        if spec.also.len() >= Service::ARGUMENTS_MAX {
            return Err(invalid(place, "also", format!("name at most {} places", Service::ARGUMENTS_MAX - 1)));
        }
        let first = match &spec.key {
            None if spec.from == Place::Json => self.json(Pointer::member(&spec.name), spec, place)?,
            key => self.source(key.as_ref().unwrap_or(&spec.name), spec, place)?,
        };
        let mut sources = vec![first];
        for key in &spec.also {
            let source = self.source(key, spec, place)?;
            if sources.contains(&source) {
                return Err(invalid(place, "also", format!("`{}` stands there twice", shown(key))));
            }
            sources.push(source);
        }
        Ok(sources)
    }

    fn source(&self, key: &str, spec: &ArgumentSpec, place: &str) -> Result<Source, CatalogError> {
        match spec.from {
            Place::Query | Place::Form => {
                let name =
                    if spec.list == Some(ListForm::Repeated) { key.strip_suffix("[]").unwrap_or(key) } else { key };
                if name.is_empty() || key.len() > 128 || name.chars().any(|c| c.is_control() || matches!(c, '[' | ']'))
                {
                    let problem = "use 1 to 128 characters without control characters or brackets; only a repeated list's may end with `[]`";
                    return Err(invalid(place, "key", problem));
                }
                Ok(if spec.from == Place::Query { Source::Query(key.into()) } else { Source::Form(key.into()) })
            }
            Place::Path if self.pattern.captures(key) => Ok(Source::Path(key.into())),
            Place::Path => {
                Err(invalid(place, "key", format!("`{{{}}}` is not captured by the route's path", shown(key))))
            }
            Place::Header => match HeaderName::from_lowercase(key.to_ascii_lowercase().as_bytes()) {
                Ok(name) if reaches_upstream(&name) => Ok(Source::Header(name)),
                Ok(_) => Err(invalid(place, "key", "the edge removes or rewrites this header: it reaches no service")),
                Err(_) => Err(invalid(place, "key", "this is no header's name")),
            },
            Place::Json => self.json(key.parse().map_err(|error| invalid(place, "key", error))?, spec, place),
        }
    }

    fn json(&self, pointer: Pointer, spec: &ArgumentSpec, place: &str) -> Result<Source, CatalogError> {
        match self.body {
            Some(BodyKind::Json | BodyKind::JsonRpc | BodyKind::Graphql) => {}
            _ => return Err(invalid(place, "from", "the route's body is no JSON")),
        }
        match spec.list {
            Some(ListForm::Array) => Ok(Source::Json(pointer.every_element())),
            _ if pointer.is_several() => {
                Err(invalid(place, "list", "`*` means several values: say `list = \"array\"`"))
            }
            _ => Ok(Source::Json(pointer)),
        }
    }
}
