//! A request that needs a person, as the person sees it: all of it, in an order of its own, with nothing that could deceive.

use super::approval::Shown;
use crate::catalog::json::Body;
use crate::cli::output::{bad, doubtful, faint, good, plain, plain_line, strong, term};
use crate::cli::time::{moment, relative};
use crate::clock::Timestamp;
use crate::policy::asked::{Header, Parts};
use crate::policy::{ApprovalState, Asked, Asker};
use crate::store::AskedSummary;

/// Each line of a body stands behind this: no text of the agent's can pass for a line of ours.
const GUTTER: &str = "  | ";
/// How many bytes of a body that is no text stand in a line.
const HEX_LINE: usize = 32;

/// Everything, for a person.
pub(super) fn told(shown: &Shown, now: Timestamp) -> String {
    let AskedSummary { method, url, body_bytes, does, demands, policy_version } = &shown.summary;
    let state = match shown.state {
        ApprovalState::Pending => doubtful("pending"),
        ApprovalState::Approved => good("approved"),
        state @ (ApprovalState::Denied | ApprovalState::Redeemed | ApprovalState::Expired) => bad(state),
    };
    let mut lines = vec![format!(
        "{} {state} until {} ({})",
        strong(shown.handle),
        moment(shown.expires),
        relative(shown.expires, now)
    )];
    lines.extend(asker(&shown.asker));
    lines.push(format!("through  edge {}", shown.edge));
    let parts = shown.asked.as_ref().map(Asked::parts);
    match parts {
        Some(parts) => lines.extend(operations(parts)),
        None => lines.extend(does.iter().map(|needed| format!("does     {}", term(plain_line(&needed.to_string()))))),
    }
    // Of what the digest is of, as long as it is there.
    let (demands, policy_version) =
        parts.map_or((demands, policy_version), |parts| (&parts.demands, &parts.policy_version));
    for demand in demands {
        let join = |texts: &[Box<str>]| plain_line(&texts.join(", "));
        let (policies, approvers) = (join(&demand.policies), join(&demand.approvers));
        lines.push(format!(
            "demanded by policy {} (version {}) of: {}",
            strong(policies),
            policy_version,
            strong(approvers)
        ));
    }
    if let Some(decided) = &shown.decided {
        lines.push(format!("decided  {}", plain_line(&decided.to_string())));
    }
    match parts {
        Some(parts) => {
            lines.push(format!("\n{}", strong("exactly this is sent, and the service's credential with it:")));
            lines.extend(request(parts));
        }
        None => {
            let what = format!("{} {}, with a body of {body_bytes} bytes", plain_line(method), plain_line(url));
            lines.push(format!("\n{what}: {}", faint("what is over is not kept")));
        }
    }
    lines.push(format!("\ndigest   {}", shown.digest));
    lines.join("\n")
}

fn operations(parts: &Parts) -> Vec<String> {
    let mut lines = Vec::new();
    for operation in &parts.operations {
        lines.push(format!("does     {}", term(plain_line(&operation.needed().to_string()))));
        for argument in &operation.arguments {
            let value = serde_json::to_string(&argument.value).unwrap_or_default();
            lines.push(format!("           {} = {}", plain_line(&argument.name), plain_line(&value)));
        }
    }
    lines
}

fn asker(asker: &Asker) -> Vec<String> {
    let Asker { tenant, subject, agent, holders, called, blocks } = asker;
    let on_behalf = subject.as_ref().map_or_else(
        || "for itself".to_owned(),
        |subject| format!("on behalf of {}", strong(plain_line(subject.as_str()))),
    );
    let mut lines = vec![format!("asked by agent {} of tenant {tenant}, {on_behalf}", strong(agent))];
    for (index, holder) in holders.iter().enumerate() {
        let name = match index.checked_sub(1).map(|hop| called.get(hop).and_then(Option::as_ref)) {
            None => format!("agent {agent}"),
            // Self-asserted: what the delegator calls it, and nothing that was checked.
            Some(Some(name)) => format!("handed on to one that is called `{name}`"),
            Some(None) => "handed on to one without a name".to_owned(),
        };
        lines.push(format!("  {name}  {}", faint(holder)));
    }
    if holders.is_empty() {
        lines.push(format!("  {}", bad("a bearer writ: whoever had it could ask")));
    }
    let blocks: Vec<String> = blocks.iter().map(ToString::to_string).collect();
    lines.push(format!("  {}", faint(format!("blocks {}", blocks.join(" ")))));
    lines
}

