//! How long a count lasts.

use std::fmt;
use std::str::FromStr;

use crate::clock::Timestamp;
use crate::id::text_form;

/// A fixed window: the first begins at 1970-01-01T00:00:00Z, each ends where the next begins. So `1d` is a day in UTC.
///
/// Written as a whole number with `s`, `m`, `h` or `d`; from 1 second to 31 days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window(u32);

/// A text that is no window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a window is written `30s`, `5m`, `1h` or `1d`, and is at most 31 days")]
pub struct InvalidWindow;

const LETTERS: [(char, u32); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl Window {
    /// The longest in seconds.
    pub const SECS_MAX: u32 = 31 * 86_400;

    /// Its length in seconds; at least 1.
    pub const fn as_secs(self) -> u32 {
        self.0
    }

    /// When the window that `now` is in began.
    pub const fn start(self, now: Timestamp) -> Timestamp {
        Timestamp::from_secs(now.secs().saturating_sub(now.secs().rem_euclid(self.0 as i64)))
    }

    /// When the window that began at `start` ends: the first moment of the next one.
    pub const fn end(self, start: Timestamp) -> Timestamp {
        Timestamp::from_secs(start.secs().saturating_add(self.0 as i64))
    }
}

impl FromStr for Window {
    type Err = InvalidWindow;

    fn from_str(text: &str) -> Result<Self, InvalidWindow> {
        let letter = text.chars().next_back().ok_or(InvalidWindow)?;
        let (_, secs) = LETTERS.iter().find(|(known, _)| *known == letter).ok_or(InvalidWindow)?;
        let number = &text[..text.len() - 1];
        if !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidWindow);
        }
        let number: u32 = number.parse().map_err(|_| InvalidWindow)?;
        let secs = number.checked_mul(*secs).ok_or(InvalidWindow)?;
        if (1..=Self::SECS_MAX).contains(&secs) { Ok(Self(secs)) } else { Err(InvalidWindow) }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = LETTERS.iter().find(|(_, secs)| self.0.is_multiple_of(*secs));
        let (letter, secs) = fits.unwrap_or(&('s', 1));
        write!(f, "{}{letter}", self.0 / secs)
    }
}

text_form!(Window);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_written_in_its_largest_unit() {
        for (written, shown) in [("1s", "1s"), ("60s", "1m"), ("90m", "90m"), ("24h", "1d"), ("31d", "31d")] {
            let window: Window = written.parse().unwrap();
            assert_eq!((window.to_string().as_str(), shown.parse()), (shown, Ok(window)));
        }
        for none in ["", "s", "0s", "1", "1w", "-1s", "+1s", "1.5h", "32d", "4294967295d", "1é"] {
            assert_eq!(none.parse::<Window>(), Err(InvalidWindow), "{none}");
        }
    }

    #[test]
    fn windows_follow_each_other_from_the_epoch_on() {
        let day: Window = "1d".parse().unwrap();
        let noon = Timestamp::from_millis(1_795_003_199_999);
        let start = day.start(noon);
        assert_eq!(start.to_string(), "2026-11-18T00:00:00Z");
        assert_eq!(day.start(day.end(start)), day.end(start));
        assert_eq!(day.start(Timestamp::from_millis(day.end(start).millis() - 1)), start);
        assert_eq!(day.start(Timestamp::from_millis(-1)).secs(), -86_400);
    }
}
