//! The Machine: queue, worker, retry and health as one pure value.
//!
//! **Invariant.** Nothing here reads a clock, draws chance, does I/O, takes a lock or starts a thread; `no_std` makes
//! the compiler say so. [`Machine::handle`] takes the time as an argument, changes the value and never fails;
//! [`Machine::poll`] hands out decisions; [`Machine::deadline`] asks for the next tick. Every durable change is a
//! [`Record`] that is applied by the same code when it is decided and when it is recovered, so the fold of the journal
//! *is* the state. Whatever depends on a record (a reply, a start, a publication) is withheld until that record is
//! durable.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(feature = "planted")]
#[macro_use]
extern crate std;

mod chance;
mod config;
mod ended;
mod forgotten;
mod health;
mod hex;
mod ids;
mod job;
mod machine;
mod planted;
mod publishing;
mod queue;
pub mod retry;
mod table;
mod time;
mod vocabulary;
mod worker;

pub use config::{Config, Limits, QueueConfig, RetryPolicy};
pub use health::{DEATHS_MAX, Health, Progress, Reason, SourceFault, SourceReport, Verdict};
pub use ids::{Digest, JobId, KeyHash, QueueId, RequestId, Seq, Slot, SourceId};
pub use job::{Counts, DeadReason, Job, Outcome, PayloadRef, State, StateName};
pub use machine::{Inconsistent, JobImage, KeyImage, Machine, QueueView, Restorer, Volatile};
#[cfg(feature = "planted")]
pub use planted::plant;
pub use planted::{Bug, Role, planted, rescan_is_off};
pub use time::{Mono, Now, Wall};
pub use vocabulary::{
    Attempt, Input, Kill, NewJob, Next, Output, Record, Refusal, Reply, Space, SpawnFailure, StopLevel, When,
};
pub use worker::{Ending, Phase, Run};
