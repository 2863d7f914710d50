//! Typed values of arguments. Exact: there are no floats, and nothing is coerced.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::text_form;

/// A typed value.
///
/// Its JSON form says the type: `true`, `5`, `"text"`, `{"decimal": "12.5"}`, `{"time": "2026-12-01T09:00:00Z"}`, `[…]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub enum Value {
    /// A boolean.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Text, compared byte by byte.
    String(Box<str>),
    /// An exact decimal fraction.
    Decimal(Decimal),
    /// A time, from 1970 to 9999. A token's checks see whole seconds, rounded down.
    Time(Timestamp),
    /// Several values of one type.
    List(List),
}

/// A decimal fraction with at most four digits after the point, in 64 bits: what Cedar calls `decimal`.
///
/// Its text form has no superfluous zero, sign or point: `12.5`, `12`, `-0.01`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(i64);

/// A text that is not a decimal fraction in digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a decimal fraction: use digits with at most 4 behind the point, as in `12.50`")]
pub struct InvalidDecimal;

/// Several values of one type, none of them a list; may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List(Box<[Value]>);

/// Values of several types, a list in a list, or too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of at most {} values of one type", List::ITEMS_MAX)]
pub struct InvalidList;

/// A JSON form that is not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a value: a time is written as in `2026-12-01T09:00:00Z`, a list has values of one type")]
pub struct InvalidValue;

impl Value {
    /// Reads a time as RFC 3339 writes it: `2026-12-01T09:00:00Z`, with at most three digits of a fraction, or with an offset
    /// as in `+01:00`.
    ///
    /// `None` for `t`, `z` or a space, a missing offset, the unknown offset `-00:00`, a leap second, and what lies outside
    /// 1970 to 9999: parsers disagree about these.
    pub fn time(text: &str) -> Option<Timestamp> {
        let fits = |text: &str, form: &str| {
            let digit_or_same = |(b, f): (u8, u8)| if f == b'0' { b.is_ascii_digit() } else { b == f };
            text.len() == form.len() && text.bytes().zip(form.bytes()).all(digit_or_same)
        };
        let (date_time, rest) = text.split_at_checked(19)?;
        let (fraction, offset) = rest.split_at(rest.find(['Z', '+', '-'])?);
        let signed = fits(offset, "+00:00") || (fits(offset, "-00:00") && offset != "-00:00");
        let is_offset = signed && offset[1..3] <= *"23" && offset[4..6] <= *"59";
        let sane = fits(date_time, "0000-00-00T00:00:00")
            && !date_time.ends_with("60")
            && (fraction.is_empty() || [".0", ".00", ".000"].iter().any(|form| fits(fraction, form)))
            && (offset == "Z" || is_offset);
        let time = text.parse::<jiff::Timestamp>().ok().filter(|_| sane)?;
        let millis = time.as_millisecond();
        (millis >= 0).then_some(Timestamp::from_millis(millis))
    }
}

impl Decimal {
    /// From ten-thousandths.
    pub const fn from_scaled(scaled: i64) -> Self {
        Self(scaled)
    }

    /// In ten-thousandths.
    pub const fn scaled(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.unsigned_abs() / 10_000, self.0.unsigned_abs() % 10_000);
        let sign = if self.0 < 0 { "-" } else { "" };
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        write!(f, "{sign}{whole}.{}", format!("{part:04}").trim_end_matches('0'))
    }
}

impl FromStr for Decimal {
    type Err = InvalidDecimal;

    /// Zeros may stand behind the fraction, as in `12.50`; a leading zero, `+`, `-0`, a bare point and exponents are refused.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let leading_zero = whole.len() > 1 && whole.starts_with('0');
        if !is_digits(whole) || !is_digits(part) || leading_zero || part.len() > 4 {
            return Err(InvalidDecimal);
        }
        let sign = if negative { "-" } else { "" };
        let scaled: i64 = format!("{sign}{whole}{part:0<4}").parse().map_err(|_| InvalidDecimal)?;
        if negative && scaled == 0 { Err(InvalidDecimal) } else { Ok(Self(scaled)) }
    }
}

text_form!(Decimal);

impl List {
    /// The most values.
    pub const ITEMS_MAX: usize = 256;

    /// A list of these.
    pub fn new(items: Vec<Value>) -> Result<Self, InvalidList> {
        let one_type = |pair: &[Value]| std::mem::discriminant(&pair[0]) == std::mem::discriminant(&pair[1]);
        let nested = items.iter().any(|item| matches!(item, Value::List(_)));
        if nested || items.len() > Self::ITEMS_MAX || !items.windows(2).all(one_type) {
            return Err(InvalidList);
        }
        Ok(Self(items.into()))
    }

    /// The values, in the order of the request.
    pub const fn items(&self) -> &[Value] {
        &self.0
    }
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Boolean(bool),
    Integer(i64),
    String(Box<str>),
    Decimal { decimal: Decimal },
    Time { time: Box<str> },
    List(Vec<Value>),
}

impl From<Value> for Form {
    fn from(value: Value) -> Self {
        match value {
            Value::Boolean(value) => Self::Boolean(value),
            Value::Integer(value) => Self::Integer(value),
            Value::String(text) => Self::String(text),
            Value::Decimal(decimal) => Self::Decimal { decimal },
            Value::Time(time) => Self::Time { time: time.to_string().into() },
            Value::List(list) => Self::List(list.0.into()),
        }
    }
}

impl TryFrom<Form> for Value {
    type Error = InvalidValue;

