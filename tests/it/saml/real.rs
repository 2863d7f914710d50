//! The real thing: assertions by pysaml2 (signed by xmlsec1) and by samlp (signed by xml-crypto), exchanged by an OAuth client that
//! knows nothing of writ, used at an edge, and ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tempfile::TempDir;
use writ::clock::{Clock as _, SystemClock};
use writ::identity::saml::SamlProviders;
use writ::key::KeyPair;

use super::mint::{AUDIENCE, ENTITY_ID, RECIPIENT, between, terms};
use crate::cli::{Finished, finished};
use crate::identity::real::{SCOPE, SECRET, before_long, fed, notes, service};
use crate::world::{Kept, World, client, counterpart, measured, on_every_store};

/// samlp says nothing about what its `NameID` is.
const ANY_FORMAT: &str = "name_id_formats = [\"urn:oasis:names:tc:SAML:2.0:nameid-format:persistent\", \
                          \"urn:oasis:names:tc:SAML:1.1:nameid-format:unspecified\"]";

/// Somebody else's identity provider: which program it is, its key and its certificate.
struct Provider {
    program: &'static str,
    entity_id: String,
    key: PathBuf,
    certificate: PathBuf,
    _dir: TempDir,
}

impl Provider {
    fn new(program: &'static str, entity_id: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
        let certificate =
            rcgen::CertificateParams::new(vec!["idp.example".into()]).unwrap().self_signed(&pair).unwrap();
        let (key, certified) = (dir.path().join("idp.key"), dir.path().join("idp.pem"));
        fs::write(&key, pair.serialize_pem()).unwrap();
        fs::write(&certified, certificate.pem()).unwrap();
        Self { program, entity_id: entity_id.into(), key, certificate: certified, _dir: dir }
    }

    /// An assertion about `user`, as a request carries it.
    fn assertion(&self, user: &str, audience: &str, recipient: &str, how: &[&str]) -> String {
        let mut command = match self.program {
            "samlp" => {
                let mut node = crate::world::node();
                node.args([client("mint_assertion.mjs"), counterpart("node_modules")]);
                node
            }
            _ => {
                let mut python = Command::new(counterpart("bin/python"));
                python.arg(client("mint_assertion.py"));
                python
            }
        };
        command.arg(&self.entity_id).arg(&self.key).arg(&self.certificate).args([audience, recipient, user]).args(how);
        finished(command.output().unwrap()).ok()
    }
}

fn providers() -> [Provider; 2] {
    ["pysaml2", "samlp"].map(|program| Provider::new(program, ENTITY_ID))
}

#[test]
fn what_two_real_providers_sign_is_read_as_they_mean_it() {
    for provider in providers() {
        let name = provider.program;
        let terms = terms(&provider.certificate.display().to_string(), ANY_FORMAT);
        let readers = SamlProviders::open(&[terms]).unwrap();
        let read = |audience: &str, recipient: &str, how: &[&str]| {
            let text = provider.assertion("alice", audience, recipient, how);
            readers.verify(&"default".parse().unwrap(), &text, SystemClock.now()).map_err(|refused| refused.to_string())
        };
        for how in [&[][..], &["response"]] {
            let identity = read(AUDIENCE, RECIPIENT, how).unwrap_or_else(|refused| panic!("{name} {how:?}: {refused}"));
            assert_eq!((identity.subject().as_str(), identity.groups().len()), ("alice", 2), "{name} {how:?}");
            assert!(identity.session().is_some(), "{name} {how:?}");
        }
        // What canonicalization must get right: both libraries and this one have to agree on every byte.
        let awkward = read(AUDIENCE, RECIPIENT, &["awkward"]).unwrap();
        let groups: Vec<_> = awkward.groups().iter().map(writ::id::Group::as_str).collect();
        assert_eq!(groups, ["staff", "finance", "R&D <\"research\">", "æøå 漢字 🦀", "  spaces  ", "it's"], "{name}");
        for (audience, recipient, how, word) in [
            ("https://other.example", RECIPIENT, &[][..], "Audience"),
            (AUDIENCE, "https://other.example", &[], "Recipient"),
            (AUDIENCE, RECIPIENT, &["sha1"], "SHA-256"),
            (AUDIENCE, RECIPIENT, &["response-signed"], "not signed"),
            (AUDIENCE, RECIPIENT, &["encrypted"], "encrypted"),
        ] {
            if (name, how) != ("samlp", &["encrypted"]) {
                let why = read(audience, recipient, how).unwrap_err();
                assert!(why.contains(word), "{name} {how:?}: {why}");
            }
        }
    }
}

