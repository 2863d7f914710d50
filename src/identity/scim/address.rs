//! E-mail addresses and telephone numbers in the form in which they are compared.

/// An e-mail address, for comparison: without regard to case.
pub fn email(address: &str) -> Box<str> {
    format!("email:{}", address.trim().to_lowercase()).into()
}

/// A telephone number, for comparison: its digits; `None` where there are none. `tel:+1-201-555-0123` is `+12015550123`.
pub fn phone(number: &str) -> Option<Box<str>> {
    let number = number.trim();
    let number = number.strip_prefix("tel:").unwrap_or(number);
    // What follows are parameters, an extension for one.
    let number = number.split(';').next().unwrap_or_default();
    let digits: String = number.chars().filter(|c| c.is_ascii_digit() || *c == '+').collect();
    (!digits.is_empty()).then(|| format!("phone:{digits}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_one_form() {
        assert_eq!(email(" Alice@Example.COM"), email("alice@example.com"));
        assert_eq!(phone("tel:+1-201-555-0123;ext=7"), phone("+1 (201) 555 0123"));
        assert_eq!(phone("tel:"), None);
    }
}
