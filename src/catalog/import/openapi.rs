//! OpenAPI 3 and Swagger 2. Reads what routes are made of, and nothing else.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::catalog::import::ImportError;
use crate::catalog::import::document::{Described, Description};

/// How many references are followed one after the other.
const REFERENCES_MAX: usize = 8;

#[derive(Deserialize)]
struct Document3 {
    servers: Option<Vec<Server>>,
    paths: Option<BTreeMap<String, Item>>,
    components: Option<Components>,
}

#[derive(Default, Deserialize)]
struct Components {
    parameters: Option<BTreeMap<String, Parameter>>,
    #[serde(rename = "pathItems")]
    items: Option<BTreeMap<String, Item>>,
}

#[derive(Deserialize)]
struct Document2 {
    host: Option<String>,
    #[serde(rename = "basePath")]
    base: Option<String>,
    schemes: Option<Vec<String>>,
    paths: Option<BTreeMap<String, Item>>,
    parameters: Option<BTreeMap<String, Parameter>>,
}

#[derive(Deserialize)]
struct Server {
    url: Option<String>,
    variables: Option<BTreeMap<String, Variable>>,
}

#[derive(Deserialize)]
struct Variable {
    default: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    parameters: Option<Vec<Parameter>>,
    servers: Option<Vec<Server>>,
    get: Option<Operation>,
    head: Option<Operation>,
    options: Option<Operation>,
    post: Option<Operation>,
    put: Option<Operation>,
    patch: Option<Operation>,
    delete: Option<Operation>,
    trace: Option<Operation>,
    query: Option<Operation>,
    #[serde(rename = "additionalOperations")]
    additional: Option<BTreeMap<String, Operation>>,
}

#[derive(Deserialize)]
struct Operation {
    #[serde(rename = "operationId")]
    name: Option<String>,
    parameters: Option<Vec<Parameter>>,
    servers: Option<Vec<Server>>,
}

#[derive(Deserialize)]
struct Parameter {
    #[serde(rename = "$ref")]
    reference: Option<String>,
    name: Option<String>,
    #[serde(rename = "in")]
    place: Option<String>,
    /// GitHub's word for a value with slashes.
    #[serde(rename = "x-multi-segment")]
    multi: Option<bool>,
    #[serde(rename = "x-ms-skip-url-encoding")]
    raw: Option<bool>,
    #[serde(rename = "allowReserved")]
    reserved: Option<IgnoredAny>,
}

/// What references lead to.
struct Definitions {
    parameters: BTreeMap<String, Parameter>,
    parameters_at: &'static str,
    items: BTreeMap<String, Item>,
}

pub(super) fn read_3(document: &[u8]) -> Result<Description, ImportError> {
    let document: Document3 = serde_json::from_slice(document).map_err(ImportError::Malformed)?;
    let Components { parameters, items } = document.components.unwrap_or_default();
    let definitions = Definitions {
        parameters: parameters.unwrap_or_default(),
        parameters_at: "#/components/parameters/",
        items: items.unwrap_or_default(),
    };
    let upstream = first(document.servers.as_deref());
    Ok(description(&document.paths.unwrap_or_default(), &definitions, upstream))
}

pub(super) fn read_2(document: &[u8]) -> Result<Description, ImportError> {
    let document: Document2 = serde_json::from_slice(document).map_err(ImportError::Malformed)?;
    let definitions = Definitions {
        parameters: document.parameters.unwrap_or_default(),
        parameters_at: "#/parameters/",
        items: BTreeMap::new(),
    };
    // Plain `http` is never taken from a description: credentials go there.
    let https = document.schemes.is_none_or(|schemes| schemes.is_empty() || schemes.iter().any(|one| one == "https"));
    let base = document.base.unwrap_or_default();
    let upstream = document.host.filter(|_| https).map(|host| format!("https://{host}{base}"));
    Ok(description(&document.paths.unwrap_or_default(), &definitions, upstream))
}

/// The first server's address, its variables at their defaults.
fn first(servers: Option<&[Server]>) -> Option<String> {
    let server = servers?.first()?;
    let mut url = server.url.clone()?;
    for (name, variable) in server.variables.iter().flatten() {
        if let Some(serde_json::Value::String(default)) = &variable.default {
            url = url.replace(&format!("{{{name}}}"), default);
        }
    }
    Some(url)
}

fn description(paths: &BTreeMap<String, Item>, definitions: &Definitions, upstream: Option<String>) -> Description {
    let (mut operations, mut unresolved) = (Vec::new(), Vec::new());
    for (path, item) in paths.iter().filter(|(path, _)| !path.starts_with("x-")) {
        let path = format!("/{}", path.strip_prefix('/').unwrap_or(path));
        let Some(item) = definitions.item(item) else {
            unresolved.push(path);
            continue;
        };
        for (method, operation) in item.operations() {
            let server = first(operation.servers.as_deref()).or_else(|| first(item.servers.as_deref()));
            let parameters = item.parameters.iter().chain(&operation.parameters).flatten();
            operations.push(Described {
                method,
                path: path.clone(),
                name: operation.name.clone(),
                slashes: parameters.filter_map(|parameter| definitions.with_slashes(parameter)).collect(),
                elsewhere: server.filter(|server| Some(server) != upstream.as_ref()),
            });
        }
    }
    Description { upstream, operations, unresolved }
}

impl Item {
    fn operations(&self) -> impl Iterator<Item = (String, &Operation)> {
        let fixed = [
            ("GET", &self.get),
            ("HEAD", &self.head),
            ("OPTIONS", &self.options),
            ("POST", &self.post),
            ("PUT", &self.put),
            ("PATCH", &self.patch),
            ("DELETE", &self.delete),
            ("TRACE", &self.trace),
            ("QUERY", &self.query),
        ];
        let fixed = fixed.into_iter().filter_map(|(method, operation)| Some((method.to_owned(), operation.as_ref()?)));
        fixed.chain(self.additional.iter().flatten().map(|(method, operation)| (method.clone(), operation)))
    }
}

impl Definitions {
    /// The item itself, or what its reference leads to; none if it leads nowhere in this document.
    fn item<'a>(&'a self, item: &'a Item) -> Option<&'a Item> {
        let mut item = item;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = &item.reference else { return Some(item) };
            item = self.items.get(&pointed(reference, "#/components/pathItems/")?)?;
        }
        None
    }

    /// The name of a path parameter that may hold slashes.
    fn with_slashes(&self, parameter: &Parameter) -> Option<String> {
        let mut parameter = parameter;
        for _ in 0..REFERENCES_MAX {
            let Some(reference) = &parameter.reference else {
                let multi =
                    parameter.multi == Some(true) || parameter.raw == Some(true) || parameter.reserved.is_some();
                let in_path = parameter.place.as_deref() == Some("path");
                return parameter.name.clone().filter(|_| multi && in_path);
            };
            parameter = self.parameters.get(&pointed(reference, self.parameters_at)?)?;
        }
        None
    }
}

/// The name that a reference gives below `place`, its JSON Pointer escapes undone.
fn pointed(reference: &str, place: &str) -> Option<String> {
    Some(reference.strip_prefix(place)?.replace("~1", "/").replace("~0", "~"))
}
