//! Times as people write and read them.

use std::time::Duration;

use crate::cli::failure::Failure;
use crate::clock::Timestamp;

/// A length of time as text: `90s`, `15m`, `2h`, `1d`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a length of time: write `90s`, `15m`, `2h` or `1d`");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    if !text.starts_with(|c: char| c.is_ascii_digit()) || count == 0 {
        return Err(wrong());
    }
    count.checked_mul(factor).map(Duration::from_secs).ok_or_else(wrong)
}

/// A moment: RFC 3339, or a length of time before now (`15m`).
pub(crate) fn parse_past(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    match parse_duration(text) {
        Ok(ago) => Ok(now.before(ago)),
        Err(_) => parse_moment(text).map_err(Failure::usage),
    }
}

/// A moment in RFC 3339.
pub(crate) fn parse_moment(text: &str) -> Result<Timestamp, String> {
    let time: jiff::Timestamp =
        text.parse().map_err(|_| format!("`{text}` is not a time: write it as `2026-12-01T00:00:00Z`"))?;
    Ok(Timestamp::from_millis(time.as_millisecond()))
}

/// `in 12 minutes`, `3 hours ago`, `now`.
pub(crate) fn relative(then: Timestamp, now: Timestamp) -> String {
    let (length, ahead) = if then >= now { (then.since(now), true) } else { (now.since(then), false) };
    let seconds = length.as_secs();
    // Rounded: what was asked for an hour a moment ago ends in 60 minutes, not in 59.
    let (count, unit) = match seconds {
        0 => return "now".to_owned(),
        1..=119 => (seconds, "second"),
        120..=7199 => ((seconds + 30) / 60, "minute"),
        7200..=172_799 => ((seconds + 1800) / 3600, "hour"),
        _ => ((seconds + 43_200) / 86_400, "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    if ahead { format!("in {count} {unit}{plural}") } else { format!("{count} {unit}{plural} ago") }
}

/// A moment to the second, in RFC 3339.
pub(crate) fn moment(time: Timestamp) -> String {
    Timestamp::from_secs(time.secs()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_has_a_unit() {
        assert_eq!(parse_duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(parse_duration("2h"), Ok(Duration::from_secs(7200)));
        for text in
            ["", "m", "15", "-1m", "+1m", "1.5h", "0s", "1w", "99999999999999999999d", "9999999999999999d", "1é"]
        {
            assert!(parse_duration(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_moment_is_told_as_people_say_it() {
        let now = Timestamp::from_secs(1_000_000);
        for (secs, text) in [
            (0, "now"),
            (1, "in 1 second"),
            (90, "in 90 seconds"),
            (720, "in 12 minutes"),
            (3599, "in 60 minutes"),
            (-10_800, "3 hours ago"),
            (172_800, "in 2 days"),
        ] {
            assert_eq!(relative(Timestamp::from_secs(1_000_000 + secs), now), text);
        }
    }
}
