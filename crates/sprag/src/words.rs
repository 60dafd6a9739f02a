//! What the journal says, in human words: outcomes, states, times, lengths of time.
//!
//! **Invariant.** Every sentence stands alone: it names the attempt, how it ended and what follows.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use sprag_core::{DeadReason, Next, Outcome, Record, Wall};
use sprag_runtime::driver::outcome_text;

/// A moment by the local calendar, to the millisecond.
pub(crate) fn moment(at: Wall) -> String {
    match zoned(at) {
        Some(zoned) => zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
        None => format!("{} ms after 1970", at.0),
    }
}

/// A moment for a narrow column: the time of day if it is today, else the day and the minute.
pub(crate) fn moment_in_brief(at: Wall, now: Wall) -> String {
    match zoned(at).zip(zoned(now)) {
        Some((at, now)) if at.date() == now.date() => at.strftime("%H:%M:%S").to_string(),
        Some((at, _)) => at.strftime("%Y-%m-%d %H:%M").to_string(),
        None => moment(at),
    }
}

/// The time of day by the local calendar, to the millisecond.
pub(crate) fn time_of_day(at: Wall) -> String {
    zoned(at).map_or_else(|| moment(at), |zoned| zoned.strftime("%H:%M:%S%.3f").to_string())
}

fn zoned(at: Wall) -> Option<jiff::ZonedDateTime> {
    let ms = i64::try_from(at.0).ok()?;
    Some(Timestamp::from_millisecond(ms).ok()?.to_zoned_datetime(TimeZone::system()))
}

/// A length of time, to about three digits.
pub(crate) fn length(ms: u64) -> String {
    const UNITS_MS: [(u64, &str); 3] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m")];
    for ((unit_ms, unit), (next_ms, next)) in UNITS_MS.iter().zip(UNITS_MS[1..].iter().chain([&(1_000, "s")])) {
        if ms >= *unit_ms {
            let rest = (ms % unit_ms) / next_ms;
            return if rest == 0 {
                format!("{}{unit}", ms / unit_ms)
            } else {
                format!("{}{unit}{rest}{next}", ms / unit_ms)
            };
        }
    }
    match ms {
        0..1_000 => format!("{ms}ms"),
        1_000..10_000 => format!("{}.{}s", ms / 1_000, ms % 1_000 / 100),
        _ => format!("{}s", ms / 1_000),
    }
}

/// How an attempt ended.
pub(crate) fn outcome(outcome: Option<Outcome>) -> String {
    outcome.map_or_else(|| "nobody saw how it ended".into(), outcome_text)
}

/// Why a job was given up.
pub(crate) fn dead_reason(reason: DeadReason) -> &'static str {
    match reason {
        DeadReason::Exhausted => "no attempts are left",
        DeadReason::Permanent => "trying again cannot mend that",
        DeadReason::Poison => "sprag died too often during its attempts",
    }
}

/// What a record says about its job, as a sentence; `at` is when it was written.
pub(crate) fn sentence(record: &Record, at: Wall) -> String {
    match *record {
        Record::Added { due: None, .. } => "added".into(),
        Record::Added { due: Some(due), .. } => format!("added, to start {}", when(due, at)),
        Record::Reserved { attempt, slot, .. } => {
            format!("attempt {attempt} may start as soon as place {} is free", slot.0)
        }
        Record::Started { attempt, slot, .. } => format!("attempt {attempt} started in place {}", slot.0),
        Record::Finished { attempt, outcome: how, next, .. } => finished(attempt, how, next, at),
        Record::Cancelled { .. } => "a cancel was accepted".into(),
        Record::Redriven { .. } => "taken up again, as if it had never failed".into(),
        Record::Published { .. } => "its result was published".into(),
        Record::Forgotten { .. } => "forgotten: it ended long enough ago".into(),
        Record::KeyForgotten { .. } => "its key is forgotten: whoever comes with it makes a new job".into(),
        Record::Paused { .. } => "its queue was paused".into(),
        Record::Resumed { .. } => "its queue was resumed".into(),
    }
}

