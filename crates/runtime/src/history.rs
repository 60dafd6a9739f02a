//! From the journal to a Machine, and from there to a snapshot.
//!
//! **Invariant.** The state is only ever the fold of the records, by the Machine's own code; a snapshot is that fold, written
//! down, of finished segments alone. Making one touches no Machine but its own.

use sprag_core::{Bug, Config, JobId, Machine, Mono, Now, Outcome, PayloadRef, Record, Restorer, Seq, Wall, planted};
use sprag_journal::codec::{self, Decoded};
use sprag_journal::fs::Fs;
use sprag_journal::image::{self, StateLine, Told};
use sprag_journal::{JournalError, Lines, Place, Replay, Snapshot, SnapshotWriter};
use std::collections::BTreeMap;
use std::path::Path;

/// Replays one line of the journal into a Machine; for readers that hold no lock, too. `now` is given the moment at which it
/// was written.
pub fn replay_line<'a>(
    machine: &mut Machine,
    now: impl FnOnce(Wall) -> Now,
    seq: u64,
    place: Place,
    line: &'a [u8],
) -> Result<Decoded<'a>, String> {
    let decoded = codec::decode(line, &mut |name| machine.queue_named(name)).map_err(|error| error.to_string())?;
    if decoded.seq != Seq(seq) {
        return Err(format!("record {seq} calls itself {}", decoded.seq.0));
    }
    machine.replay(now(decoded.at), decoded.at, decoded.seq, &decoded.record).map_err(|error| error.to_string())?;
    if let Record::Added { job, .. } = decoded.record {
        machine.placed(job, place.into());
    }
    Ok(decoded)
}

/// Makes a new Machine the one that a snapshot holds, by its index: the lines of most jobs are not read.
pub fn restore<F: Fs>(machine: &mut Machine, now: Now, snapshot: &Snapshot<F>) -> Result<(), JournalError> {
    let read = |source| JournalError::Io { op: "read the index of", file: snapshot.path().to_owned(), source };
    let index = snapshot.index(&mut image::entry_of_line)?;
    let mut restorer = Restorer::new(machine, now);
    let queues: Vec<_> = index.names().iter().map(|name| restorer.queue_named(name)).collect();
    let jobs_from = index.first().map_err(read)?.map_or(u64::MAX, |entry| entry.offset);
    let mut last_job = None;
    let mut head = |_, line: &[u8]| restore_line(&mut restorer, PayloadRef::default(), line, &mut last_job);
    match jobs_from {
        u64::MAX => snapshot.for_each_line(&mut head),
        jobs_from => snapshot.for_each_line_before(jobs_from, &mut head),
    }?;
    let mut result = Ok(());
    let mut job = |entry: sprag_journal::Entry| {
        let queue = usize::try_from(entry.queue).ok().and_then(|queue| queues.get(queue)).copied();
        let queue = queue.ok_or_else(|| snapshot.unusable("its index names a queue that it does not know"))?;
        match image::image_of(&entry, queue) {
            Some(image) => restorer.job(image).map_err(|what| snapshot.unusable(format!("job {}: {what}", entry.job))),
            None => {
                let line = snapshot.line(&entry)?;
                restore_line(&mut restorer, image::place_of(&entry), &line, &mut last_job)
                    .map_err(|what| snapshot.unusable(what))
            }
        }
    };
    index
        .for_each(&mut |entry| {
            if result.is_ok() {
                result = job(entry);
            }
        })
        .map_err(read)?;
    result?;
    let last_job = last_job.ok_or_else(|| snapshot.unusable("its first line is missing"))?;
    restorer.finish(last_job, Seq(snapshot.covers().seq)).map_err(|what| snapshot.unusable(what))
}

/// Restores what one line says.
fn restore_line(
    restorer: &mut Restorer<'_>,
    place: PayloadRef,
    line: &[u8],
    last: &mut Option<JobId>,
) -> Result<(), String> {
    let line = image::decode(line, &mut |name| restorer.queue_named(name)).map_err(|error| error.to_string())?;
    match line {
        StateLine::State { last_job, paused } => {
            *last = Some(last_job);
            paused.into_iter().for_each(|queue| restorer.paused(queue));
            Ok(())
        }
        StateLine::Key(key) => {
            restorer.key(key);
            Ok(())
        }
        StateLine::Job(mut image, _) => {
            image.job.payload = place;
            restorer.job(*image).map_err(|what| format!("job {}: {what}", image.id.0))
        }
    }
}

/// The moment of a fold that is only written down: a wait that began `at` then is whole.
pub fn never(at: Wall) -> Now {
    Now { mono: Mono(0), wall: at }
}

/// The fold of finished segments.
struct Fold {
    machine: Machine,
    changed: BTreeMap<JobId, Changed>,
}

/// What the records after a job's own line have told of it.
#[derive(Default)]
struct Changed {
    at: Wall,
    /// An attempt has ended, and how if that was seen.
    finished: bool,
    outcome: Option<Outcome>,
}

