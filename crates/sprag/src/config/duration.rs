//! Durations as people write them: `500ms`, `2s`, `10m`, `1h30m`, `1d`.
//!
//! **Invariant.** One text has one meaning: units fall from left to right, each at most once, and a bare number is
//! nothing. All results are milliseconds.

use sprag_core::Limits;

const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a duration; the error says what is wrong with it.
pub(crate) fn parse_ms(text: &str) -> Result<u64, String> {
    let mut rest = text.trim();
    let mut total_ms: u64 = 0;
    let mut units = &UNITS[..];
    if rest.is_empty() {
        return Err("write a number and a unit, such as 2s".into());
    }
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, after) = rest.split_at(digits);
        let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, after) = after.split_at(letters);
        if number.is_empty() {
            return Err(format!("a whole number must stand before `{rest}`"));
        }
        if unit.is_empty() {
            return Err(format!("a unit must stand after {number}: ms, s, m, h or d"));
        }
        let Some((_, unit_ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is no unit: use ms, s, m, h or d"));
        };
        let Some(at) = units.iter().position(|(name, _)| *name == unit) else {
            return Err(format!("`{unit}` is out of order: larger units come first, each once"));
        };
        units = &units[at + 1..];
        let part_ms = number.parse().ok().and_then(|n: u64| n.checked_mul(*unit_ms));
        total_ms = part_ms.and_then(|ms| total_ms.checked_add(ms)).ok_or_else(|| String::from("it is too long"))?;
        rest = after;
    }
    Ok(total_ms)
}

/// Reads how long a job is to wait; longer than the queue lets one wait is refused, not cut.
pub(crate) fn parse_delay_ms(text: &str) -> Result<u64, String> {
    let ms = parse_ms(text)?;
    if ms > Limits::default().delay_ms_max { Err("it is too long: 400 days at most".into()) } else { Ok(ms) }
}

#[cfg(test)]
mod tests {
    use super::{parse_delay_ms, parse_ms};

    #[test]
    fn a_delay_that_would_be_cut_is_refused() {
        assert_eq!(parse_delay_ms("400d"), Ok(400 * 86_400_000));
        assert_eq!(parse_delay_ms("400d1ms"), Err("it is too long: 400 days at most".into()));
    }

    #[test]
    fn durations_mean_what_they_say() {
        for (text, ms) in [
            ("0s", 0),
            ("500ms", 500),
            ("2s", 2_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("90m", 5_400_000),
        ] {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_says_why() {
        for (text, why) in [
            ("", "write a number and a unit, such as 2s"),
            ("10", "a unit must stand after 10: ms, s, m, h or d"),
            ("s", "a whole number must stand before `s`"),
            ("-5s", "a whole number must stand before `-5s`"),
            ("1.5s", "a unit must stand after 1: ms, s, m, h or d"),
            ("5 s", "a unit must stand after 5: ms, s, m, h or d"),
            ("5sec", "`sec` is no unit: use ms, s, m, h or d"),
            ("5S", "`S` is no unit: use ms, s, m, h or d"),
            ("1m1h", "`h` is out of order: larger units come first, each once"),
            ("1s1s", "`s` is out of order: larger units come first, each once"),
            ("99999999999999999999s", "it is too long"),
            ("18446744073709551615d", "it is too long"),
        ] {
            assert_eq!(parse_ms(text), Err(why.into()), "{text}");
        }
    }
}
