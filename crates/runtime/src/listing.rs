//! Which jobs are listed.
//!
//! **Invariant.** One rule says which jobs a listing holds, whoever lists: a client over the socket, or a reader of the
//! journal.

use sprag_core::{Job, Machine, QueueId, Refusal, StateName};

/// Which jobs, as it is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Which {
    /// Those of this queue alone.
    pub queue: Option<String>,
    /// Those in this state alone.
    pub state: Option<StateName>,
}

/// Which jobs, with the queue looked up.
#[derive(Clone, Copy, Debug)]
pub struct Chosen {
    queue: Option<QueueId>,
    state: Option<StateName>,
}

impl Which {
    /// Looks the queue up.
    ///
    /// # Errors
    /// There is no such queue.
    pub fn look_up(&self, machine: &Machine) -> Result<Chosen, Refusal> {
        let queue =
            self.queue.as_deref().map(|name| machine.find_queue(name).ok_or(Refusal::NoSuchQueue)).transpose()?;
        Ok(Chosen { queue, state: self.state })
    }
}

impl Chosen {
    /// Whether a job in this state is listed.
    pub fn takes(self, job: &Job, state: StateName) -> bool {
        self.queue.is_none_or(|queue| queue == job.queue) && self.state.is_none_or(|wanted| wanted == state)
    }
}
