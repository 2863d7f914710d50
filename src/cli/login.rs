//! `writ login` and `writ logout`: an operator's session by way of the browser.
//!
//! The program waits on a port of this machine (RFC 8252) for a code that is worth nothing without the verifier it keeps.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::cli::Context;
use crate::cli::failure::Failure;
use crate::cli::files::{random, write_private};
use crate::cli::operate::{text, when};
use crate::cli::output::{good, plain_line, strong};
use crate::cli::remote::{RemoteArgs, session_file};
use crate::cli::request::encoded;
use crate::key::sha256;

/// How long the browser may take.
const WAIT: Duration = Duration::from_secs(600);
/// How long one connection may take to say what it wants, and how much that may be.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 8 << 10;

/// `writ login`
#[derive(Debug, clap::Args)]
pub(crate) struct LoginArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Open no browser: print the URL only.
    #[arg(long)]
    no_browser: bool,
    /// For a browser on another machine: the page shows a code, and this asks for it.
    #[arg(long)]
    paste: bool,
    /// Where to keep the session's secret; beside other settings of yours if not given.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// `writ logout`
#[derive(Debug, clap::Args)]
pub(crate) struct LogoutArgs {
    #[command(flatten)]
    remote: RemoteArgs,
    /// Where the session's secret is kept.
    #[arg(long, value_name = "FILE")]
    session_file: Option<PathBuf>,
}

impl LoginArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        let remote = self.remote.open()?;
        let path = match self.out {
            Some(path) => path,
            None => session_file(remote.client().url())
                .ok_or_else(|| Failure::usage("there is no home folder to keep the session in: give `--out`"))?,
        };
        let (verifier, state) = (URL_SAFE_NO_PAD.encode(random::<32>()?), URL_SAFE_NO_PAD.encode(random::<16>()?));
        let mut query = vec![("challenge", URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())))];
        let listener = match self.paste {
            true => None,
            false => Some(TcpListener::bind("127.0.0.1:0").await?),
        };
        if let Some(listener) = &listener {
            query.push(("port", listener.local_addr()?.port().to_string()));
            query.push(("state", state.clone()));
        }
        let url = format!("{}/v1/sign-in?{}", remote.client().url(), encoded(&query));
        context.out.remark(&format!("Sign in with your browser:\n{url}"));
        if !self.no_browser && !self.paste {
            open_browser(&url);
        }
        let code = match listener {
            Some(listener) => tokio::time::timeout(WAIT, code_from(&listener, &state))
                .await
                .map_err(|_| Failure::new("nobody signed in within ten minutes: run `writ login` again"))??,
            None => pasted()?,
        };
        let body = json!({ "code": code, "verifier": verifier });
        let mut session: Value = remote.send(Method::POST, "/v1/sign-in/session", &body).await?;
        keep(&path, &text(&session, "secret"))?;
        if let Some(members) = session.as_object_mut() {
            members.remove("secret");
        }
        context.out.result(&session, || {
            let (name, role) = (text(&session, "name"), text(&session, "role"));
            let until = when(&session, "expires", context.now());
            format!("{} as {} with the role {role}, until {until}", good("signed in"), strong(plain_line(&name)))
        })
    }
}

impl LogoutArgs {
    pub(crate) async fn run(self, context: Context) -> Result<(), Failure> {
        let remote = self.remote.open()?;
        let path = self.session_file.or_else(|| session_file(remote.client().url()));
        let path = path.filter(|path| path.is_file()).ok_or_else(|| Failure::new("you are not signed in here"))?;
        let ended: Result<Value, Failure> =
            remote.of_session(&path)?.send(Method::POST, "/v1/sign-out", &json!({})).await;
        // Whatever the authority says, nobody uses it here again.
        std::fs::remove_file(&path)?;
        let ended = ended?;
        context.out.result(&ended, || good("signed out"))
    }
}

/// Replaces the secret that is kept there.
fn keep(path: &Path, secret: &str) -> Result<(), Failure> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    write_private(path, format!("{secret}\n").as_bytes())
}

/// Best effort: the URL was printed.
fn open_browser(url: &str) {
    use std::process::{Command, Stdio};
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let _ = Command::new(opener).arg(url).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
}

fn pasted() -> Result<String, Failure> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    match line.trim() {
        "" => Err(Failure::usage("paste the code that the page shows")),
        code => Ok(code.to_owned()),
    }
}

/// The code that the browser brings. What does not know `state` is somebody else's, and is not listened to.
async fn code_from(listener: &TcpListener, state: &str) -> Result<String, Failure> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        let head = tokio::time::timeout(HEAD_WITHIN, head(&mut stream)).await;
        let query = head.ok().and_then(Result::ok).and_then(|head| query_of(&head));
        let of = |name: &str| query.as_ref()?.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
        let ours = of("state").is_some_and(|found| found == state);
        let (status, page) = match (ours, of("code")) {
            (false, _) => ("404 Not Found", "Nothing is here."),
            (true, Some(_)) => ("200 OK", "Signed in. You can close this page."),
            (true, None) => ("200 OK", "Not signed in. The terminal says why."),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{page}",
            page.len()
        );
        // The code counts, whether or not the browser hears so.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
        match (ours, of("code")) {
            (false, _) => {}
            (true, Some(code)) => return Ok(code),
            (true, None) => {
                let why = of("error_description").unwrap_or_else(|| "the browser brought no code".into());
                return Err(Failure::new(plain_line(&why)));
            }
        }
    }
}

async fn head(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut chunk = [0; 1024];
    while head.len() < HEAD_BYTES_MAX && !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk).await? {
            0 => break,
            read => head.extend_from_slice(&chunk[..read]),
        }
    }
    Ok(head)
}

/// The query of a `GET` of `/`.
fn query_of(head: &[u8]) -> Option<Vec<(String, String)>> {
    let line = std::str::from_utf8(head.split(|byte| *byte == b'\r').next()?).ok()?;
    let target = line.strip_prefix("GET /?")?.split(' ').next()?;
    serde_urlencoded::from_str(target).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_request_with_the_state_brings_the_code() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let waiting =
            tokio::spawn(async move { code_from(&listener, "ours").await.map_err(|f| f.message().to_owned()) });
        let get = async |target: &str| {
            let mut stream = TcpStream::connect(at).await.unwrap();
            stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        };
        for target in
            ["/favicon.ico", "/?code=stolen", "/?code=stolen&state=theirs", "/?error_description=no&state=", "//"]
        {
            assert!(get(target).await.starts_with("HTTP/1.1 404"), "{target}");
        }
        assert!(get("/?code=a%2Bb&state=ours").await.starts_with("HTTP/1.1 200"));
        assert_eq!(waiting.await.unwrap().unwrap(), "a+b");
    }

    #[tokio::test]
    async fn a_refusal_is_told_without_what_could_deceive() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let waiting = tokio::spawn(async move { code_from(&listener, "s").await.map_err(|f| f.message().to_owned()) });
        let mut stream = TcpStream::connect(at).await.unwrap();
        stream.write_all(b"GET /?error_description=no%1b%5b2J&state=s HTTP/1.1\r\n\r\n").await.unwrap();
        let told = waiting.await.unwrap().unwrap_err();
        assert!(told.starts_with("no") && !told.contains('\u{1b}'), "{told:?}");
    }
}
