//! Which keys of forgotten jobs need not be known any longer.
//!
//! **Invariant.** No key is let go while an item with it may stand in a source: every source was read whole in this life, with
//! nothing wrong in it, and the key was not among what stood there since. A source that cannot be read, or is not there,
//! holds them all.

use super::Driver;
use sprag_core::{Bug, Input, JobId, Mono, Now, planted};

/// Keys that are looked at with one event.
const KEYS_MAX: usize = 16;
/// After all that are too many or too old were looked at.
const AGAIN_MS: u64 = 60_000;

#[derive(Debug, Default)]
pub(super) struct Keys {
    /// The last one that was looked at.
    after: JobId,
    at: Mono,
}

impl Driver {
    /// Lets go of keys that are too many or too old, those of the earliest jobs first.
    pub(super) fn forget_keys(&mut self, now: Now) {
        if self.keys.at > now.mono {
            return;
        }
        let (keys_max, age_ms) = (self.pipeline.disk.keep_keys, self.pipeline.disk.keep_key_age_ms);
        for _ in 0..KEYS_MAX {
            let next = self.machine.forgotten_after(self.keys.after);
            let many = self.machine.forgotten_len() > keys_max;
            let Some((job, key, _)) = next.filter(|(.., since)| many || since.after(age_ms) <= now.wall) else {
                self.keys = Keys { after: JobId(0), at: now.mono.after(AGAIN_MS) };
                return;
            };
            match self.intake.stands(key) {
                Some(true) if !planted(Bug::KeyLetGo) => {}
                Some(_) => self.input(now, Input::ForgetKey { job }),
                None => return,
            }
            self.keys.after = job;
        }
    }
}
