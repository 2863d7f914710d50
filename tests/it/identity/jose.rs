//! Keys and tokens by joserfc, in one process of its own for all tests.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use serde_json::{Value, json};

use crate::world::{client, counterpart};

struct Jose {
    // Ends when its input does, with this process.
    _child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

fn ask(request: &Value) -> Value {
    static JOSE: OnceLock<Mutex<Jose>> = OnceLock::new();
    let jose = JOSE.get_or_init(|| {
        let mut command = Command::new(counterpart("bin/python"));
        command.arg(client("mint_jwt.py")).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Mutex::new(Jose { _child: child, input, output })
    });
    let mut jose = jose.lock().unwrap();
    writeln!(jose.input, "{request}").unwrap();
    let mut answer = String::new();
    jose.output.read_line(&mut answer).unwrap();
    serde_json::from_str(&answer).unwrap_or_else(|_| panic!("no answer to {request}"))
}

/// A key pair of joserfc's.
#[derive(Clone)]
pub(crate) struct Key {
    number: u64,
    pub(crate) kid: String,
    pub(crate) public: Value,
    pub(crate) private: Value,
}

impl Key {
    /// `RSA`, `P-256`, `P-384` or `Ed25519`.
    pub(crate) fn make(kind: &str, kid: &str) -> Self {
        Self::sized(kind, 2048, kid)
    }

    pub(crate) fn sized(kind: &str, size: u32, kid: &str) -> Self {
        let made = ask(&json!({ "make": kind, "size": size, "kid": kid }));
        Self {
            number: made["key"].as_u64().unwrap(),
            kid: kid.into(),
            public: made["public"].clone(),
            private: made["private"].clone(),
        }
    }

    /// A token with this header, the key's `kid` added.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        let mut header = header.clone();
        header["kid"] = json!(self.kid);
        self.sign_exactly(&header, claims)
    }

    pub(crate) fn sign_exactly(&self, header: &Value, claims: &Value) -> String {
        text(&ask(&json!({ "sign": self.number, "header": header, "claims": claims })))
    }

    pub(crate) fn sign_text(&self, header: &Value, payload: &str) -> String {
        text(&ask(&json!({ "sign": self.number, "header": header, "payload": payload })))
    }
}

/// A token under a shared secret, or (by `"alg": "none"`) under nothing.
pub(crate) fn sign_with_secret(secret: &str, header: &Value, claims: &Value) -> String {
    text(&ask(&json!({ "secret": secret, "header": header, "claims": claims })))
}

fn text(answer: &Value) -> String {
    answer["token"].as_str().unwrap().to_owned()
}