async fn assertions_buy_writs_and_the_end_of_the_session_ends_them(kept: Kept) {
    let [first, second] = providers();
    let second = Provider { entity_id: "https://second.example/saml".into(), ..second };
    let table = |provider: &Provider| {
        format!(
            "\n[[identity.saml]]\nname = \"{name}\"\nentity_id = \"{}\"\ncertificates = [\"{}\"]\nuser_prefix = \"{name}:\"\n\
             {ANY_FORMAT}\n",
            provider.entity_id,
            provider.certificate.display(),
            name = provider.program,
        )
    };
    let upstream = notes().await;
    let world = World::raise_with(kept, &format!("{}{}", table(&first), table(&second))).await;
    let agents_own = &["notes:read:agents-own"];
    world.offer(&service(upstream), &["notes-key", "--header", "x-api-key"], SECRET, "planner", agents_own);
    world.operate(&["grant", "add", "planner", "--group", "finance", "--allow", SCOPE]).ok();
    let recipient = format!("{}/oauth/token", world.authority);
    let key = world.dir().join("planner.pem");
    let exchange = |assertion: &str| exchanged(&recipient, &key, assertion);
    let url = format!("http://{upstream}/notes/team");
    let run = |token: &str| world.run("planner.pem", token, &["curl", "-s", "-w", " %{http_code}", &url]);
    // On a busy machine an edge may be without a lease for a moment, and says so.
    let call = |token: &str| before_long(|| run(token), |finished| !finished.stderr.contains("not fresh"));

    // SAML has no way to say that a user is gone; the directory beside it has.
    for provider in [&first, &second] {
        let name = provider.program;
        let directory = Directory::of(&world, name);
        let user = directory.told("POST", "", r#"{"userName":"bob"}"#).0;
        let writ = exchange(&provider.assertion("bob", &world.authority, &recipient, &[])).ok();
        assert_eq!(call(&writ).ok(), "notes of the team 200", "{name}");
        let (_, took_ms) = directory.told("PUT", &format!("/{user}"), r#"{"userName":"bob","active":false}"#);
        let dead = call(&writ);
        assert!(dead.code == 1 && dead.stderr.contains("the edge refuses the writ"), "{name}: {dead:?}");
        let late = exchange(&provider.assertion("bob", &world.authority, &recipient, &[]));
        assert!(late.code == 3 && late.stdout.contains("inactive"), "{name}: {late:?}");
        measured(name, &format!("the user disabled by SCIM, {kept:?}"), took_ms);
    }
    for provider in [&first, &second] {
        let name = provider.program;
        let assertion = provider.assertion("alice", &world.authority, &recipient, &[]);
        let writ = exchange(&assertion).ok();
        assert_eq!(call(&writ).ok(), "notes of the team 200", "{name}");
        let again = exchange(&assertion);
        assert!(again.code == 3 && again.stdout.contains("exchanged before"), "{name}: {again:?}");

        let xml = String::from_utf8(URL_SAFE_NO_PAD.decode(&assertion).unwrap()).unwrap();
        let session = format!("session:default/{name}:{}", between(&xml, "SessionIndex=\"", "\""));
        let receipt = world.operate(&["revoke", &session, "--json"]).json();
        let dead = call(&writ);
        assert!(dead.code == 1 && dead.stderr.contains("the edge refuses the writ"), "{name}: {dead:?}");
        let late = exchange(&assertion);
        assert!(late.code == 3 && late.stdout.contains("log in again"), "{name}: {late:?}");
        measured(name, &format!("the operator's word about a session, {kept:?}"), &receipt["elapsed_ms"]);
        world.holds_nowhere(&assertion);
    }
    // One provider's word is nothing in the other's name.
    let borrowed = Provider { entity_id: first.entity_id, ..second };
    let refused = exchange(&borrowed.assertion("alice", &world.authority, &recipient, &[]));
    assert!(refused.code == 3 && refused.stdout.contains("no key of provider"), "{refused:?}");
    world.holds_nowhere(SECRET);
}

/// The directory of a provider, as its SCIM client reaches it.
struct Directory<'a> {
    world: &'a World,
    authorization: String,
}

impl<'a> Directory<'a> {
    fn of(world: &'a World, provider: &str) -> Self {
        let secret = world.operate(&["scim", "token", "add", provider]).ok();
        Self { world, authorization: format!("authorization: Bearer {secret}") }
    }

    /// The id of the user whom `body` is about, and how many milliseconds the call took.
    fn told(&self, method: &str, path: &str, body: &str) -> (String, u64) {
        let url = format!("{}/scim/v2/Users{path}", self.world.authority);
        let body = body.replacen('{', r#"{"schemas":["urn:ietf:params:scim:schemas:core:2.0:User"],"#, 1);
        let mut curl = Command::new("curl");
        curl.args(["-s", "-X", method, "-H", &self.authorization, "-H", "content-type: application/scim+json"]);
        curl.args(["-w", r"\n%{time_total}", "-d", &body, &url]);
        let said = finished(curl.output().unwrap()).ok();
        let (answer, took_s) = said.rsplit_once('\n').unwrap();
        let user: serde_json::Value = serde_json::from_str(answer).unwrap();
        let id = user["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        (id, std::time::Duration::from_secs_f64(took_s.parse().unwrap()).as_millis().try_into().unwrap())
    }
}

/// By requests_oauth2client, for the agent with this key.
fn exchanged(endpoint: &str, key: &Path, assertion: &str) -> Finished {
    let id = KeyPair::from_pem(&fs::read_to_string(key).unwrap()).unwrap().public().to_string();
    let mut command = Command::new(counterpart("bin/python"));
    command.args([client("exchange_token.py"), endpoint.into(), "planner".into(), id, key.display().to_string()]);
    command.args([SCOPE, "urn:ietf:params:oauth:token-type:saml2"]);
    fed(command, assertion)
}

on_every_store!(assertions_buy_writs_and_the_end_of_the_session_ends_them);
