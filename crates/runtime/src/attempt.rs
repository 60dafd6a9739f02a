//! An attempt's effects on files and processes: execute, put the output in order, prove dead, publish.
//!
//! **Invariant.** A command is executed with its lock taken. A result counts after it was synced, and stands at its
//! destination wholly or not at all. An attempt that may be followed by another is called dead only when its lock is
//! free and no process bears its mark.

use crate::output::{is_cut, keep_log};
use crate::pipeline::{LOG_BYTES_MAX, QueueSpec, RESULT_BYTES_MAX, destination, result_digest};
use crate::request::{Answer, JobView, JobWords};
use crate::seams::{Bound, ChildId, Nonce, NotSpawned, Over, Processes, SpawnSpec, Watch};
use crate::task::{Context, Done};
use sprag_core::{Attempt, Bug, Digest, JobId, Outcome, PayloadRef, Seq, SpawnFailure, Wall, planted};
use sprag_journal::fs::{File, Fs, Open, read_all, share_atomic, write_all_at};
use sprag_journal::image;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What the job's own record says.
struct Asked {
    key: Option<String>,
    payload: Vec<u8>,
}

fn asked<F: Fs, P, W>(context: &Context<F, P, W>, job: JobId, place: PayloadRef) -> io::Result<Asked> {
    let root = context.pipeline.state();
    let line = sprag_journal::read_job(&context.fs, root.path(), job.0, place.into()).map_err(io::Error::other)?;
    let (id, told) = image::told(&line).map_err(io::Error::other)?;
    if id != job {
        return Err(io::Error::other(format!("where job {} should stand, job {} does", job.0, id.0)));
    }
    Ok(Asked { key: told.key.map(Into::into), payload: told.payload.get().as_bytes().to_vec() })
}

/// An answer about jobs, with what their lines say. A line that cannot be read is left out: how the job stands is known.
pub(crate) fn told<F: Fs, P, W>(context: &Context<F, P, W>, mut answer: Answer) -> Answer {
    let whole = matches!(answer, Answer::Job(_));
    answer.jobs_mut().iter_mut().for_each(|view| view.words = words(context, view, whole));
    answer
}

fn words<F: Fs, P, W>(context: &Context<F, P, W>, view: &JobView, whole: bool) -> Option<JobWords> {
    let root = context.pipeline.state();
    let line = sprag_journal::read_job(&context.fs, root.path(), view.job, view.place.into()).ok()?;
    let (_, told) = image::told(&line).ok().filter(|(id, _)| id.0 == view.job)?;
    let payload = whole.then(|| told.payload.to_owned());
    Some(JobWords { key: told.key.map(Into::into), added_at_ms: told.added_at.0, payload })
}

fn queue<F, P, W>(context: &Context<F, P, W>, attempt: Attempt) -> Option<&QueueSpec> {
    context.pipeline.queues.get(usize::from(attempt.queue.0))
}

/// Executes the attempt's command.
pub(crate) fn start<F: Fs, P: Processes, W: Watch>(
    context: &Context<F, P, W>,
    job: JobId,
    attempt: Attempt,
    place: PayloadRef,
    deadline: Option<Wall>,
) -> Done {
    let child = ChildId::Attempt { job, attempt };
    let Some(queue) = queue(context, attempt) else {
        return no_such_child(child);
    };
    let spec = asked(context, job, place).and_then(|asked| spawn_spec(context, queue, job, attempt, asked, deadline));
    match spec.map_err(NotSpawned::short).and_then(|spec| context.processes.spawn(&spec)) {
        Ok(()) => Done::Spawned { child },
        Err(not) => {
            let log = context.state().attempt_log(job.0, attempt.number);
            not_spawned(&context.fs, child, &not, &log, &queue.command)
        }
    }
}

/// What the command cannot say, its log says for it.
fn not_spawned<F: Fs>(fs: &F, child: ChildId, not: &NotSpawned, log: &Path, command: &[String]) -> Done {
    match not.failure {
        SpawnFailure::NotFound | SpawnFailure::NotExecutable | SpawnFailure::NotStarted => {
            let text = format!("[sprag: cannot execute {command:?}: {}]\n", not.why);
            // The kind of the reason is on record; a log that cannot be written changes nothing about it.
            let _ = fs.open(log, Open::Replace).and_then(|file| write_all_at(&file, text.as_bytes(), 0));
        }
        SpawnFailure::Resources => {}
    }
    let for_now = if not.failure == SpawnFailure::Resources { " for now" } else { "" };
    let program = command.first().map_or("", String::as_str);
    let why = format!("{program} cannot be executed{for_now}: {}", not.why);
    Done::SpawnFailed { child, failure: not.failure, why }
}