impl<F: Fs> Replay<F> for Fold {
    fn snapshot(&mut self, snapshot: &Snapshot<F>) -> Result<(), JournalError> {
        restore(&mut self.machine, never(Wall(0)), snapshot)
    }

    fn forget(&mut self) {
        self.machine = self.machine.emptied();
    }

    fn record(&mut self, seq: u64, place: Place, line: &[u8]) -> Result<(), String> {
        let decoded = replay_line(&mut self.machine, never, seq, place, line)?;
        match (decoded.record, decoded.record.job()) {
            (Record::Added { .. }, _) | (_, None) => {}
            (Record::Forgotten { .. }, Some(job)) => _ = self.changed.remove(&job),
            (record, Some(job)) => {
                let changed = self.changed.entry(job).or_default();
                changed.at = decoded.at;
                if let Record::Finished { outcome, .. } = record {
                    (changed.finished, changed.outcome) = (true, outcome);
                }
            }
        }
        Ok(())
    }
}

/// Writes a snapshot of everything up to the end of a finished segment, and removes what it makes needless. Says how many
/// bytes it has, unless it was there before. With `short` the snapshot before goes too.
///
/// # Errors
/// Whatever kept it from that; the older snapshots are still there then.
pub fn take_snapshot<F: Fs>(fs: &F, root: &Path, segment: u32, short: bool) -> Result<Option<u64>, String> {
    let mut fold = Fold { machine: Machine::new(Config::default()), changed: BTreeMap::new() };
    let recalled = sprag_journal::recall(fs, root, Some(segment), &mut fold).map_err(|error| error.to_string())?;
    let known = recalled.snapshot.as_ref().map(Snapshot::covers);
    let Some(queue) = recalled.queue.filter(|_| known.is_none_or(|known| known.seq < recalled.end.seq)) else {
        if let Some(newest) = recalled.snapshot.filter(|_| short) {
            sprag_journal::prune_hard(fs, root, &newest).map_err(|error| error.to_string())?;
        }
        return Ok(None);
    };
    let write = || {
        let mut writer = SnapshotWriter::create(fs, root, queue, recalled.end)?;
        fold.write(&mut writer, Lines::new(fs, root, recalled.snapshot.as_ref()))?;
        let snapshot = writer.finish()?;
        let prune = if short { sprag_journal::prune_hard } else { sprag_journal::prune };
        prune(fs, root, &snapshot)?;
        Ok(Some(snapshot.bytes(fs)))
    };
    let give_up = |error: JournalError| {
        sprag_journal::abandon(fs, root);
        error
    };
    let written = match (write().map_err(give_up), &recalled.snapshot) {
        // What it was read from is whole: what lies before that makes room, or the journal could never be cut again.
        (Err(error), Some(newest)) if error.is_full() => {
            sprag_journal::prune_hard(fs, root, newest).and_then(|_| write()).map_err(give_up)
        }
        (written, _) => written,
    };
    written.map_err(|error| error.to_string())
}

impl Fold {
    fn write<F: Fs>(&self, writer: &mut SnapshotWriter<F>, mut lines: Lines<'_, F>) -> Result<(), JournalError> {
        let machine = &self.machine;
        let mut out = Vec::new();
        let paused = machine.queues().filter(|queue| queue.paused).map(|queue| queue.name);
        image::encode_state(&mut out, machine.last_job(), paused);
        writer.push(&out, None)?;
        for key in machine.forgotten_keys().filter(|_| !planted(Bug::KeysNotInSnapshot)) {
            out.clear();
            image::encode_key(&mut out, &key);
            writer.push(&out, None)?;
        }
        for job in machine.images(never(Wall(0))) {
            let place = Place::from(job.job.payload);
            let line = lines.read(place)?;
            let unusable = |what: String| JournalError::Missing {
                file: root_of(place),
                what: format!("the line of job {} at offset {} cannot be used: {what}", job.id.0, place.offset),
            };
            let told = match image::told(line) {
                Ok((id, told)) if id == job.id => told,
                Ok((id, _)) => return Err(unusable(format!("it is that of job {}", id.0))),
                Err(error) => return Err(unusable(error.to_string())),
            };
            let told = match self.changed.get(&job.id) {
                Some(Changed { at, finished: true, outcome }) => Told { changed_at: *at, outcome: *outcome, ..told },
                Some(Changed { at, finished: false, .. }) => Told { changed_at: *at, ..told },
                None => told,
            };
            out.clear();
            let queue = machine.queue_name(job.job.queue);
            image::encode_job(&mut out, &job, queue, &told);
            let number = writer.names().intern(queue);
            writer.push(&out, Some(image::entry_of(&job, number)))?;
        }
        Ok(())
    }
}

fn root_of(place: Place) -> std::path::PathBuf {
    match place.segment {
        0 => "the snapshot before".into(),
        number => format!("segment {number}").into(),
    }
}
