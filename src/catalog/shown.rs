//! What the audit record shows of arguments: bounded, and it says where something was cut.

use crate::catalog::route::{Call, Shown};
use crate::token::{Argument, List, Value};

/// How much of one request is left to be shown.
pub(super) struct Record {
    arguments_left: usize,
    notes_left: usize,
}

impl Default for Record {
    fn default() -> Self {
        Self { arguments_left: Self::ARGUMENTS_BYTES_MAX, notes_left: Self::NOTES_BYTES_MAX }
    }
}

impl Record {
    /// Of one text, in bytes; of a list, of all its values together.
    const VALUE_BYTES_MAX: usize = 512;
    /// Of all operations of a request, as JSON.
    const ARGUMENTS_BYTES_MAX: usize = 12 * 1024;
    /// Of all operations of a request.
    const NOTES_BYTES_MAX: usize = 4 * 1024;

    /// The loggable ones of `arguments`, and after `notes` one for each that is cut.
    pub(super) fn of(&mut self, call: &Call, arguments: &[Argument], mut notes: Vec<Box<str>>) -> Shown {
        let mut shown = Vec::new();
        for argument in arguments {
            if !call.arguments.iter().any(|rule| rule.loggable && rule.name == argument.name) {
                continue;
            }
            let name = &argument.name;
            let (value, note) = cut(&argument.value);
            // Expect safety of the default: a value is written as JSON.
            let bytes = serde_json::to_string(&value).map_or(usize::MAX, |text| text.len() + name.len() + 32);
            match self.arguments_left.checked_sub(bytes) {
                Some(left) => {
                    self.arguments_left = left;
                    notes.extend(note.map(|note| format!("the argument `{name}` {note}").into()));
                    shown.push(Argument { name: name.clone(), value });
                }
                None => notes.push(format!("the argument `{name}` is not shown: the record is full").into()),
            }
        }
        Shown { arguments: shown, notes: self.fitting(notes) }
    }

    /// As many notes as fit; in place of the first that does not, that there were more.
    fn fitting(&mut self, mut notes: Vec<Box<str>>) -> Vec<Box<str>> {
        let mut fits = |note: &str| match self.notes_left.checked_sub(note.len()) {
            Some(left) => {
                self.notes_left = left;
                true
            }
            None => false,
        };
        let kept = notes.iter().take_while(|note| fits(note)).count();
        let more = kept < notes.len() && self.notes_left > 0;
        notes.truncate(kept);
        if more {
            self.notes_left = 0;
            notes.push("further notes are left out".into());
        }
        notes
    }
}

fn cut(value: &Value) -> (Value, Option<String>) {
    match value {
        Value::String(text) => (Value::String(short(text, Record::VALUE_BYTES_MAX)), None),
        Value::List(list) => {
            let mut left = Record::VALUE_BYTES_MAX;
            let fits = |item: &&Value| {
                let bytes = match item {
                    Value::String(text) => text.len(),
                    _ => 24,
                };
                left.checked_sub(bytes).inspect(|rest| left = *rest).is_some()
            };
            let items: Vec<Value> = list.items().iter().take_while(fits).cloned().collect();
            let count = list.items().len();
            let note = (items.len() < count).then(|| format!("is shown to {} of its {count} values", items.len()));
            // Expect safety of the default: a part of a list is one.
            (List::new(items).map_or(Value::Boolean(false), Value::List), note)
        }
        value => (value.clone(), None),
    }
}

fn short(text: &str, bytes_max: usize) -> Box<str> {
    if text.len() <= bytes_max {
        return text.into();
    }
    format!("{}…", &text[..text.floor_char_boundary(bytes_max)]).into()
}