/// The configuration does not have it.
fn no_such_child(child: ChildId) -> Done {
    Done::SpawnFailed { child, failure: SpawnFailure::NotFound, why: "it is not in sprag.toml".into() }
}

fn spawn_spec<F: Fs, P, W>(
    context: &Context<F, P, W>,
    queue: &QueueSpec,
    job: JobId,
    attempt: Attempt,
    asked: Asked,
    deadline: Option<Wall>,
) -> io::Result<SpawnSpec>
where
    P: Processes,
    W: Watch,
{
    let state = context.state();
    let result = state.attempt_result(job.0, attempt.number);
    make_dir(&context.fs, &state.attempts(job.0))?;
    let nonce = context.nonce(attempt.fence.0.to_string());
    let mut env = context.env.clone();
    let mut set = |name: &str, value: String| env.insert(name.into(), value);
    set(Nonce::VARIABLE, nonce.to_string());
    set("SPRAG_JOB", job.0.to_string());
    set("SPRAG_ATTEMPT", attempt.number.to_string());
    set("SPRAG_QUEUE", queue.policy.name.to_string());
    set("SPRAG_RESULT", result.display().to_string());
    if let Some(key) = asked.key {
        set("SPRAG_KEY", key);
    }
    if let Some(deadline) = deadline {
        set("SPRAG_DEADLINE", (deadline.0 / 1000).to_string());
    }
    let stderr = state.slot_log(attempt.slot);
    let stdout = if queue.output.is_some() { state.slot_output(attempt.slot) } else { stderr.clone() };
    let spoiled = |path| Bound { path, bytes_max: RESULT_BYTES_MAX, over: Over::IsSpoiled };
    let mut bounds = vec![log_bound(&stderr, queue.log_bytes_max), spoiled(result)];
    bounds.extend(queue.output.is_some().then(|| spoiled(stdout.clone())));
    Ok(SpawnSpec {
        child: ChildId::Attempt { job, attempt },
        nonce,
        command: queue.command.clone(),
        dir: context.pipeline.dir.clone(),
        env,
        input: state.slot_input(attempt.slot),
        payload: asked.payload,
        stdout,
        stderr,
        bounds,
    })
}

fn log_bound(log: &Path, bytes_max: u64) -> Bound {
    Bound { path: log.to_owned(), bytes_max, over: Over::LosesItsMiddle }
}

/// Executes a service.
pub(crate) fn serve<F: Fs, P: Processes, W: Watch>(context: &Context<F, P, W>, index: u16, run: u32) -> Done {
    let child = ChildId::Service { index, run };
    let Some(service) = context.pipeline.services.get(usize::from(index)) else {
        return no_such_child(child);
    };
    let nonce = context.nonce(format!("service.{}", service.name));
    let mut env: BTreeMap<String, String> = context.env.clone();
    env.insert(Nonce::VARIABLE.into(), nonce.to_string());
    let log = context.state().service_log(&service.name);
    let spec = SpawnSpec {
        child,
        nonce,
        command: service.command.clone(),
        dir: context.pipeline.dir.clone(),
        env,
        input: context.state().service_input(&service.name),
        payload: Vec::new(),
        bounds: vec![log_bound(&log, service.log_bytes_max)],
        stdout: log.clone(),
        stderr: log,
    };
    match context.processes.spawn(&spec) {
        Ok(()) => Done::Spawned { child },
        Err(not) => not_spawned(&context.fs, child, &not, &spec.stderr, &spec.command),
    }
}

/// [`settle`] for whoever must not be held up: only for an attempt that succeeded, wrote nothing that is to be synced, and
/// left nobody behind. So it takes some microseconds. `None` for any other.
pub(crate) fn settle_at_once<F: Fs, P: Processes, W: Watch>(
    context: &Context<F, P, W>,
    job: JobId,
    attempt: Attempt,
    outcome: Outcome,
) -> Option<Done> {
    let (fs, state) = (&context.fs, context.state());
    let quick = || -> io::Result<bool> {
        let publishes = queue(context, attempt).is_some_and(|queue| queue.output.is_some());
        let printed = publishes && len(fs, &state.slot_output(attempt.slot))? > 0;
        let result = printed || exists(fs, &state.attempt_result(job.0, attempt.number))?;
        let cut = is_cut(len(fs, &state.slot_log(attempt.slot))?, log_bytes_max(context, attempt));
        let little = outcome == Outcome::Exit(0) && !result && !cut;
        Ok(little && context.processes.is_free_now(&state.slot_input(attempt.slot))?)
    };
    quick().unwrap_or(false).then(|| settle(context, job, attempt, outcome))
}

