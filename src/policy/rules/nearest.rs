//! What somebody meant who wrote a name that does not exist.

/// The candidate that is most like `word`, if one is like it at all: at most a third of its letters differ, or two.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let most = (word.chars().count() / 3).max(2);
    let distances = candidates.into_iter().map(|candidate| (distance(word, candidate), candidate));
    distances.filter(|(distance, _)| *distance <= most).min_by_key(|(distance, _)| *distance).map(|(_, found)| found)
}

/// How many letters must be added, taken away or changed to make one of the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let changed = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_is_near_and_what_is_far_is_not() {
        let known = ["github:issues/read", "github:issues/write", "slack:chat/write"];
        assert_eq!(nearest("github:isues/read", known), Some("github:issues/read"));
        assert_eq!(nearest("github:issues/reed", known), Some("github:issues/read"));
        assert_eq!(nearest("salesforce:records", known), None);
        assert_eq!(nearest("amonut", ["amount", "count"]), Some("amount"));
        assert_eq!(nearest("", ["amount"]), None);
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        for (one, other, expected) in [("kitten", "sitting", 3), ("", "ab", 2), ("ab", "", 2), ("ab", "ab", 0)] {
            assert_eq!(distance(one, other), expected);
        }
    }
}
