//! Room on the disk: measured off the loop, judged here, told to the Machine; and whether the disk still holds our folder.
//!
//! **Invariant.** At most one measurement is under way. While work goes on or room is short there is one each second, else a few
//! a minute, so that a disk that has room again is found without a restart. What the journal itself says of room counts
//! beside what is measured: the worse of the two is told.

use super::{Driver, Effect};
use crate::seams::ChildId;
use crate::task::{Measured, Task};
use sprag_core::{Bug, Input, Kill, Mono, Now, Space, StopLevel, planted};
use sprag_journal::Stored;
use sprag_journal::fs::Room;

/// Between two measurements while things happen.
const SOON_MS: u64 = 1_000;
/// And while nothing does.
const IDLE_MS: u64 = 5_000;

/// What is known of the disk.
#[derive(Debug, Default)]
pub(super) struct DiskSpace {
    /// As it was measured last.
    room: Option<Room>,
    /// What journal and snapshots took when that was asked last.
    stored: Stored,
    measuring: bool,
    measured_at: Mono,
    /// When to measure again.
    at: Mono,
    /// The last record, and the bytes that the journal had been given, when it was measured.
    seq: u64,
    written_bytes: u64,
    /// Another folder stands where ours did, or none: said once.
    lost: bool,
}

impl DiskSpace {
    pub(super) fn deadline(&self) -> Option<Mono> {
        (!self.measuring && !self.lost).then_some(self.at)
    }

    pub(super) fn stored(&self) -> Stored {
        self.stored
    }

    pub(super) fn room(&self) -> Option<Room> {
        self.room
    }
}

/// What is too little: for adds, and for starts.
struct Least {
    adds: u64,
    starts: u64,
}

impl Driver {
    /// Measures when it is time to.
    pub(super) fn measure(&mut self, now: Now) {
        let seq = self.machine.last_seq().0;
        let space = &mut self.space;
        if space.measuring || space.lost {
            return;
        }
        let happened = seq != space.seq;
        if happened || self.machine.space() > Space::Enough {
            space.at = space.at.min(space.measured_at.after(SOON_MS));
        }
        if space.at <= now.mono {
            space.measuring = true;
            let first = space.room.is_none();
            (space.seq, space.written_bytes) = (seq, self.snapshots.written_bytes());
            self.effects.push_back(Effect::Run(Task::Measure { stored: happened || first }));
        }
    }

    pub(super) fn measured(&mut self, now: Now, measured: Measured) {
        let space = &mut self.space;
        (space.measuring, space.measured_at, space.at) = (false, now.mono, now.mono.after(IDLE_MS));
        space.stored = measured.stored.unwrap_or(space.stored);
        // A measurement that fails says nothing: what was known stands. Where nothing ever was, the writing itself finds out.
        let known = if planted(Bug::RoomUnknown) { None } else { space.room };
        space.room = measured.room.ok().or(known);
        if !measured.ours {
            return self.folder_lost();
        }
        self.tell_space(now);
    }

    /// Tells the Machine how much room there is, if that has changed.
    pub(super) fn tell_space(&mut self, now: Now) {
        let measured = match (self.free(), self.least()) {
            (Some(free), Some(least)) if free < least.starts => Space::Full,
            (Some(free), Some(least)) if free < least.adds => Space::Low,
            (_, _) => Space::Enough,
        };
        let written = if self.persistence.has_room() { Space::Enough } else { Space::Full };
        let space = measured.max(written);
        if self.machine.space() != space {
            self.input(now, Input::Space(space));
        }
    }

    /// What the journal was given, whether it is written by now or waits for it.
    fn given_bytes(&self) -> u64 {
        self.snapshots.written_bytes() + self.persistence.pending()
    }

    /// What was free when it was measured, less what the journal was given since: a burst of adds waits for no measurement.
    fn free(&self) -> Option<u64> {
        let since = self.given_bytes() - self.space.written_bytes;
        self.space.room.map(|room| room.free.saturating_sub(since))
    }

    /// The next snapshot must fit too, or the journal grows for ever. A start makes less than an add, and leads to an end.
    fn least(&self) -> Option<Least> {
        let min_free = self.pipeline.disk.min_free_bytes(self.space.room?.total);
        (min_free > 0).then(|| Least {
            adds: min_free + self.snapshots.next_bytes() + self.persistence.pending(),
            starts: min_free / 2,
        })
    }

    /// Why there is too little room, and what to do, for people.
    pub(super) fn space_text(&self, space: Space) -> String {
        let path = self.pipeline.state().path().display().to_string();
        let effect = match space {
            Space::Enough => return format!("there is room enough for {path}"),
            Space::Low => "adds are refused",
            Space::Full => "adds are refused and nothing starts",
        };
        let limit = self.least().map_or(0, |least| if space == Space::Low { least.adds } else { least.starts });
        match self.free() {
            Some(free) if free < limit => format!(
                "the disk is nearly full: {} free for {path}, less than {}: {effect}; free some room",
                bytes_text(free),
                bytes_text(limit)
            ),
            Some(_) | None => format!("the disk is full: the journal in {path} has no room: {effect}; free some room"),
        }
    }

    /// Whoever took our folder away took with it what was acknowledged since; to go on would lose more.
    fn folder_lost(&mut self) {
        self.space.lost = true;
        let kill = Kill::Kill;
        let children = self.machine.attempts().map(|(job, attempt)| ChildId::Attempt { job, attempt });
        self.effects.extend(children.map(|child| Effect::Signal { child, kill }));
        self.services_stop(StopLevel::Kill);
        let path = self.pipeline.state().path().display().to_string();
        let what = format!(
            "{path} was removed or replaced while sprag ran in it; what was running was killed. If it was renamed, \
             everything is in it: put it back and run again. If it was removed, what it held is lost"
        );
        self.effects.push_back(Effect::Fatal { what });
    }
}

/// A number of bytes for people: `1.5 MiB`.
pub fn bytes_text(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let unit = units.iter().enumerate().rev().find(|(power, _)| bytes >= 1024 << (10 * power));
    let Some((power, unit)) = unit else { return format!("{bytes} bytes") };
    let tenths = bytes / ((1024 << (10 * power)) / 10);
    if tenths < 100 { format!("{}.{} {unit}", tenths / 10, tenths % 10) } else { format!("{} {unit}", tenths / 10) }
}

#[cfg(test)]
mod tests {
    use super::bytes_text;

    #[test]
    fn bytes_as_people_read_them() {
        for (bytes, text) in [
            (0, "0 bytes"),
            (1023, "1023 bytes"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (64 << 10, "64 KiB"),
            (5 << 20, "5.0 MiB"),
            (3 << 40, "3.0 TiB"),
            (u64::MAX, "16777216 TiB"),
        ] {
            assert_eq!(bytes_text(bytes), text);
        }
    }
}