/// Keeps what an attempt wrote, makes its result durable, and tells whether everything of it is dead.
pub(crate) fn settle<F: Fs, P: Processes, W: Watch>(
    context: &Context<F, P, W>,
    job: JobId,
    attempt: Attempt,
    outcome: Outcome,
) -> Done {
    let kept = keep_output(context, job, attempt);
    let (outcome, result) = match kept {
        Ok(result) => (outcome, result.filter(|_| outcome == Outcome::Exit(0))),
        Err(error) if outcome == Outcome::Exit(0) && error.kind() == io::ErrorKind::FileTooLarge => {
            (Outcome::ResultTooLarge, None)
        }
        Err(_) if outcome == Outcome::Exit(0) => (Outcome::ResultLost, None),
        Err(_) => (outcome, None),
    };
    // No attempt follows a success, so nothing can overlap and the costly look through all processes is spared.
    let marked_gone = outcome == Outcome::Exit(0) || no_process_bears(context, &[attempt.fence]);
    let gone = (marked_gone && lock_is_free(context, attempt)) || planted(Bug::ProofSkipped);
    let kept_bytes = kept_bytes(context, job, attempt);
    Done::Settled { job, attempt, outcome, result, gone, kept_bytes }
}

/// What a file of so many bytes takes on a disk, in its blocks of 4 KiB.
pub(crate) fn blocks(bytes: u64) -> u64 {
    bytes.next_multiple_of(4096)
}

/// What the attempt left in its log and its result.
fn kept_bytes<F: Fs, P, W>(context: &Context<F, P, W>, job: JobId, attempt: Attempt) -> u64 {
    let state = context.pipeline.state();
    let files = [state.attempt_log(job.0, attempt.number), state.attempt_result(job.0, attempt.number)];
    files.iter().filter_map(|path| context.fs.metadata(path).ok()).map(|metadata| blocks(metadata.len)).sum()
}

fn log_bytes_max<F, P, W>(context: &Context<F, P, W>, attempt: Attempt) -> u64 {
    queue(context, attempt).map_or(LOG_BYTES_MAX, |queue| queue.log_bytes_max)
}

