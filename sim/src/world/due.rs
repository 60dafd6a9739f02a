//! What is to happen, and whose it is.
//!
//! **Invariant.** What is of sprag is for its loop or is done by a thread of it: nothing of that comes about while sprag is
//! stopped, nor when the life that it belongs to has ended.

use sprag_runtime::driver::Event;
use sprag_runtime::task::Task;

/// Something that is to happen.
#[derive(Debug)]
#[expect(missing_docs, reason = "the life is the one that it belongs to: what belongs to an ended one never happens")]
pub enum Due {
    /// For the loop: it hears something.
    Heard { life: u32, event: Event },
    /// Change events are read.
    Events { life: u32 },
    /// For the loop: a mark in the latch.
    Marked { life: u32, source: u16 },
    /// For the loop: the deadline that it asked for.
    Tick { life: u32 },
    /// Sprag is started.
    Open,
    /// A thread of the pool takes up a task.
    Pool { life: u32, task: Task },
    /// The keeper takes up the next of its orders.
    Keeper { life: u32 },
    /// The journal thread takes up the next of its work.
    Journal { life: u32 },
    /// A producer goes on.
    Producer(usize),
    /// The client goes on.
    Client,
    /// A process goes on.
    Process(u32),
    /// The calendar jumps.
    WallStep,
    /// The machine sleeps for a while.
    Sleep,
    /// Sprag is stopped (SIGSTOP) for a while.
    Freeze,
    /// A monitor looks.
    Monitor,
    /// The disk is full, or has room again.
    Disk { full: bool },
    /// From here on nothing goes wrong.
    Heal,
}

/// Something on the heap, and the line that led to it.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are what their names say")]
pub struct Entry {
    /// Boxed, so that the heap moves little.
    pub due: Box<Due>,
    pub cause: u32,
}

impl Due {
    /// Whether it is for a sprag that lives: for its loop, or to be done by a thread of it.
    pub fn is_of_sprag(&self) -> bool {
        match self {
            Due::Heard { .. } | Due::Events { .. } | Due::Marked { .. } | Due::Tick { .. } => true,
            Due::Pool { .. } | Due::Keeper { .. } | Due::Journal { .. } => true,
            Due::Open | Due::Producer(_) | Due::Client | Due::Process(_) | Due::Monitor => false,
            Due::WallStep | Due::Sleep | Due::Freeze | Due::Disk { .. } | Due::Heal => false,
        }
    }
}
