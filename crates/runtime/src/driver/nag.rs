//! How often the same thing is said: at once, then less and less often for as long as it lasts.
//!
//! **Invariant.** What lasts is said again, and never more often than a person can bear: after a minute, then each time
//! after twice as long, up to an hour.

use sprag_core::Mono;

const FIRST_MS: u64 = 60_000;
const LONGEST_MS: u64 = 3_600_000;

/// One thing that is wrong, as far as saying so goes. A new one is due at once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Nag {
    /// When it is to be said again, and how long that wait is.
    again: Option<(Mono, u64)>,
}

impl Nag {
    /// Whether it is to be said now. Who asks says it.
    pub(super) fn is_due(&mut self, now: Mono) -> bool {
        let wait_ms = match self.again {
            None => FIRST_MS,
            Some((at, _)) if now < at => return false,
            Some((_, wait_ms)) => (wait_ms * 2).min(LONGEST_MS),
        };
        self.again = Some((now.after(wait_ms), wait_ms));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_at_growing_intervals_up_to_an_hour() {
        let mut nag = Nag::default();
        let said: Vec<u64> = (0..4 * 3_600).filter(|s| nag.is_due(Mono(s * 1_000))).collect();
        assert_eq!(said, [0, 60, 180, 420, 900, 1_860, 3_780, 7_380, 10_980]);
    }
}
