//! What was found, as tables for people, and into README.md.

use std::fs;

use crate::cases::{Body, Case, Http};
use crate::footprint::Footprint;
use crate::measure::{Measured, Round};
use crate::{Options, chart, median, readme};

pub(crate) struct Report {
    results: Vec<Measured>,
    footprint: Option<Footprint>,
    seconds: f64,
    rounds: usize,
}

/// A case's medians.
pub(crate) struct Line<'a> {
    pub(crate) case: &'a Case,
    pub(crate) per_second: f64,
    pub(crate) microseconds: f64,
    /// To the floor, round by round.
    pub(crate) ratio: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) peak_mb: f64,
}

impl Report {
    pub(crate) fn new(options: &Options, results: Vec<Measured>, footprint: Option<Footprint>) -> Self {
        Self { results, footprint, seconds: options.seconds, rounds: options.rounds }
    }

    fn line<'a>(&'a self, measured: &'a Measured) -> Line<'a> {
        let of = |figure: fn(&Round) -> f64| median(measured.rounds.iter().map(figure));
        let floor = self.results.iter().find(|other| other.case.is_floor() && other.case.is_asked_like(&measured.case));
        let ratios = floor.map(|floor| {
            measured.rounds.iter().zip(&floor.rounds).map(|(own, floor)| own.microseconds / floor.microseconds)
        });
        Line {
            case: &measured.case,
            per_second: of(|round| round.per_second),
            microseconds: of(|round| round.microseconds),
            ratio: ratios.map_or(f64::NAN, median),
            p50: of(|round| round.p50),
            p99: of(|round| round.p99),
            peak_mb: measured.peak_mb,
        }
    }

    /// Those of 16 connections without bodies, by which everyone is compared.
    fn first(&self) -> Vec<Line<'_>> {
        let first = |measured: &&Measured| asked(&measured.case) == (Http::One, Body::None, 16);
        self.results.iter().filter(first).map(|measured| self.line(measured)).collect()
    }

    /// Everything, as Markdown.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        let first = self.first();
        if !first.is_empty() {
            text.push_str("| served to 16 connections | requests/s | p50 ms | p99 ms | processor µs per request | ratio | peak MB |\n");
            text.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
        }
        for line in &first {
            let (per_second, title) = (thousands(line.per_second), line.case.title());
            let Line { microseconds, ratio, p50, p99, peak_mb, .. } = line;
            text.push_str(&format!(
                "| {title} | {per_second} | {p50:.2} | {p99:.2} | {microseconds:.1} | {ratio:.2} | {peak_mb:.0} |\n"
            ));
        }
        text.push_str(&self.other_ways());
        if let Some(footprint) = &self.footprint {
            text.push_str(&of_footprint(footprint));
        }
        if !self.results.is_empty() {
            text.push_str(&format!("\n{}\n", self.origin()));
        }
        text
    }

    /// The same servers, asked in other ways.
    fn other_ways(&self) -> String {
        let ways = [
            ("1 connection", (Http::One, Body::None, 1)),
            ("64 connections", (Http::One, Body::None, 64)),
            ("64 kB bodies", (Http::One, Body::Large, 16)),
            ("HTTP/2, 16 streams", (Http::Two, Body::None, 16)),
        ];
        let mut titles: Vec<String> = Vec::new();
        for measured in self.results.iter().filter(|one| ways.iter().any(|(_, way)| asked(&one.case) == *way)) {
            if !titles.contains(&measured.case.title()) {
                titles.push(measured.case.title());
            }
        }
        if titles.is_empty() {
            return String::new();
        }
        let heads = ways.map(|(head, _)| head).join(" | ");
        let mut text =
            format!("\n| processor µs per request (ratio; p99 ms) | {heads} |\n| --- | --- | --- | --- | --- |\n");
        for title in titles {
            let cells = ways.map(|(_, way)| {
                let here = |one: &&Measured| asked(&one.case) == way && one.case.title() == title;
                self.results.iter().find(here).map_or_else(
                    || "–".to_owned(),
                    |one| {
                        let Line { microseconds, ratio, p99, .. } = self.line(one);
                        format!("{microseconds:.1} ({ratio:.2}; {p99:.2})")
                    },
                )
            });
            text.push_str(&format!("| {title} | {} |\n", cells.join(" | ")));
        }
        text
    }

    /// When and where.
    fn origin(&self) -> String {
        format!(
            "Medians of {} interleaved rounds, {} s for each line; each server alone on the first processor, load and service on the rest. {}.",
            self.rounds,
            self.seconds,
            readme::machine()
        )
    }

    /// Puts tables and chart where README.md shows them.
    pub(crate) fn write(&self) {
        fs::write(readme::root().join("benches/edge.svg"), chart::of(&self.first())).unwrap();
        let picture = "![Processor time for each request](benches/edge.svg)";
        readme::put("edge", &format!("{picture}\n\n{}", self.text()));
    }
}

fn asked(case: &Case) -> (Http, Body, usize) {
    (case.http, case.body, case.connections)
}

fn of_footprint(of: &Footprint) -> String {
    let Footprint { joined_ms, ready_ms, idle_mb, served_mb, chains_mb, .. } = of;
    let Footprint { connections_before_mb, connections_mb, resting_mb, .. } = of;
    format!(
        "\nAn idle edge holds {idle_mb:.1} MB. It is ready {ready_ms:.0} ms after its start ({joined_ms:.0} ms the first time, when it joins). \
         Having served 64 writs it holds {served_mb:.1} MB, after 100,000 distinct ones {chains_mb:.1} MB; \
         10,000 connections that were served and stay open take it from {connections_before_mb:.1} to {connections_mb:.1} MB, \
         and to {resting_mb:.1} MB once they have been idle for 5 seconds.\n"
    )
}

/// `12,345`
fn thousands(number: f64) -> String {
    let number = number.round() as u64;
    if number < 1000 { number.to_string() } else { format!("{},{:03}", number / 1000, number % 1000) }
}
