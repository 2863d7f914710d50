//! What the edge costs beside other proxies: `cargo bench --bench edge`. Trust ratios more than absolutes.
//!
//! Every server is a process of its own, alone on the first processor; the load, the service behind and the authority are on
//! the others. Each case is served in turn, round by round, so that what else the machine does hits all of them; a figure is
//! the median of its rounds. Tokens, proofs and requests are made before the clock starts. An answer counts only if it is a
//! success, and, where a credential is to be injected, if the service saw it.
//!
//! ```text
//! cargo bench --bench edge -- [--only PART,…] [--seconds N] [--rounds N] [--quick] [--write]
//! ```
//!
//! `PART` is how a case's name begins, or a part of it (`floor`, `bound/get/16`, `post`, `h2`), or `footprint`. `--write` puts tables and chart into README.md.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark that cannot set itself up has failed; it prints its result"
)]

mod cases;
mod chart;
mod contenders;
mod footprint;
mod load;
mod measure;
mod process;
mod raw;
mod readme;
mod report;
mod serve;
mod tls;
mod world;

#[expect(dead_code, reason = "the tests use more of it")]
#[path = "../../tests/it/edge/authority.rs"]
mod authority;

use std::time::Duration;

use writ::clock::{Clock as _, Monotonic, SystemClock};

/// The same for the floor and for the edge: as in `writ`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What is measured, and for how long.
struct Options {
    only: Vec<String>,
    /// For each case, all rounds together.
    seconds: f64,
    rounds: usize,
    write: bool,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, String> {
        let mut options = Self { only: Vec::new(), seconds: 3.0, rounds: 9, write: false };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or(format!("`{arg}` needs a value"));
            match arg.as_str() {
                "--only" => options.only = value()?.split(',').map(str::to_owned).collect(),
                "--seconds" => options.seconds = value()?.parse().map_err(|_| "`--seconds` needs a number")?,
                "--rounds" => options.rounds = value()?.parse().map_err(|_| "`--rounds` needs a number")?,
                "--quick" => (options.seconds, options.rounds) = (0.3, 3),
                "--write" => options.write = true,
                _ => return Err(format!("`{arg}` is no option: see the head of benches/edge/main.rs")),
            }
        }
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        let is_meant = |part: &String| name.starts_with(part.as_str()) || name.split('/').any(|piece| piece == part);
        self.only.is_empty() || self.only.iter().any(is_meant)
    }
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve-upstream"] => serve::upstream(),
        ["serve-floor", http, upstream] => serve::floor(http, upstream.parse().unwrap()),
        ["serve-authz", token] => serve::authz(token),
        // What `cargo test --benches` would run.
        [] | ["--test"] if cfg!(debug_assertions) => println!("run this by `cargo bench --bench edge`"),
        _ => match Options::parse(&args) {
            Ok(options) => run(&options),
            Err(error) => println!("{error}"),
        },
    }
}

fn run(options: &Options) {
    process::stay_off_the_servers_processor();
    let background = tokio::runtime::Runtime::new().unwrap();
    let footprint = options.wants("footprint").then(|| footprint::measure(&background));
    let cases: Vec<_> = cases::all().into_iter().filter(|case| options.wants(&case.name())).collect();
    let results = if cases.is_empty() { Vec::new() } else { measure::run(options, &background, cases) };
    let report = report::Report::new(options, results, footprint);
    println!("{}", report.text());
    if options.write {
        report.write();
    }
}

/// What the stand-in for the authority waits by.
async fn eventually(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it never happened that {what}");
}

fn since(began: Monotonic) -> Duration {
    SystemClock.monotonic().since(began)
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).unwrap();
    bytes
}

fn median(figures: impl IntoIterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}
