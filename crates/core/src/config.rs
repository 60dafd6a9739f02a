//! What the Machine is told at birth. Times in milliseconds, factors in parts per million: no floating point in the core.

use alloc::{boxed::Box, vec::Vec};
use serde::{Deserialize, Serialize};

/// Everything that steers the Machine's decisions.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Config {
    /// The queues, in the order of the configuration file.
    pub queues: Vec<QueueConfig>,
    /// How many sources the driver will report on.
    pub sources: u16,
    /// Seed of the retry jitter.
    pub seed: u64,
    /// Bounds on everything that could grow.
    pub limits: Limits,
}

/// Named bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Jobs known at once, in any state; one more is refused.
    pub jobs_max: u64,
    /// Attempts alive at once over all queues.
    pub running_max: u16,
    /// Without progress for so long while work waits, a queue, a source or the journal counts as stalled.
    pub stall_ms: u64,
    /// Attempts of one job that may end with the death of sprag itself before the job is put aside as poison.
    pub crashes_max: u16,
    /// Between two tries to publish a result, to prove an attempt dead, or to start when the system is out of resources.
    pub again_ms: u64,
    /// No delay is longer, however the calendar jumped.
    pub delay_ms_max: u64,
    /// A job that ended so long ago is forgotten; its key stays known.
    pub keep_age_ms: u64,
    /// Ended jobs that are kept; of more, those that ended first are forgotten.
    pub keep_jobs: u64,
    /// The same for the bytes of the records that hold what they were asked to do.
    pub keep_bytes: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            jobs_max: 10_000_000,
            running_max: 1_000,
            stall_ms: 30_000,
            crashes_max: 10,
            again_ms: 1_000,
            delay_ms_max: 400 * 24 * 3_600_000,
            keep_age_ms: 30 * 24 * 3_600_000,
            keep_jobs: 100_000,
            keep_bytes: 1 << 30,
        }
    }
}

/// One queue's policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueConfig {
    /// Its name in the configuration and in records.
    pub name: Box<str>,
    /// Attempts alive at once.
    pub concurrency: u16,
    /// An attempt that runs longer is ended: TERM, then KILL after `grace_ms`.
    pub timeout_ms: Option<u64>,
    /// Between TERM and KILL.
    pub grace_ms: u64,
    /// Attempts that may be journaled ahead of a free slot while jobs are short; 0 for none.
    pub reserve_max: u16,
    /// When to try again.
    pub retry: RetryPolicy,
}

/// When a failed attempt is followed by another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Failed attempts until the job is dead. At least 1.
    pub attempts: u32,
    /// Before the second attempt.
    pub backoff_ms: u64,
    /// Each further wait is longer by this factor, in parts per million.
    pub factor_ppm: u64,
    /// No wait is longer, jitter aside.
    pub max_ms: u64,
    /// Each wait is longer or shorter by at most this part of it, in parts per million.
    pub jitter_ppm: u64,
    /// Exit codes after which trying again is useless.
    pub permanent_exit_codes: Vec<u8>,
}

impl Default for RetryPolicy {
    fn default() -> RetryPolicy {
        RetryPolicy {
            attempts: 5,
            backoff_ms: 2_000,
            factor_ppm: 2_000_000,
            max_ms: 300_000,
            jitter_ppm: 100_000,
            permanent_exit_codes: Vec::new(),
        }
    }
}

impl Default for QueueConfig {
    fn default() -> QueueConfig {
        QueueConfig {
            name: "".into(),
            concurrency: 1,
            timeout_ms: None,
            grace_ms: 10_000,
            reserve_max: 16,
            retry: RetryPolicy::default(),
        }
    }
}
