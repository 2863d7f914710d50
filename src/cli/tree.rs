//! A writ as a tree that a person understands. Names that a holder chose stand beside the key they belong to.

use std::fmt::Write as _;

use crate::cli::output::{bad, doubtful, faint, good, plain_line, strong, term};
use crate::cli::time::{moment, relative};
use crate::clock::Timestamp;
use crate::key::PublicKey;
use crate::token::{Capability, Chain, Hop};

/// What is known about the signatures of a drawn chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signatures {
    /// Nobody has looked.
    Unchecked,
    /// All of them hold.
    Hold,
}

/// Draws `chain` as it stands at `now`, under what is true of all of it.
pub(crate) fn draw(chain: &Chain, signatures: Signatures, now: Timestamp) -> String {
    let mut tree = Tree { chain, now, lines: Vec::new() };
    tree.heading(signatures);
    tree.lines.push(String::new());
    tree.holders();
    tree.lines.join("\n")
}

/// Draws who holds `chain` and how they came to it.
pub(crate) fn draw_holders(chain: &Chain, now: Timestamp) -> String {
    let mut tree = Tree { chain, now, lines: Vec::new() };
    tree.holders();
    tree.lines.join("\n")
}

struct Tree<'a> {
    chain: &'a Chain,
    now: Timestamp,
    lines: Vec<String>,
}