    fn try_from(form: Form) -> Result<Self, Self::Error> {
        Ok(match form {
            Form::Boolean(value) => Self::Boolean(value),
            Form::Integer(value) => Self::Integer(value),
            Form::String(text) => Self::String(text),
            Form::Decimal { decimal } => Self::Decimal(decimal),
            Form::Time { time } => Self::Time(Self::time(&time).ok_or(InvalidValue)?),
            Form::List(items) => Self::List(List::new(items).map_err(|_| InvalidValue)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_decimal_is_exact_or_refused() {
        for (text, scaled, shown) in [
            ("0", 0, "0"),
            ("12.50", 125_000, "12.5"),
            ("-0.01", -100, "-0.01"),
            ("5", 50_000, "5"),
            ("922337203685477.5807", i64::MAX, "922337203685477.5807"),
            ("-922337203685477.5808", i64::MIN, "-922337203685477.5808"),
        ] {
            let decimal: Decimal = text.parse().unwrap();
            assert_eq!((decimal.scaled(), decimal.to_string().as_str()), (scaled, shown));
        }
        for text in [
            "",
            "-",
            ".",
            "1.",
            ".5",
            "+1",
            "01",
            "-01",
            "00",
            "-0",
            "-0.0000",
            "1.00000",
            "1e2",
            "1E2",
            "1,5",
            " 1",
            "1 ",
            "0x1",
            "NaN",
            "Infinity",
            "１",
            "--1",
            "1.2.3",
            "922337203685477.5808",
            "-922337203685477.5809",
            "99999999999999999999999999",
        ] {
            assert_eq!(text.parse::<Decimal>(), Err(InvalidDecimal), "{text}");
        }
    }

    #[test]
    fn a_time_has_one_meaning_or_is_refused() {
        let same = ["2026-12-01T09:00:00Z", "2026-12-01T10:00:00+01:00", "2026-12-01T03:30:00-05:30"];
        for text in same {
            assert_eq!(Value::time(text).map(|time| time.to_string()).as_deref(), Some(same[0]), "{text}");
        }
        assert_eq!(Value::time("1970-01-01T00:00:00Z").map(Timestamp::millis), Some(0));
        for (text, millis) in [(".5", 500), (".05", 50), (".005", 5), (".000", 0)] {
            assert_eq!(
                Value::time(&format!("1970-01-01T00:00:00{text}Z")).map(Timestamp::millis),
                Some(millis),
                "{text}"
            );
        }
        for text in [
            "",
            "2026-12-01",
            "2026-12-01T09:00Z",
            "2026-12-01T09:00:00",
            "2026-12-01 09:00:00Z",
            "2026-12-01t09:00:00Z",
            "2026-12-01T09:00:00z",
            "2026-12-01T09:00:00-00:00",
            "2026-12-01T09:00:00+0100",
            "2026-12-01T09:00:00+01",
            "2026-12-31T23:59:60Z",
            "2026-12-01T24:00:00Z",
            "2026-02-30T09:00:00Z",
            "2026-13-01T09:00:00Z",
            "2026-12-01T09:00:00.Z",
            "2026-12-01T09:00:00.0001Z",
            "2026-12-01T09:00:00,5Z",
            "+2026-12-01T09:00:00Z",
            "2026-12-01T09:00:00Z[UTC]",
            "2026-12-01T09:00:00+01:00[Europe/Zurich]",
            " 2026-12-01T09:00:00Z",
            "2026-12-01T09:00:00Z ",
            "1969-12-31T23:59:59Z",
            "-2026-12-01T09:00:00Z",
            "10000-01-01T00:00:00Z",
            "2026-12-01T09:00:00+25:00",
            "２026-12-01T09:00:00Z",
            "2026-W49-2T09:00:00Z",
            "1795000000",
        ] {
            assert_eq!(Value::time(text), None, "{text}");
        }
    }

    #[test]
    fn a_list_holds_values_of_one_type() {
        let [one, two, text] = [Value::Integer(1), Value::Integer(2), Value::String("a".into())];
        assert_eq!(List::new(vec![one.clone(), two.clone()]).unwrap().items(), [one.clone(), two]);
        assert!(List::new(Vec::new()).is_ok());
        assert_eq!(List::new(vec![one.clone(), text]), Err(InvalidList));
        assert!(List::new(vec![one.clone(); 256]).is_ok());
        assert_eq!(List::new(vec![one.clone(); 257]), Err(InvalidList));
        assert_eq!(List::new(vec![Value::List(List::new(vec![one]).unwrap())]), Err(InvalidList));
    }

    pub(crate) fn any_scalar() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Boolean),
            any::<i64>().prop_map(Value::Integer),
            any::<String>().prop_map(|text| Value::String(text.into())),
            any::<i64>().prop_map(|scaled| Value::Decimal(Decimal(scaled))),
            (0..253_402_200_000_000i64).prop_map(|millis| Value::Time(Timestamp::from_millis(millis))),
        ]
    }

    proptest! {
        #[test]
        fn a_value_survives_its_json_form(value in any_scalar(), count in 0usize..4) {
            for value in [Value::List(List::new(vec![value.clone(); count]).unwrap()), value] {
                let text = serde_json::to_string(&value).unwrap();
                prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value, "{}", text);
            }
        }

        #[test]
        fn the_text_of_a_decimal_reads_back(scaled: i64) {
            prop_assert_eq!(Decimal(scaled).to_string().parse(), Ok(Decimal(scaled)));
        }

        #[test]
        fn no_text_makes_the_readers_panic(text in "[0-9+.TZ:é-]{0,26}|.*") {
            let _ = Value::time(&text);
            let _ = text.parse::<Decimal>();
        }
    }
}
