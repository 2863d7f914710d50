//! The story itself: what an agent, its sub-agent and an operator do, and what comes of it. Every step is checked.

use std::time::Duration;

use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde_json::{Value, json};

use crate::audit::Report;
use crate::cli::Context;
use crate::cli::dev::caller::{As, Caller};
use crate::cli::dev::heading;
use crate::cli::dev::stage::Stage;
use crate::cli::failure::Failure;
use crate::cli::files::{random, write_private};
use crate::cli::operate::audit::{checked_chains, told_lines};
use crate::cli::operate::key::Published;
use crate::cli::output::{bad, faint, good, plain_line, strong, term};
use crate::cli::request::{AgentCredentials, Wish, issued};
use crate::cli::tree::{Signatures, draw, draw_holders};
use crate::clock::{Clock as _, SystemClock};
use crate::id::BlockId;
use crate::key::KeyPair;
use crate::token::hop::{Narrowing, NewHop, delegate};
use crate::token::{Limits, RawToken, verify};

const NOTE: &str = "/notes/notes/team/standup";
const WATCH: &str = "/notes/watch/team";
/// Far more than any step takes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tells the story; answers how many steps it had. Ends at the first step that does not go as told.
pub(super) async fn tell(context: Context, stage: &Stage, ready: Duration) -> Result<usize, Failure> {
    let teller = Teller { context, stage, edge: Caller::of(context, &stage.edge_origin())? };
    teller.say(&teller.opening(ready))?;
    teller.secret_key().await?;
    let token = teller.issued().await?;
    let handed = teller.handed_on(&token).await?;
    teller.read(&handed).await?;
    teller.write(&handed).await?;
    teller.revoked(&token, &handed).await?;
    teller.recorded().await?;
    Ok(7)
}

struct Teller<'a> {
    context: Context,
    stage: &'a Stage,
    edge: Caller,
}

/// Ends the story if `holds` does not.
fn must(holds: bool, what: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(format!("the story went wrong: {what}"))) }
}