fn request(parts: &Parts) -> Vec<String> {
    let mut lines = vec![format!("{} {}", strong(&parts.method), strong(plain_line(&parts.url)))];
    lines.extend(parts.headers.iter().map(|Header { name, value }| format!("{name}: {}", bytes_line(value))));
    lines.push(String::new());
    if parts.body.is_empty() {
        lines.push(faint("no body"));
        return lines;
    }
    if let Some(read) = understood(parts) {
        lines.push(format!("body, {} bytes, laid out for reading:", parts.body.len()));
        lines.extend(guttered(&read));
    }
    match std::str::from_utf8(&parts.body) {
        Ok(text) => {
            lines.push(format!("body, {} bytes, as it is sent:", parts.body.len()));
            lines.extend(guttered(text));
            let others = text.chars().filter(|c| !c.is_ascii()).count();
            if others > 0 {
                let note =
                    format!("{others} characters are not ASCII: letters of another alphabet may look like Latin ones");
                lines.push(doubtful(note));
            }
        }
        Err(_) => {
            lines.push(format!("body, {} bytes that are no text, in hexadecimal:", parts.body.len()));
            lines.extend(parts.body.chunks(HEX_LINE).map(|chunk| format!("{GUTTER}{}", hex::encode(chunk))));
        }
    }
    lines
}

fn guttered(text: &str) -> impl Iterator<Item = String> {
    text.split('\n').map(|line| format!("{GUTTER}{}", plain(line).replace('\t', "\\t")))
}

/// A body of a known type, one member or field in a line. `None` where two readers could read it differently.
fn understood(parts: &Parts) -> Option<String> {
    let types: Vec<&Header> = parts.headers.iter().filter(|header| &*header.name == "content-type").collect();
    let [only] = types.as_slice() else { return None };
    let named = std::str::from_utf8(&only.value).ok()?.split(';').next()?.trim().to_ascii_lowercase();
    if named == "application/x-www-form-urlencoded" {
        let fields: Vec<(String, String)> = serde_urlencoded::from_bytes(&parts.body).ok()?;
        return Some(fields.iter().map(|(name, value)| format!("{name:?} = {value:?}")).collect::<Vec<_>>().join("\n"));
    }
    if named == "application/json" || named.ends_with("+json") {
        // Strictly first: of a name that stands twice only one value would be shown.
        Body::parse(&parts.body, Asked::BODY_BYTES_MAX).ok()?;
        let value: serde_json::Value = serde_json::from_slice(&parts.body).ok()?;
        return serde_json::to_string_pretty(&value).ok();
    }
    None
}