/// How an attempt ended and what follows.
pub(crate) fn finished(attempt: u32, how: Option<Outcome>, next: Next, at: Wall) -> String {
    let ended = outcome(how);
    match next {
        Next::Succeeded { result: None } => format!("attempt {attempt} succeeded"),
        Next::Succeeded { result: Some(_) } => format!("attempt {attempt} succeeded; its result is to be published"),
        Next::Retry { due } => format!("attempt {attempt} failed ({ended}); another one comes {}", when(due, at)),
        Next::Dead(reason) => format!("attempt {attempt} failed ({ended}); the job is dead: {}", dead_reason(reason)),
        Next::Cancelled => format!("attempt {attempt} ended ({ended}); the job is cancelled"),
        Next::Again { crash: true, .. } => {
            format!("attempt {attempt} was cut off by the death of sprag, and is proved dead; another one comes")
        }
        Next::Again { due, crash: false } => {
            format!(
                "attempt {attempt} was ended by sprag ({ended}), which does not count; another one comes {}",
                when(due, at)
            )
        }
        Next::Unused => format!("attempt {attempt} was not used"),
    }
}

/// When something is due, seen from `at`.
fn when(due: Wall, at: Wall) -> String {
    match due.0.saturating_sub(at.0) {
        0 => "at once".into(),
        wait_ms => format!("in {}", length(wait_ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sprag_core::{JobId, Slot};

    #[test]
    fn lengths_have_about_three_digits() {
        for (ms, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_000, "1.0s"),
            (9_999, "9.9s"),
            (59_999, "59s"),
            (60_000, "1m"),
            (90_000, "1m30s"),
            (3_600_000, "1h"),
            (5_460_000, "1h31m"),
            (86_400_000 * 3 + 3_600_000, "3d1h"),
        ] {
            assert_eq!(length(ms), text);
        }
    }

    #[test]
    fn sentences_say_how_and_what_follows() {
        let finished =
            |outcome, next| sentence(&Record::Finished { job: JobId(1), attempt: 2, outcome, next }, Wall(1_000));
        let exit = |code| Some(Outcome::Exit(code));
        for (said, expected) in [
            (
                sentence(&Record::Started { job: JobId(1), attempt: 1, slot: Slot(3) }, Wall(0)),
                "attempt 1 started in place 3",
            ),
            (finished(exit(0), Next::Succeeded { result: None }), "attempt 2 succeeded"),
            (
                finished(exit(1), Next::Retry { due: Wall(3_100) }),
                "attempt 2 failed (exit code 1); another one comes in 2.1s",
            ),
            (
                finished(Some(Outcome::NotFound), Next::Dead(DeadReason::Permanent)),
                "attempt 2 failed (its command does not exist); the job is dead: trying again cannot mend that",
            ),
            (
                finished(Some(Outcome::Signal(9)), Next::Dead(DeadReason::Exhausted)),
                "attempt 2 failed (killed by SIGKILL); the job is dead: no attempts are left",
            ),
            (
                finished(Some(Outcome::Signal(15)), Next::Again { due: Wall(1_000), crash: false }),
                "attempt 2 was ended by sprag (killed by SIGTERM), which does not count; another one comes at once",
            ),
            (
                finished(Some(Outcome::ResultTooLarge), Next::Dead(DeadReason::Exhausted)),
                "attempt 2 failed (its result is over the limit of 256 MiB); the job is dead: no attempts are left",
            ),
            (
                finished(None, Next::Again { due: Wall(1_000), crash: true }),
                "attempt 2 was cut off by the death of sprag, and is proved dead; another one comes",
            ),
        ] {
            assert_eq!(said, expected);
        }
    }

    #[test]
    fn a_moment_beyond_the_calendar_is_still_said() {
        assert_eq!(moment(Wall(u64::MAX)), "18446744073709551615 ms after 1970");
        assert_eq!(moment(Wall(0)).len(), "1970-01-01 00:00:00.000".len());
        let (now, days_ago) = (Wall(1_764_000_000_000), Wall(1_763_700_000_000));
        assert_eq!(moment_in_brief(now, now), moment(now)[11..19]);
        assert_eq!(moment_in_brief(days_ago, now), moment(days_ago)[..16]);
        assert_eq!(moment_in_brief(Wall(u64::MAX), now), moment(Wall(u64::MAX)));
    }
}