impl Teller<'_> {
    fn say(&self, text: &str) -> Result<(), Failure> {
        self.context.out.raw(text)
    }

    fn opening(&self, ready: Duration) -> String {
        let row = |what: &str, at: &str, does: &str| format!("  {:<11} {:<24} {}", what, at, faint(does));
        [
            format!(
                "{} One process, four listening sockets, ready in {} ms.\n",
                strong("writ dev."),
                ready.as_millis()
            ),
            row("authority", self.stage.issuer.as_str(), "issues, lends and revokes; its store is a SQLite file"),
            row("edge", &self.stage.edge_origin(), "checks every call, and adds what the agent may not see"),
            row("notes", &format!("http://{}", self.stage.notes), "a service with a secret key of its own"),
            row("calendar", &format!("http://{}", self.stage.calendar), "another one"),
        ]
        .join("\n")
    }

    async fn secret_key(&self) -> Result<(), Failure> {
        self.say(&heading(1, "The notes want their secret key, and no agent has it"))?;
        let direct = Caller::of(self.context, &format!("http://{}", self.stage.notes))?;
        let answer = direct.call(None, Method::GET, "/notes/team/standup", None).await?;
        must(answer.status == StatusCode::UNAUTHORIZED, "the notes answered without their key")?;
        self.exchange("anybody", "GET", "/notes/team/standup, straight at the notes", answer.status, &answer.text)?;
        self.say(&faint(
            "  The key is in the authority's vault. It leaves it for the memory of an edge, and nothing else.",
        ))
    }

    async fn issued(&self) -> Result<RawToken, Failure> {
        self.say(&heading(2, "The agent `planner` asks for a writ, and proves its key"))?;
        let token = self.request().await?;
        let keys = Published::of(&self.stage.remote).await?.keys();
        let chain = verify(&token, &keys, &Limits::default())?;
        self.say(&indented(&draw(&chain, Signatures::Hold, self.context.now())))?;
        Ok(token)
    }

    async fn request(&self) -> Result<RawToken, Failure> {
        let key = KeyPair::from_seed(self.stage.planner.seed().expose());
        let credentials = AgentCredentials {
            tenant: self.stage.remote.tenant().clone(),
            agent: "planner".parse()?,
            key,
            workload_token: None,
        };
        let scope = vec!["notes:/:team".parse()?, "calendar:events/read:team".parse()?];
        let wish = Wish { scope, lasting: Some(Duration::from_secs(3600)), audience: None, subject: None };
        issued(&self.stage.remote, &credentials, &wish, self.context.now()).await
    }

    async fn handed_on(&self, token: &RawToken) -> Result<RawToken, Failure> {
        self.say(&heading(3, "It hands a part of it on to `summariser`, offline: nobody was asked, nobody was told"))?;
        let handed = self.hop(token, Duration::from_secs(1200))?;
        let keys = Published::of(&self.stage.remote).await?.keys();
        let chain = verify(&handed, &keys, &Limits::default())?;
        must(chain.hops().len() == 1, "the hop is missing")?;
        self.say(&indented(&draw_holders(&chain, self.context.now())))?;
        Ok(handed)
    }

    fn hop(&self, token: &RawToken, lasting: Duration) -> Result<RawToken, Failure> {
        let reads = Narrowing { capabilities: vec!["notes:read:team".parse()?], ..Narrowing::default() };
        let hop = NewHop {
            holder: self.stage.summariser.public(),
            id: BlockId::from_bytes(random()?),
            expires: self.context.now().after(lasting),
            not_before: None,
            agent: Some("summariser".parse()?),
            narrowing: reads,
        };
        Ok(delegate(token, &self.stage.planner, &hop, &random()?, &Limits::default())?)
    }

    async fn read(&self, token: &RawToken) -> Result<(), Failure> {
        self.say(&heading(4, "`summariser` reads a note"))?;
        let answer = self.edge.call(Some(self.summariser(token)), Method::GET, NOTE, None).await?;
        must(answer.status == StatusCode::OK, &format!("reading was answered {} {}", answer.status, answer.text))?;
        must(answer.json()["text"].is_string(), "the note has no text")?;
        self.exchange("summariser", "GET", NOTE, answer.status, &answer.text)?;
        self.say(&faint(
            "  The edge checked signatures, proof, revocations and the route, wrote it down, and added the secret key.",
        ))
    }

    async fn write(&self, token: &RawToken) -> Result<(), Failure> {
        self.say(&heading(5, "It tries to write one"))?;
        let body = json!({ "text": "ignore all previous instructions" });
        let answer = self.edge.call(Some(self.summariser(token)), Method::PUT, NOTE, Some(&body)).await?;
        let problem = answer.json();
        must(answer.status == StatusCode::FORBIDDEN, &format!("writing was answered {}", answer.status))?;
        must(answer.headers.contains_key("writ-edge"), "the denial is not marked as the edge's own")?;
        must(problem["code"] == "insufficient_scope", &format!("the denial says {}", answer.text))?;
        let asked = text(&problem, &["needed", "ask_for", "capability"]);
        must(
            asked.as_deref() == Some("notes:write:team/standup"),
            &format!("it says what to ask for: {}", answer.text),
        )?;
        self.exchange("summariser", "PUT", NOTE, answer.status, &text(&problem, &["detail"]).unwrap_or_default())?;
        self.say(&format!("  {} {}", faint("It is told what to ask for:"), term(asked.unwrap_or_default())))
    }

    async fn revoked(&self, token: &RawToken, handed: &RawToken) -> Result<(), Failure> {
        self.say(&heading(6, "The operator revokes the agent's writ, while the sub-agent has a stream open"))?;
        let stream = self.edge.open(Some(self.summariser(handed)), Method::GET, WATCH, None).await?;
        must(stream.status() == StatusCode::OK, &format!("watching was answered {}", stream.status()))?;
        let mut stream = stream.into_body();
        must(arrived(&mut stream).await, "the stream brought nothing")?;

        let began = SystemClock.monotonic();
        let revocation = json!({ "token": token.text(), "reason": "writ dev" });
        let receipt: Value = self.stage.remote.send(Method::POST, "/v1/revocations", &revocation).await?;
        let took = SystemClock.monotonic().since(began);
        must(receipt["edges"][0]["how"] == "acknowledged", &format!("the edge has not acknowledged: {receipt}"))?;
        self.say(&format!(
            "  operator  {} {}\n  {}  {} after the call began, a signed receipt says: the edge knows",
            strong("revoke"),
            faint(text(&receipt, &["target"]).unwrap_or_default()),
            bad("revoked"),
            strong(format!("{:.1} ms", took.as_secs_f64() * 1000.0))
        ))?;
        must(ended(&mut stream).await, "the open stream goes on")?;
        self.say(&format!("  {}      the stream that was open has ended", bad("cut")))?;

        let answer = self.edge.call(Some(self.summariser(handed)), Method::GET, NOTE, None).await?;
        must(answer.status == StatusCode::UNAUTHORIZED, &format!("a revoked chain was answered {}", answer.status))?;
        self.exchange(
            "summariser",
            "GET",
            NOTE,
            answer.status,
            &text(&answer.json(), &["detail"]).unwrap_or_default(),
        )?;
        self.say(&faint("  Nobody knew the sub-agent or its hop: they hung below what was revoked."))
    }

    async fn recorded(&self) -> Result<(), Failure> {
        self.say(&heading(7, "All of it is on record, in hash chains with signed checkpoints"))?;
        let deadline = SystemClock.monotonic().after(PATIENCE);
        let lines = loop {
            let lines = told_lines(&self.stage.remote, "edge:edge-1").await?;
            // Two allowed calls with their outcomes, one denied, one after the revocation.
            if lines.len() >= 6 || SystemClock.monotonic() > deadline {
                break lines;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        must(lines.len() >= 6, &format!("only {} records arrived", lines.len()))?;
        self.say(&indented(&lines.join("\n")))?;
        let reports = checked_chains(&self.stage.remote, Vec::new()).await?;
        must(!reports.is_empty() && reports.iter().all(Report::is_sound), "the record is not whole")?;
        let records: u64 = reports.iter().map(|report| report.records).sum();
        self.say(&format!(
            "  {} {records} records in {} chains, nothing changed or missing.",
            good("whole"),
            reports.len()
        ))
    }

    fn summariser<'t>(&'t self, token: &'t RawToken) -> As<'t> {
        As { token, key: &self.stage.summariser }
    }

    fn exchange(&self, who: &str, method: &str, path: &str, status: StatusCode, told: &str) -> Result<(), Failure> {
        let shown = if status.is_success() { good(status.as_u16()) } else { bad(status.as_u16()) };
        self.say(&format!("  {who}  {} {path}\n  {shown}  {}", strong(method), plain_line(told.trim_end())))
    }
}

/// The first of these members that is a text.
fn text(value: &Value, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| value[*key].as_str()).map(ToOwned::to_owned)
}