/// The result to publish, if there is one: durable, and by its digest. One that is too large is removed.
fn keep_output<F: Fs, P: Processes, W: Watch>(
    context: &Context<F, P, W>,
    job: JobId,
    attempt: Attempt,
) -> io::Result<Option<Digest>> {
    let (fs, state) = (&context.fs, context.state());
    let (log, result) = (state.attempt_log(job.0, attempt.number), state.attempt_result(job.0, attempt.number));
    keep_log(fs, &state.slot_log(attempt.slot), &log, log_bytes_max(context, attempt))?;
    let publishes = queue(context, attempt).is_some_and(|queue| queue.output.is_some());
    let mut too_large = false;
    for file in [&result, &state.slot_output(attempt.slot)] {
        if len(fs, file)? > RESULT_BYTES_MAX {
            fs.remove(file)?;
            too_large = true;
        }
    }
    if too_large {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    if publishes && !exists(fs, &result)? {
        rename_unless_empty(fs, &state.slot_output(attempt.slot), &result)?;
    }
    if !exists(fs, &result)? {
        return Ok(None);
    }
    if !planted(Bug::ResultNotSynced) {
        let folder = state.attempts(job.0);
        fs.open(&result, Open::Read)?.sync_all()?;
        fs.sync_dir(&folder)?;
        make_dirs(fs, folder.parent().unwrap_or(state.path()), &folder)?;
    }
    if !publishes {
        return Ok(None);
    }
    Ok(Some(result_digest(&read_all(fs, &result, RESULT_BYTES_MAX)?)))
}

/// Kills what is left of the attempts and of earlier lives, and tells which attempts are dead.
pub(crate) fn prove<F: Fs, P: Processes, W: Watch>(
    context: &Context<F, P, W>,
    attempts: Vec<(JobId, Attempt)>,
) -> Done {
    let names: Vec<String> = attempts.iter().map(|(_, attempt)| attempt.fence.0.to_string()).collect();
    let of_earlier_life = |nonce: &Nonce| nonce.epoch != context.epoch && !planted(Bug::EpochUnchecked);
    let doomed = |nonce: &Nonce| of_earlier_life(nonce) || names.contains(&nonce.name);
    let Ok(sweep) = context.processes.sweep(&context.queue_id, &doomed) else {
        return Done::Proved { gone: Vec::new(), clear: false };
    };
    let bears = |name: &str| sweep.alive.iter().any(|nonce| nonce.name == name);
    let gone = attempts
        .into_iter()
        .filter(|(_, attempt)| {
            let dead = !bears(&attempt.fence.0.to_string()) && lock_is_free(context, *attempt);
            dead || planted(Bug::ProofSkipped)
        })
        .collect();
    let services_free = context.pipeline.services.iter().all(|service| {
        let input = context.state().service_input(&service.name);
        context.processes.is_free(&input).unwrap_or(false)
    });
    Done::Proved { gone, clear: sweep.alive.is_empty() && services_free }
}

fn no_process_bears<F: Fs, P: Processes, W: Watch>(context: &Context<F, P, W>, fences: &[Seq]) -> bool {
    let doomed = |nonce: &Nonce| fences.iter().any(|fence| nonce.name == fence.0.to_string());
    context.processes.sweep(&context.queue_id, &doomed).is_ok_and(|sweep| sweep.alive.is_empty())
}

fn lock_is_free<F: Fs, P: Processes, W: Watch>(context: &Context<F, P, W>, attempt: Attempt) -> bool {
    context.processes.is_free(&context.state().slot_input(attempt.slot)).unwrap_or(false)
}

/// Copies the result to its destination: temporary name, sync, rename, sync of the folder.
pub(crate) fn publish<F: Fs, P: Processes, W: Watch>(
    context: &Context<F, P, W>,
    job: JobId,
    attempt: u32,
    queue: &str,
    place: PayloadRef,
) -> Result<(), String> {
    let Some(output) = context.pipeline.queue(queue).and_then(|queue| queue.output.as_deref()) else {
        return Err(format!("queue `{queue}` has no `output` any more"));
    };
    let key = asked(context, job, place).map_err(|error| format!("the job's record: {error}"))?.key;
    let to = destination(&context.pipeline.dir, output, job.0, key.as_deref());
    let from = context.state().attempt_result(job.0, attempt);
    let copy = || {
        let bytes = read_all(&context.fs, &from, RESULT_BYTES_MAX)?;
        let folder = to.parent().unwrap_or(Path::new("."));
        make_shared_dirs(&context.fs, &context.pipeline.dir, folder)?;
        if planted(Bug::DestinationNotSynced) {
            write_all_at(&context.fs.open(&to, Open::Replace)?, &bytes, 0)?;
            return context.fs.sync_dir(folder);
        }
        share_atomic(&context.fs, &to, &bytes)
    };
    let shown = to.strip_prefix(&context.pipeline.dir).unwrap_or(&to).display();
    copy().map_err(|error| format!("{shown}: {error}"))
}

pub(crate) fn rename_unless_empty<F: Fs>(fs: &F, from: &Path, to: &Path) -> io::Result<()> {
    if len(fs, from)? == 0 {
        return Ok(());
    }
    make_dir(fs, to.parent().unwrap_or(Path::new(".")))?;
    fs.rename(from, to)
}

/// The length of a file; 0 for one that is not there.
pub(crate) fn len<F: Fs>(fs: &F, path: &Path) -> io::Result<u64> {
    match fs.metadata(path) {
        Ok(metadata) => Ok(metadata.len),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(error),
    }
}

fn exists<F: Fs>(fs: &F, path: &Path) -> io::Result<bool> {
    match fs.metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) fn make_dir<F: Fs>(fs: &F, dir: &Path) -> io::Result<()> {
    made(fs.create_dir(dir))
}

fn made(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes `dir` and the folders between it and `base`, each durably. One that is there is synced too: whoever made it may
/// have died before its name was durable.
fn make_dirs<F: Fs>(fs: &F, base: &Path, dir: &Path) -> io::Result<()> {
    each_dir(fs, base, dir, &|dir| make_dir(fs, dir))
}

/// The same for folders of the user's.
fn make_shared_dirs<F: Fs>(fs: &F, base: &Path, dir: &Path) -> io::Result<()> {
    each_dir(fs, base, dir, &|dir| made(fs.create_shared_dir(dir)))
}

fn each_dir<F: Fs>(fs: &F, base: &Path, dir: &Path, make: &dyn Fn(&Path) -> io::Result<()>) -> io::Result<()> {
    if dir == base {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(base);
    each_dir(fs, base, parent, make)?;
    make(dir)?;
    fs.sync_dir(parent)
}
