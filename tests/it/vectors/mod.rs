//! `spec/vectors/`: one fact a file. The cases stand here; the files are written from them and must not differ.
//!
//! Failure is: a file differs from its case, a file has no case, or the answer to a file is not the one it states. The
//! expected answer is written down in the case by hand, never taken from the code under test.

mod chain_cases;
mod check_cases;
mod kit;
mod proof_cases;
mod token_cases;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use writ::clock::{Monotonic, Timestamp};
use writ::key::sha256;
use writ::policy::authorize;
use writ::revocation::{Lease, RevocationSet};
use writ::token::proof::{BearerRule, NonceRule, ProvenRequest, bear, hold};
use writ::token::verify::{Expected, current};
use writ::token::{Capability, Limits, Operation, RawToken, RootKeys, verify};

/// One file of `spec/vectors/`.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    /// What it shows, as a sentence. The file's name is this sentence in kebab case.
    pub(crate) fact: String,
    /// The seeds of the key pairs that take part, for those who want to make such a token themselves.
    keys: BTreeMap<String, KeyEntry>,
    pub(crate) issuer: String,
    pub(crate) audience: String,
    pub(crate) root_keys: RootKeys,
    pub(crate) now: String,
    pub(crate) scheme: Scheme,
    /// Whether the operator accepts bearer writs.
    pub(crate) bearer_accepted: bool,
    pub(crate) token: String,
    pub(crate) proof: Option<String>,
    /// The nonces of which a proof must carry one; none is demanded when empty.
    pub(crate) nonces: Vec<String>,
    pub(crate) request: Request,
    pub(crate) result: Answer,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct KeyEntry {
    seed: String,
    public: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Scheme {
    #[serde(rename = "DPoP")]
    Dpop,
    Bearer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Request {
    /// The configured origin and the path, normalised: what `htu` is compared with.
    url: String,
    pub(crate) query: Option<String>,
    pub(crate) body: Option<String>,
    pub(crate) operation: Operation,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Answer {
    /// Allowed by this capability of the authority block.
    Allowed { capability: Capability },
    /// Denied: the reason code, and for people what exactly was wrong.
    Denied { code: String, status: u16, error: String, detail: String },
}

impl Vector {
    /// The path of a request, from text to permit.
    fn answer(&self) -> Answer {
        match self.decide() {
            Ok(capability) => Answer::Allowed { capability },
            Err((code, detail)) => {
                let (status, error) = outward(code);
                Answer::Denied { code: code.to_owned(), status, error: error.to_owned(), detail }
            }
        }
    }

    fn decide(&self) -> Result<Capability, (&'static str, String)> {
        let limits = Limits::default();
        let now = time(&self.now);
        let expected = Expected { issuer: self.issuer.as_str().into(), audience: self.audience.parse().unwrap() };
        let raw = RawToken::parse(&self.token, &limits).map_err(|e| (e.code(), e.to_string()))?;
        let chain = Arc::new(verify(&raw, &self.root_keys, &limits).map_err(|e| (e.code(), e.to_string()))?);
        let token = current(&chain, &self.root_keys, &expected, now).map_err(|e| (e.code(), e.to_string()))?;
        let held = match self.scheme {
            Scheme::Dpop => {
                let nonces: Vec<&str> = self.nonces.iter().map(String::as_str).collect();
                let rule = if nonces.is_empty() { NonceRule::Optional } else { NonceRule::OneOf(&nonces) };
                let request = ProvenRequest {
                    method: &self.request.operation.method,
                    url: &self.request.url,
                    query: self.request.query.as_deref(),
                    body_sha256: self.request.body.as_ref().map(|body| sha256(body.as_bytes())),
                };
                hold(token, self.proof.as_deref().unwrap_or(""), &request, rule, now)
            }
            Scheme::Bearer if self.bearer_accepted => bear(token, BearerRule::Accept),
            Scheme::Bearer => bear(token, BearerRule::Refuse),
        };
        let held = held.map_err(|e| (e.code(), e.to_string()))?;
        let lease = Lease::granted(Monotonic::from_origin(Duration::ZERO), Duration::from_secs(1));
        let live = RevocationSet::default().admit(held, &lease, Monotonic::from_origin(Duration::ZERO)).unwrap();
        match authorize(
            live,
            self.request.operation.clone().into(),
            &writ::policy::rules::Rules::built_in(),
            writ::policy::Facts::at(now),
        ) {
            Ok(permit) => Ok(permit.capabilities().next().unwrap().clone()),
            Err(denied) => Err((denied.reason.code(), denied.to_string())),
        }
    }

    fn file_name(&self) -> String {
        let kebab: String =
            self.fact.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
        let parts: Vec<&str> = kebab.split('-').filter(|part| !part.is_empty()).collect();
        format!("{}.json", parts.join("-"))
    }

    fn text(&self) -> String {
        serde_json::to_string_pretty(self).unwrap() + "\n"
    }
}

/// What an outsider is told for a reason code: the table of `spec/token.md`.
fn outward(code: &str) -> (u16, &'static str) {
    match code {
        "no_capability" => (403, "insufficient_scope"),
        "check_failed" | "token_overreach" => (403, "access_denied"),
        "proof_nonce" => (401, "use_dpop_nonce"),
        code if code.starts_with("proof_") => (401, "invalid_dpop_proof"),
        code if code.starts_with("token_") => (401, "invalid_token"),
        other => panic!("`{other}` is not in the table of spec/token.md"),
    }
}

pub(crate) fn time(text: &str) -> Timestamp {
    Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
}

fn directory() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("spec/vectors")
}

fn cases() -> BTreeMap<String, Vector> {
    let mut cases = BTreeMap::new();
    let all = token_cases::all().into_iter().chain(chain_cases::all()).chain(check_cases::all());
    for vector in all.chain(proof_cases::all()) {
        let name = vector.file_name();
        assert!(cases.insert(name.clone(), vector).is_none(), "two cases are called {name}");
    }
    cases
}

/// What the files say, for those who ask something else than `Vector::answer`.
pub(crate) fn all() -> Vec<Vector> {
    files().values().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn files() -> BTreeMap<String, String> {
    fs::read_dir(directory())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), fs::read_to_string(&path).unwrap()))
        .collect()
}