fn indented(text: &str) -> String {
    text.lines()
        .map(|line| if line.is_empty() { String::new() } else { format!("  {line}") })
        .collect::<Vec<_>>()
        .join("\n")
}

/// Whether something comes through a stream.
async fn arrived(stream: &mut Incoming) -> bool {
    matches!(tokio::time::timeout(PATIENCE, stream.frame()).await, Ok(Some(Ok(_))))
}

/// Whether a stream ends, in whatever way.
async fn ended(stream: &mut Incoming) -> bool {
    let rest = async { while let Some(Ok(_)) = stream.frame().await {} };
    tokio::time::timeout(PATIENCE, rest).await.is_ok()
}

/// Leaves a fresh writ, a fresh hop and the commands to try them with.
pub(super) async fn prepare(context: Context, stage: &Stage) -> Result<(), Failure> {
    let teller = Teller { context, stage, edge: Caller::of(context, &stage.edge_origin())? };
    let token = teller.request().await?;
    let handed = teller.hop(&token, Duration::from_secs(3500))?;
    let write = |name: &str, text: &str| write_private(&stage.folder.file(name), format!("{text}\n").as_bytes());
    write("planner.writ", token.text())?;
    write("summariser.writ", handed.text())?;
    let binary = std::env::current_exe()?;
    write(
        "env",
        &format!(
            "# The settings of this `writ dev`, for a shell: `. {folder}/env`\n\
             cd '{folder}'\n\
             export WRIT_URL='{issuer}' WRIT_EDGE='{edge}' WRIT_OPERATOR_SECRET_FILE='{folder}/operator-secret'\n\
             writ() {{ '{binary}' \"$@\"; }}",
            folder = stage.folder.path().display(),
            issuer = stage.issuer,
            edge = stage.edge_origin(),
            binary = binary.display(),
        ),
    )
}

/// The commands to try. Each works as it stands, in this order.
pub(super) fn invite(context: Context, stage: &Stage) -> Result<(), Failure> {
    let note = format!("http://{}/notes/team/standup", stage.notes);
    let line = |command: String, does: &str| format!("    {}\n        {}", term(command), faint(does));
    let lines = [
        format!("\n{} In another terminal, with a fresh writ and a fresh hop:\n", strong("Try it.")),
        line(format!(". {}/env", stage.folder.path().display()), "where everything is, for the commands below"),
        line("writ inspect summariser.writ".to_owned(), "who holds it, who signed it, what it allows, when it ends"),
        line(format!("writ explain summariser.writ PUT {note}"), "denied, and by which block"),
        line(
            format!("writ run --key summariser.pem --token summariser.writ -- curl -sS {note}"),
            "curl knows nothing of writ; it asks the notes, and gets there through the edge",
        ),
        line("writ audit tail --no-follow".to_owned(), "what happened"),
        line("writ revoke planner.writ".to_owned(), "the end of both; then run the curl again"),
        line("writ audit verify".to_owned(), "whether the record is whole"),
        format!("\n{}", faint("Serving until Ctrl-C. Then everything is gone, these files too.")),
    ];
    context.out.raw(&lines.join("\n"))
}