/// A header's value within one line, whatever its bytes are.
fn bytes_line(value: &[u8]) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => plain_line(text),
        Err(_) => value
            .iter()
            .map(|byte| match byte {
                0x20..=0x7e => char::from(*byte).to_string(),
                other => format!("\\x{other:02x}"),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ApprovalId, BlockId};
    use crate::policy::Demand;
    use crate::token::Operation;

    fn shown(content_type: &str, body: &[u8]) -> Shown {
        let header = |name: &str, value: &[u8]| Header { name: name.into(), value: value.to_vec() };
        let asked = Asked::new(Parts {
            method: "POST".into(),
            url: "https://notes.example/notes/team?draft=1".into(),
            headers: vec![header("content-type", content_type.as_bytes()), header("x-tag", b"a\xe2\x80\xaeb\xc3")],
            body: body.to_vec(),
            operations: vec![Operation {
                service: "notes".parse().unwrap(),
                action: "write".parse().unwrap(),
                resource: "team".parse().unwrap(),
                method: "POST".into(),
                arguments: Vec::new(),
            }],
            demands: vec![Demand { approvers: vec!["finance".into()], policies: vec!["large".into()] }],
            policy_version: 7,
        })
        .unwrap();
        let asker = Asker {
            tenant: "acme".parse().unwrap(),
            subject: Some("alice@example.com".parse().unwrap()),
            agent: "planner".parse().unwrap(),
            holders: [1, 2].map(|n| crate::key::KeyPair::from_seed(&[n; 32]).public()).to_vec(),
            called: vec![Some("helper".parse().unwrap())],
            blocks: vec![BlockId::from_bytes([1; 16])],
        };
        Shown {
            handle: ApprovalId::from_bytes([9; 16]),
            state: ApprovalState::Pending,
            digest: hex::encode(asked.digest()),
            summary: AskedSummary::from(&asked),
            asked: Some(asked),
            asker,
            edge: "edge-1".parse().unwrap(),
            created: Timestamp::from_secs(0),
            expires: Timestamp::from_secs(60),
            decided: None,
        }
    }

    fn lines(content_type: &str, body: &[u8]) -> Vec<String> {
        let text = told(&shown(content_type, body), Timestamp::from_secs(0));
        anstream::adapter::strip_str(&text).to_string().lines().map(str::to_owned).collect()
    }

    #[test]
    fn all_of_the_request_is_shown() {
        let lines = lines("application/json", br#"{"to":["a@x.example"],"amount":5}"#);
        for line in [
            "asked by agent planner of tenant acme, on behalf of alice@example.com",
            "does     notes:write:team",
            "demanded by policy large (version 7) of: finance",
            "POST https://notes.example/notes/team?draft=1",
            "content-type: application/json",
            r#"  | {"to":["a@x.example"],"amount":5}"#,
            r#"  |   "amount": 5"#,
        ] {
            assert!(lines.iter().any(|shown| shown == line), "{line}\n{}", lines.join("\n"));
        }
        assert!(lines.iter().any(|line| line.contains("called `helper`")));
        assert!(lines.last().unwrap().starts_with("digest   "));
    }

    #[test]
    fn of_what_is_over_the_head_is_shown_without_its_query() {
        let over = Shown { asked: None, state: ApprovalState::Redeemed, ..shown("text/plain", b"a body") };
        let text = told(&over, Timestamp::from_secs(0));
        let text = anstream::adapter::strip_str(&text).to_string();
        for part in
            ["does     notes:write:team", "of: finance", "POST https://notes.example/notes/team, with a body of 6"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(
            !text.contains("a body\n") && !text.contains("draft") && !text.contains("exactly this is sent"),
            "{text}"
        );
    }

    #[test]
    fn nothing_in_a_body_passes_for_a_line_of_ours_or_steers_the_terminal() {
        let body = "x\ndigest   00\r\n\u{1b}[2J\u{202e}\tend";
        let lines = lines("text/plain", body.as_bytes());
        let from = lines.iter().position(|line| line.starts_with("body,")).unwrap();
        let shown = ["  | x", "  | digest   00\\u{d}", "  | \\u{1b}[2J\\u{202e}\\tend"];
        assert_eq!(lines[from + 1..=from + 3], shown);
        assert!(!lines.concat().chars().any(crate::id::is_deceptive));
        assert!(lines.contains(&r"x-tag: a\xe2\x80\xaeb\xc3".to_owned()), "{}", lines.join("\n"));
    }

    #[test]
    fn a_body_that_two_readers_could_read_differently_is_shown_as_it_is_alone() {
        let lines = lines("application/json", br#"{"to":"a","to":"b"}"#);
        assert!(!lines.iter().any(|line| line.contains("for reading")));
        assert!(lines.contains(&r#"  | {"to":"a","to":"b"}"#.to_owned()));
    }

    #[test]
    fn bytes_that_are_no_text_are_shown_to_the_last() {
        let body: Vec<u8> = (0..=255).collect();
        let hex: String =
            lines("application/octet-stream", &body).iter().filter_map(|line| line.strip_prefix(GUTTER)).collect();
        assert_eq!(hex, hex::encode(&body));
    }
}