#[test]
fn every_case_has_the_result_that_it_states() {
    for (name, case) in cases() {
        let answer = case.answer();
        match (&case.result, &answer) {
            (Answer::Denied { code: stated, .. }, Answer::Denied { code, detail, .. }) => {
                assert_eq!(stated, code, "{name}: {detail}");
            }
            (stated, answer) => assert_eq!(stated, answer, "{name}"),
        }
    }
}

#[test]
fn the_files_are_what_the_cases_say() {
    let cases = cases();
    let files = files();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    assert_eq!(files.keys().collect::<Vec<_>>(), cases.keys().collect::<Vec<_>>(), "{REGENERATE}");
    for (name, case) in cases {
        assert_eq!(files[&name], case.text(), "{name} differs: {REGENERATE}");
    }
}

#[test]
fn every_file_gives_the_answer_that_it_states() {
    for (name, text) in files() {
        let vector: Vector = serde_json::from_str(&text).unwrap();
        assert_eq!(vector.answer(), vector.result, "{name}");
        assert_eq!(vector.file_name(), name);
    }
}

const REGENERATE: &str = "run `cargo test --test it vectors::write_the_files -- --ignored` and review the diff";

#[test]
#[ignore = "writes spec/vectors"]
fn write_the_files() {
    for name in files().keys() {
        fs::remove_file(directory().join(name)).unwrap();
    }
    for (name, case) in cases() {
        fs::write(directory().join(name), case.text()).unwrap();
    }
}

#[test]
#[ignore = "writes fuzz/corpus"]
fn write_the_corpus() {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let corpus = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    for target in ["token", "proof"] {
        fs::create_dir_all(corpus.join(target)).unwrap();
    }
    for (name, case) in cases() {
        if let Ok(bytes) = URL_SAFE_NO_PAD.decode(&case.token) {
            fs::write(corpus.join("token").join(&name), bytes).unwrap();
        }
        fs::write(corpus.join("proof").join(&name), case.proof.unwrap_or_default()).unwrap();
    }
}
