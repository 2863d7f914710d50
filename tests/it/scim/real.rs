//! The real thing: somebody else's identity provider (canaille) where a user logs in, and that provisions its users and groups; an
//! agent that acts for one of them; and the lock there that ends it here.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use writ::key::KeyPair;

use crate::identity::real::{SCOPE, SECRET, before_long, fed, node, notes, service};
use crate::world::{Kept, World, client, counterpart, free_address, measured, on_every_store};

/// A canaille that obeys.
struct Canaille {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    _dir: tempfile::TempDir,
}

impl Canaille {
    fn start(world: &World, port: u16, secret: &str) -> Self {
        let mut command = Command::new(counterpart("canaille/bin/python"));
        command.args([client("provisioner.py"), port.to_string(), format!("{}/scim/v2", world.authority)]);
        // Its database holds the secret, as any client's does: not in the installation's folder, which is searched for it.
        let dir = tempfile::tempdir().unwrap();
        command.arg(dir.path().join("canaille.db"));
        let log = fs::File::create(world.dir().join("canaille.log")).unwrap();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().unwrap();
        let (input, output) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut canaille = Self { child, input, output, _dir: dir };
        assert_eq!(canaille.told(secret), "ready");
        canaille
    }

    fn told(&mut self, line: &str) -> String {
        writeln!(self.input, "{line}").unwrap();
        let mut answer = String::new();
        self.output.read_line(&mut answer).unwrap();
        answer.trim().to_owned()
    }
}

impl Drop for Canaille {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn a_user_who_is_locked_at_the_provider_is_ended_at_every_edge(kept: Kept) {
    let at = free_address();
    let settings = format!(
        "\n[[identity.provider]]\nname = \"corp\"\nissuer = \"http://{at}\"\nclient_ids = [\"desktop\"]\nallow_private = true\n\
         clock_skew_s = 1\n"
    );
    let upstream = notes().await;
    let world = World::raise_with(kept, &settings).await;
    world.offer(
        &service(upstream),
        &["notes-key", "--header", "x-api-key"],
        SECRET,
        "planner",
        &["notes:read:agents-own"],
    );
    world.operate(&["grant", "add", "planner", "--group", "finance", "--allow", SCOPE]).ok();
    let secret = world.operate(&["scim", "token", "add", "corp"]).ok();
    let mut canaille = Canaille::start(&world, at.port(), &secret);

    let key = world.dir().join("planner.pem").display().to_string();
    let key_id = KeyPair::from_pem(&fs::read_to_string(&key).unwrap()).unwrap().public().to_string();
    let endpoint = format!("{}/oauth/token", world.authority);
    let exchange = |token: &str| {
        let mut command = Command::new(counterpart("bin/python"));
        command.args([&*client("exchange_token.py"), &*endpoint, "planner", &*key_id, &*key, SCOPE]);
        fed(command, token)
    };
    let url = format!("http://{upstream}/notes/team");
    let run = |token: &str| world.run("planner.pem", token, &["curl", "-s", "-w", " %{http_code}", &url]);
    // On a busy machine an edge may be without a lease for a moment, and says so.
    let call = |token: &str| before_long(|| run(token), |finished| !finished.stderr.contains("not fresh"));

    let browser = tempfile::tempdir().unwrap();
    let (issuer, state) = (format!("http://{at}"), browser.path().join("state").display().to_string());
    let login = || node(&["login", &issuer, "alice", &state], "");
    canaille.told("user alice");
    let alone = exchange(&login().ok());
    assert!(alone.code == 3 && alone.stdout.contains("InvalidScope"), "{alone:?}");
    canaille.told("group finance alice");
    let token = login().ok();
    let writ = exchange(&token).ok();
    assert_eq!(call(&writ).ok(), "notes of the team 200");

    let took = canaille.told("lock alice");
    let dead = call(&writ);
    assert!(dead.code == 1 && dead.stderr.contains("the edge refuses the writ"), "{dead:?}");
    assert_ne!(login().code, 0, "nor can alice log in there");
    let late = exchange(&token);
    assert!(late.code == 3 && late.stdout.contains("inactive"), "{late:?}");
    let audit = world.operate(&["audit", "export"]).ok();
    let ended = audit.lines().find(|line| line.contains("subject:default/alice")).unwrap_or_else(|| panic!("{audit}"));
    assert!(ended.contains(r#""signal":"scim""#) && ended.contains(r#""name":"corp""#), "{ended}");
    let (_, seq) = ended.split_once(r#""ended_seq":["#).unwrap();
    let receipt = world.get(&format!("/v1/revocations/{}/receipt", seq.split([',', ']']).next().unwrap()));
    let (how, elapsed) = (&receipt["edges"][0]["how"], &receipt["elapsed_ms"]);
    measured("canaille", &format!("lock, from the commit ({}), {kept:?}", how.as_str().unwrap()), elapsed);
    measured("canaille", &format!("lock, its whole push by SCIM, {kept:?}"), took);

    // Unlocked, a login from before buys nothing; a new one does, and the old writ stays dead.
    canaille.told("unlock alice");
    let fresh = before_long(|| exchange(&login().ok()), |finished| finished.code == 0).ok();
    assert_eq!(call(&fresh).ok(), "notes of the team 200");
    assert_eq!(call(&writ).code, 1);
    world.holds_nowhere(&secret);
}

on_every_store!(a_user_who_is_locked_at_the_provider_is_ended_at_every_edge);
