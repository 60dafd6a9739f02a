//! Sizes as people write them: `64MiB`, `1GiB`, `0B`.
//!
//! **Invariant.** One text has one meaning: a whole number and one unit. All results are bytes.

const UNITS: [(&str, u64); 5] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// Reads a size.
///
/// # Errors
/// Why it is none, in words.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    if number.is_empty() {
        return Err("write a whole number and a unit, such as 64MiB".into());
    }
    let known = UNITS.iter().find(|(name, _)| *name == unit);
    let (_, bytes) = known.ok_or_else(|| match unit {
        "" => format!("a unit must stand after {number}: B, KiB, MiB, GiB or TiB"),
        unit => format!("`{unit}` is no unit: use B, KiB, MiB, GiB or TiB"),
    })?;
    let number: Option<u64> = number.parse().ok();
    number.and_then(|number| number.checked_mul(*bytes)).ok_or_else(|| "it is too large".into())
}

#[cfg(test)]
mod tests {
    use super::parse_bytes;

    #[test]
    fn sizes_mean_what_they_say() {
        for (text, bytes) in [("0B", 0), ("1KiB", 1024), ("64MiB", 64 << 20), ("3GiB", 3 << 30), ("2TiB", 2 << 40)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_says_why() {
        for (text, why) in [
            ("", "write a whole number and a unit, such as 64MiB"),
            ("MiB", "write a whole number and a unit, such as 64MiB"),
            ("-1MiB", "write a whole number and a unit, such as 64MiB"),
            ("10", "a unit must stand after 10: B, KiB, MiB, GiB or TiB"),
            ("10MB", "`MB` is no unit: use B, KiB, MiB, GiB or TiB"),
            ("1.5MiB", "`.5MiB` is no unit: use B, KiB, MiB, GiB or TiB"),
            ("1 MiB", "` MiB` is no unit: use B, KiB, MiB, GiB or TiB"),
            ("99999999999999999999B", "it is too large"),
            ("18446744073709551615KiB", "it is too large"),
        ] {
            assert_eq!(parse_bytes(text), Err(why.into()), "{text}");
        }
    }
}