impl Tree<'_> {
    fn heading(&mut self, signatures: Signatures) {
        let authority = self.chain.authority();
        let user = match &authority.subject {
            Some(subject) => format!("acts for the user {}", strong(plain_line(subject.as_str()))),
            None => "acts for itself".to_owned(),
        };
        self.lines.push(format!(
            "Writ for agent {} of tenant {}, which {user}",
            strong(&authority.agent),
            strong(&authority.tenant)
        ));
        let checked = match signatures {
            Signatures::Hold => format!("{} by root key {}", good("all hold, signed"), self.chain.root_key_id()),
            Signatures::Unchecked => {
                format!(
                    "{}; it says root key {}; `writ verify` checks",
                    doubtful("not checked"),
                    self.chain.root_key_id()
                )
            }
        };
        self.row(0, "signatures", &checked);
        self.row(0, "minted by", &plain_line(&authority.issuer));
        self.row(0, "for the edges", authority.audience.as_str());
        if self.chain.not_before() > self.now {
            self.row(0, "begins", &self.when(self.chain.not_before()));
        }
        self.row(0, "ends", &self.when(self.chain.expires()));
        let hops = self.chain.hops().len();
        let handing_on = match (self.chain.is_sealed(), usize::from(authority.depth_max).saturating_sub(hops)) {
            (true, _) => "not possible: it is sealed".to_owned(),
            (false, _) if authority.holder.is_none() => "not possible: it is bound to no key".to_owned(),
            (false, 0) => "not possible: it is as deep as its authority allows".to_owned(),
            (false, 1) => "1 more time".to_owned(),
            (false, left) => format!("{left} more times"),
        };
        self.row(0, "handing on", &handing_on);
    }

    fn holders(&mut self) {
        self.authority();
        for (index, hop) in self.chain.hops().iter().enumerate() {
            self.hop(index, hop);
        }
        self.narrowings(self.chain.hops().len());
        self.end();
    }

    fn authority(&mut self) {
        let authority = self.chain.authority();
        self.lines.push(format!("{} {}", good("●"), strong(&authority.agent)));
        match authority.holder {
            Some(key) => self.key(0, "key", key),
            None => self.row(0, "│ key", &bad("none: whoever sees this writ can use it")),
        }
        self.row(0, "│ block", &faint(authority.id));
        self.capabilities(0, "│ allows", &authority.capabilities);
        self.row(0, "│ ends", &self.when(authority.expires));
        let covers = authority.proof_covers;
        if covers.query || covers.body {
            let what = match (covers.query, covers.body) {
                (true, true) => "the query and the body",
                (true, false) => "the query",
                _ => "the body",
            };
            self.row(0, "│ proofs cover", what);
        }
        self.checks(0, 0);
    }

    fn hop(&mut self, index: usize, hop: &Hop) {
        self.narrowings(index);
        let depth = index + 1;
        let above = if index == 0 { "│" } else { "   │" };
        self.lines.push(format!("{}{above}", indent(index.saturating_sub(1))));
        let name = match &hop.agent {
            Some(name) => format!("{} {}", strong(name), faint("(so called by the holder above)")),
            None => faint("(its delegator gave it no name)"),
        };
        self.lines.push(format!("{}╰─ {} {name}", indent(index), good("●")));
        self.key(depth, "key", hop.holder);
        self.row(depth, "│ signed by", &format!("the holder above, {}", faint(short(hop.signed_by))));
        self.row(depth, "│ block", &faint(hop.id));
        if let Some(begins) = hop.not_before.filter(|begins| *begins > self.now) {
            self.row(depth, "│ begins", &self.when(begins));
        }
        self.checks(depth, hop.block);
        self.row(depth, "│ ends", &self.when(hop.expires));
    }

    /// The narrowing blocks between hop `index` and the next one: those that are neither hop nor authority block.
    fn narrowings(&mut self, index: usize) {
        let hops = self.chain.hops();
        let first = if index == 0 { 1 } else { hops[index - 1].block + 1 };
        let end = hops.get(index).map_or(self.chain.blocks(), |hop| hop.block);
        for block in first..end {
            self.row(index, "│ narrowed", &format!("by block {block}, which anybody who had it could add"));
            self.checks(index, block);
        }
    }

    /// What the checks of `block` leave.
    fn checks(&mut self, depth: usize, block: usize) {
        let checks: Vec<_> = self.chain.checks().iter().filter(|check| check.block == block).collect();
        for check in checks {
            match check.capabilities() {
                Some(capabilities) => self.capabilities(depth, "│ allows only", &capabilities),
                None => self.row(depth, "│ only where", &plain_line(check.source.trim_start_matches("check if "))),
            }
        }
    }

    fn capabilities(&mut self, depth: usize, label: &str, capabilities: &[Capability]) {
        for (index, capability) in capabilities.iter().enumerate() {
            self.row(depth, if index == 0 { label } else { "│" }, &term(capability));
        }
        if capabilities.is_empty() {
            self.row(depth, label, &bad("nothing"));
        }
    }

    fn key(&mut self, depth: usize, label: &str, key: PublicKey) {
        self.row(depth, &format!("│ {label}"), &key.to_string());
    }

    fn end(&mut self) {
        let depth = self.chain.hops().len();
        let proven = match self.chain.holder() {
            Some(_) => "every request needs a proof by this key",
            None => "a request needs no proof",
        };
        self.lines.push(format!("{}╰ {}", indent(depth), faint(proven)));
    }

    fn row(&mut self, depth: usize, label: &str, value: &str) {
        let mut line = indent(depth);
        // Expect safety: writing to a `String` cannot fail.
        write!(line, "{label:<15} {value}").expect("a string takes text");
        self.lines.push(line);
    }

    fn when(&self, time: Timestamp) -> String {
        let told = relative(time, self.now);
        let told = if time < self.now { bad(told) } else { strong(told) };
        format!("{} ({told})", moment(time))
    }
}

fn indent(depth: usize) -> String {
    "   ".repeat(depth)
}

