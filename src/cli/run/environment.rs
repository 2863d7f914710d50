//! What a program is told of the proxy: the variables by which HTTP libraries find a proxy and a certificate authority.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::cli::remote::{SECRET_FILE_VARIABLE, SECRET_VARIABLE};
use crate::cli::run::proxy::Pass;
use crate::cli::run::services::Services;

/// Changes to a program's environment.
#[derive(Debug)]
pub(super) struct Environment {
    /// Variables to set.
    pub(super) set: Vec<(String, OsString)>,
    /// Variables to take away.
    pub(super) remove: &'static [&'static str],
}

/// Each means "this proxy" to some program. Programs differ in which case they read.
const PROXY: &[&str] = &["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Each names the file of trusted certificates to some program.
const TRUST: &[&str] = &[
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
    "GIT_SSL_CAINFO",
    "PIP_CERT",
    "AWS_CA_BUNDLE",
    "DENO_CERT",
    "CARGO_HTTP_CAINFO",
    "HTTPLIB2_CA_CERTS",
];

/// What would lead around the proxy, and what is not the program's to know.
const REMOVED: &[&str] =
    &["NO_PROXY", "no_proxy", "SSL_CERT_DIR", "WRIT_TOKEN", "WRIT_KEY", SECRET_VARIABLE, SECRET_FILE_VARIABLE];

/// The environment of a program that reaches `services` through the proxy.
pub(super) fn of(pass: &Pass, services: &Services, bundle: PathBuf) -> Environment {
    let proxy = pass.proxy_url();
    let mut set: Vec<(String, OsString)> = Vec::new();
    set.extend(PROXY.iter().map(|name| ((*name).to_owned(), proxy.clone().into())));
    set.extend(TRUST.iter().map(|name| ((*name).to_owned(), bundle.clone().into())));
    // Node's own `fetch` ignores the proxy variables without it.
    set.push(("NODE_USE_ENV_PROXY".to_owned(), "1".into()));
    for offered in services.iter() {
        let name: String =
            offered.name.as_str().chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
        set.push((format!("WRIT_URL_{}", name.to_ascii_uppercase()), pass.base_url(&offered.name).into()));
    }
    Environment { set, remove: REMOVED }
}
