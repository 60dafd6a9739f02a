//! The real world: Linux.

pub mod api;
mod cgroup;
pub mod children;
pub mod clock;
mod hands;
mod keeper;
pub mod lock;
mod network;
pub mod processes;
mod run;
mod sweep;
pub mod sys;
mod threads;
mod turn;
pub mod watch;

pub use cgroup::{ENTER, enter};
pub use children::{Children, Message, Spawned};
pub use clock::{Timer, now};
pub use hands::Hands;
pub use lock::{LockError, WriterLock, holder, open_folder};
pub use processes::LiveProcesses;
pub use run::{Ended, Options, RunError, run};
pub use turn::{Answer, Ears, Live};
pub use watch::{Events, LiveWatch};
