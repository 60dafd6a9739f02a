//! The driver and its tokio adapter.
//!
//! **Invariant.** The driver is synchronous and never waits; whatever can take long is a [`task`] that runs off the loop
//! and comes back as an event. The tokio adapter and the simulator feed the very same driver.

mod attempt;
pub mod changes;
pub mod driver;
pub mod flight;
pub mod history;
pub mod json;
pub mod listing;
pub mod live;
pub mod output;
pub mod pipeline;
pub mod request;
pub mod scan;
pub mod seams;
pub mod task;