/// The end of a key's text form, enough to tell it from its neighbours.
pub(crate) fn short(key: PublicKey) -> String {
    let text = key.to_string();
    format!("…{}", &text[text.len() - 8..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::BlockId;
    use crate::key::KeyPair;
    use crate::token::chain::{Authority, ProofCovers};
    use crate::token::claims::PolicyFacts;
    use crate::token::hop::{Narrowing, NewHop, delegate, narrow};
    use crate::token::inspect::inspect;
    use crate::token::mint::mint;
    use crate::token::{Limits, RawToken};

    const NOW: i64 = 1_795_000_000;

    const TREE: &str = "\
Writ for agent planner of tenant acme, which acts for the user alice@example.com
signatures      not checked; it says root key 7; `writ verify` checks
minted by       https://authority.example
for the edges   main
ends            2026-11-18T11:18:40Z (in 12 minutes)
handing on      1 more time

● planner
│ key           did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX
│ block         a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0
│ allows        notes:/:team
│               calendar:read:/
│ ends          2026-11-18T12:06:40Z (in 60 minutes)
│
╰─ ● summariser (so called by the holder above)
   │ key           did:key:z6Mko9hTggMwjSTEaJaPUfE6tqcy2xvU6BnNq3e3o8qVBiyH
   │ signed by     the holder above, …RcFbLfLX
   │ block         eff45dcf6528288565944e9fb2f4332e
   │ allows only   notes:read:team
   │ ends          2026-11-18T11:18:40Z (in 12 minutes)
   │ narrowed      by block 2, which anybody who had it could add
   │ only where    arg(\"limit\", $n), $n <= 10
   │
   ╰─ ● (its delegator gave it no name)
      │ key           did:key:z6MkvRXNYcE7MMduynWTgeKbDaT1iijDSC8pZqXZc8rHPrf2
      │ signed by     the holder above, …o8qVBiyH
      │ block         a0c3be9a3c3eb35db58bd9e15fcc6832
      │ ends          2026-11-18T11:18:40Z (in 12 minutes)
      ╰ every request needs a proof by this key";

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(NOW + secs)
    }

    fn pair(seed: u8) -> KeyPair {
        KeyPair::from_seed(&[seed; 32])
    }

    fn minted(holder: Option<u8>) -> RawToken {
        let authority = Authority {
            issuer: "https://authority.example".into(),
            audience: "main".parse().unwrap(),
            tenant: "acme".parse().unwrap(),
            subject: Some("alice@example.com".parse().unwrap()),
            session: None,
            agent: "planner".parse().unwrap(),
            holder: holder.map(|seed| pair(seed).public()),
            capabilities: vec!["notes:/:team".parse().unwrap(), "calendar:read:/".parse().unwrap()],
            grants: Vec::new(),
            id: BlockId::from_bytes([0xa0; 16]),
            not_before: at(0),
            expires: at(3600),
            depth_max: 3,
            epoch: 12,
            proof_covers: ProofCovers::default(),
            policy: PolicyFacts::default(),
        };
        mint(&authority, &pair(0xee), 7, &[1; 32], &Limits::default()).unwrap()
    }

    fn drawn(token: &RawToken, now: Timestamp) -> String {
        let unverified = inspect(token, &Limits::default()).unwrap();
        let text = draw(unverified.claims(), Signatures::Unchecked, now);
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn a_chain_is_drawn_as_a_tree() {
        let hop = |to: u8, narrowing| NewHop {
            holder: pair(to).public(),
            id: BlockId::from_bytes([to; 16]),
            expires: at(720),
            not_before: None,
            agent: Some("summariser".parse().unwrap()),
            narrowing,
        };
        let limits = Limits::default();
        let reads = Narrowing { capabilities: vec!["notes:read:team".parse().unwrap()], ..Narrowing::default() };
        let token = delegate(&minted(Some(1)), &pair(1), &hop(2, reads), &[2; 32], &limits).unwrap();
        let small = Narrowing { checks: vec!["check if arg(\"limit\", $n), $n <= 10".into()], ..Narrowing::default() };
        let token = narrow(&token, &small, &[3; 32], &limits).unwrap();
        let last = NewHop { agent: None, ..hop(3, Narrowing::default()) };
        let token = delegate(&token, &pair(2), &last, &[4; 32], &limits).unwrap();
        assert_eq!(drawn(&token, at(0)), TREE);
    }

    #[test]
    fn a_bearer_writ_and_an_ended_one_say_so() {
        let text = drawn(&minted(None), at(7200));
        assert!(text.contains("none: whoever sees this writ can use it"), "{text}");
        assert!(text.contains("(60 minutes ago)"), "{text}");
        assert!(text.contains("not possible: it is bound to no key"), "{text}");
    }
}
