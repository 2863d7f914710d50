//! A chart of bars, as SVG that can be read on light and dark pages.

use crate::report::Line;

const ROW: f64 = 26.0;
const LABELS: f64 = 430.0;
const BARS: f64 = 360.0;
const STYLE: &str = "text{font:13px system-ui,sans-serif;fill:#1f2328}.other{fill:#8c959f}.own{fill:#0969da}\
     @media(prefers-color-scheme:dark){text{fill:#e6edf3}.other{fill:#6e7681}.own{fill:#4493f8}}";

/// Processor time for each request: shorter is better.
pub(crate) fn of(lines: &[Line<'_>]) -> String {
    let most = lines.iter().map(|line| line.microseconds).fold(1.0, f64::max);
    let height = ROW * (lines.len() as f64 + 1.5);
    let width = LABELS + BARS + 120.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\
         <style>{STYLE}</style>\n<text x=\"0\" y=\"17\">Processor microseconds for each request (ratio to the minimal proxy)</text>\n"
    );
    for (row, line) in lines.iter().enumerate() {
        let top = ROW * (row as f64 + 1.2);
        let (text, bar) = (top + 14.0, BARS * line.microseconds / most);
        let class = if line.case.is_ours() { "own" } else { "other" };
        let (end, middle) = (LABELS - 10.0, LABELS + bar + 8.0);
        svg.push_str(&format!(
            "<text x=\"{end}\" y=\"{text}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{LABELS}\" y=\"{top}\" width=\"{bar:.1}\" height=\"18\" rx=\"2\"/>\
             <text x=\"{middle:.1}\" y=\"{text}\">{:.1} ({:.2})</text>\n",
            escaped(&line.case.title()),
            line.microseconds,
            line.ratio
        ));
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('`', "").replace('&', "&amp;").replace('<', "&lt;")
}
