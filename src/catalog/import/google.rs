//! Google's discovery documents.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::catalog::import::ImportError;
use crate::catalog::import::document::{Described, Description};

/// How deep resources stand in resources.
const DEPTH_MAX: usize = 16;

#[derive(Deserialize)]
struct Document {
    #[serde(rename = "rootUrl")]
    root: Option<String>,
    #[serde(rename = "servicePath")]
    service: Option<String>,
    methods: Option<BTreeMap<String, Method>>,
    resources: Option<BTreeMap<String, Resource>>,
}

#[derive(Deserialize)]
struct Resource {
    methods: Option<BTreeMap<String, Method>>,
    resources: Option<BTreeMap<String, Self>>,
}

#[derive(Deserialize)]
struct Method {
    id: Option<String>,
    path: Option<String>,
    #[serde(rename = "flatPath")]
    flat: Option<String>,
    #[serde(rename = "httpMethod")]
    method: Option<String>,
    parameters: Option<BTreeMap<String, Parameter>>,
    #[serde(rename = "mediaUpload")]
    upload: Option<Upload>,
}

#[derive(Deserialize)]
struct Parameter {
    pattern: Option<String>,
}

#[derive(Deserialize)]
struct Upload {
    protocols: Option<BTreeMap<String, Protocol>>,
}

#[derive(Deserialize)]
struct Protocol {
    path: Option<String>,
}

pub(super) fn read(document: &[u8]) -> Result<Description, ImportError> {
    let document: Document = serde_json::from_slice(document).map_err(ImportError::Malformed)?;
    let base = document.service.unwrap_or_default();
    let mut operations = Vec::new();
    let whole = Resource { methods: document.methods, resources: document.resources };
    collect(&whole, &base, DEPTH_MAX, &mut operations);
    operations.sort_by(|a, b| (&a.path, &a.method).cmp(&(&b.path, &b.method)));
    Ok(Description { upstream: document.root, operations, unresolved: Vec::new() })
}

fn collect(resource: &Resource, base: &str, depth: usize, found: &mut Vec<Described>) {
    for method in resource.methods.iter().flatten().map(|(_, method)| method) {
        let (Some(verb), Some(path)) = (&method.method, &method.path) else { continue };
        let flat = method.flat.as_ref().unwrap_or(path);
        // Media goes to paths of its own, from the root.
        let uploads = method.upload.iter().flat_map(|upload| upload.protocols.iter().flatten());
        let uploads = uploads.filter_map(|(_, protocol)| protocol.path.clone());
        for path in std::iter::once(rooted(base, flat)).chain(uploads) {
            found.push(Described {
                method: verb.clone(),
                slashes: method.with_slashes(&path),
                path,
                name: method.id.clone(),
                elsewhere: None,
            });
        }
    }
    if depth > 0 {
        for inner in resource.resources.iter().flatten().map(|(_, inner)| inner) {
            collect(inner, base, depth - 1, found);
        }
    }
}

fn rooted(base: &str, path: &str) -> String {
    let (base, path) = (base.trim_matches('/'), path.trim_start_matches('/'));
    if base.is_empty() { format!("/{path}") } else { format!("/{base}/{path}") }
}

impl Method {
    /// The flat path's last capture, if the parameter that it is flattened from takes anything at its end.
    fn with_slashes(&self, flat: &str) -> Vec<String> {
        let last = self.path.as_ref().and_then(|path| path.rsplit_once("{+")).map(|(_, rest)| rest);
        let Some((name, "")) = last.and_then(|rest| rest.split_once('}')) else { return Vec::new() };
        let pattern = self.parameters.as_ref().and_then(|parameters| parameters.get(name)?.pattern.as_deref());
        let anything = pattern.is_some_and(|pattern| pattern.ends_with(".*$") || pattern.ends_with(".+$"));
        let capture = flat.rsplit_once('{').and_then(|(_, rest)| rest.strip_suffix('}'));
        capture.filter(|_| anything).map(|name| name.trim_start_matches('+').to_owned()).into_iter().collect()
    }
}
