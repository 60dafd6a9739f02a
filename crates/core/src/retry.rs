//! Whether and when a failed attempt is followed by another: a pure function of policy, count and one draw.

use crate::chance;
use crate::config::RetryPolicy;
use crate::ids::JobId;
use crate::job::{DeadReason, Outcome};
use crate::planted::{Bug, planted};

const MILLION: u64 = 1_000_000;

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Try again after this long.
    After {
        /// The wait in milliseconds, jitter included.
        delay_ms: u64,
    },
    /// Never again by itself.
    Dead(DeadReason),
}

/// Decides after the `failures`-th failed attempt (1 for the first) of `job`, which ended in `outcome`.
pub fn decide(policy: &RetryPolicy, seed: u64, job: JobId, failures: u32, outcome: Outcome) -> Decision {
    if is_permanent(policy, outcome) {
        return Decision::Dead(DeadReason::Permanent);
    }
    if failures >= policy.attempts {
        return Decision::Dead(DeadReason::Exhausted);
    }
    let draw = chance::draw(seed, job.0, u64::from(failures));
    let uncapped = planted(Bug::RetryUncapped).then(|| RetryPolicy { max_ms: u64::MAX, ..policy.clone() });
    let wait_ms = backoff_ms(uncapped.as_ref().unwrap_or(policy), failures);
    Decision::After { delay_ms: jittered_ms(wait_ms, policy.jitter_ppm, draw) }
}

/// The wait after the `failures`-th failure, without jitter: `backoff * factor^(failures - 1)`, at most `max`.
pub fn backoff_ms(policy: &RetryPolicy, failures: u32) -> u64 {
    let mut wait_ms = policy.backoff_ms;
    for _ in 1..failures {
        if wait_ms >= policy.max_ms || policy.factor_ppm <= MILLION {
            break;
        }
        let grown = u128::from(wait_ms) * u128::from(policy.factor_ppm) / u128::from(MILLION);
        let grown = u64::try_from(grown).unwrap_or(u64::MAX);
        if grown == wait_ms {
            // Too short for the factor to show in whole milliseconds: it never will.
            break;
        }
        wait_ms = grown;
    }
    wait_ms.min(policy.max_ms)
}

/// The longest wait that the policy can come to, jitter included.
pub fn wait_ms_max(policy: &RetryPolicy) -> u64 {
    let span = u128::from(policy.max_ms) * u128::from(policy.jitter_ppm.min(MILLION)) / u128::from(MILLION);
    policy.max_ms.saturating_add(u64::try_from(span).unwrap_or(u64::MAX))
}

/// `wait_ms` made longer or shorter by at most `jitter_ppm` of itself.
pub fn jittered_ms(wait_ms: u64, jitter_ppm: u64, draw: u64) -> u64 {
    let span = u128::from(wait_ms) * u128::from(jitter_ppm.min(MILLION)) / u128::from(MILLION);
    let offset = u128::from(draw) % (2 * span + 1);
    u64::try_from(u128::from(wait_ms) + offset - span).unwrap_or(u64::MAX)
}

fn is_permanent(policy: &RetryPolicy, outcome: Outcome) -> bool {
    match outcome {
        Outcome::Exit(code) => policy.permanent_exit_codes.contains(&code),
        Outcome::NotFound | Outcome::NotExecutable => true,
        Outcome::Signal(_)
        | Outcome::TimedOut
        | Outcome::NotStarted
        | Outcome::ResultLost
        | Outcome::ResultTooLarge => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy { permanent_exit_codes: [64, 65].into(), ..RetryPolicy::default() }
    }

    #[test]
    fn waits_double_up_to_the_cap() {
        let waits: alloc::vec::Vec<u64> = (1..=10).map(|n| backoff_ms(&policy(), n)).collect();
        assert_eq!(waits, [2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 300_000, 300_000]);
        assert_eq!(backoff_ms(&policy(), u32::MAX), 300_000);
    }

    #[test]
    fn jitter_stays_in_its_part_and_reaches_both_ends() {
        let all: alloc::collections::BTreeSet<u64> =
            (0..10_000).map(|n| jittered_ms(100, 100_000, chance::draw(7, n, 1))).collect();
        assert_eq!(all.first(), Some(&90));
        assert_eq!(all.last(), Some(&110));
        assert_eq!(jittered_ms(100, 0, u64::MAX), 100);
    }

    #[test]
    fn permanent_exit_codes_and_missing_commands_are_not_tried_again() {
        let job = JobId(1);
        for outcome in [Outcome::Exit(64), Outcome::NotFound, Outcome::NotExecutable] {
            assert_eq!(decide(&policy(), 1, job, 1, outcome), Decision::Dead(DeadReason::Permanent));
        }
        assert!(matches!(decide(&policy(), 1, job, 4, Outcome::Exit(1)), Decision::After { .. }));
        assert_eq!(decide(&policy(), 1, job, 5, Outcome::Exit(1)), Decision::Dead(DeadReason::Exhausted));
    }
}
