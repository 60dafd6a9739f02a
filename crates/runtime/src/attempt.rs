//! An attempt's effects on files and processes: execute, put the output in order, prove dead, publish.
//!
//! **Invariant.** A command is executed with its lock taken. A result counts after it was synced, and stands at its
//! destination wholly or not at all. An attempt that may be followed by another is called dead only when its lock is
//! free and no process bears its mark.

use crate::pipeline::{QueueSpec, destination, result_digest};
use crate::seams::{ChildId, Nonce, Processes, SpawnSpec, Watch};
use crate::task::{Context, Done};
use sprag_core::{Attempt, Bug, Digest, JobId, Outcome, PayloadRef, Seq, SpawnFailure, Wall, planted};
use sprag_journal::fs::{File, Fs, Open, read_all, write_all_at, write_atomic};
use sprag_journal::image;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// No result is longer, in bytes.
const RESULT_BYTES_MAX: u64 = 256 << 20;

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
    let child = ChildId::Attempt { job, number: attempt.number };
    let Some(queue) = queue(context, attempt) else {
        return Done::SpawnFailed { child, failure: SpawnFailure::NotFound };
    };
    let spec = asked(context, job, place).and_then(|asked| spawn_spec(context, queue, job, attempt, asked, deadline));
    let spawned = spec.map_err(|_| SpawnFailure::Resources).and_then(|spec| context.processes.spawn(&spec));
    match spawned {
        Ok(()) => Done::Spawned { child },
        Err(failure) => Done::SpawnFailed { child, failure },
    }
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
    Ok(SpawnSpec {
        child: ChildId::Attempt { job, number: attempt.number },
        nonce,
        command: queue.command.clone(),
        dir: context.pipeline.dir.clone(),
        env,
        input: state.slot_input(attempt.slot),
        payload: asked.payload,
        stdout: if queue.output.is_some() { state.slot_output(attempt.slot) } else { stderr.clone() },
        stderr,
    })
}

/// Executes a service.
pub(crate) fn serve<F: Fs, P: Processes, W: Watch>(context: &Context<F, P, W>, index: u16, run: u32) -> Done {
    let child = ChildId::Service { index, run };
    let Some(service) = context.pipeline.services.get(usize::from(index)) else {
        return Done::SpawnFailed { child, failure: SpawnFailure::NotFound };
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
        stdout: log.clone(),
        stderr: log,
    };
    match context.processes.spawn(&spec) {
        Ok(()) => Done::Spawned { child },
        Err(failure) => Done::SpawnFailed { child, failure },
    }
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
        Err(_) if outcome == Outcome::Exit(0) => (Outcome::ResultLost, None),
        Err(_) => (outcome, None),
    };
    // No attempt follows a success, so nothing can overlap and the costly look through all processes is spared.
    let marked_gone = outcome == Outcome::Exit(0) || no_process_bears(context, &[attempt.fence]);
    let gone = (marked_gone && lock_is_free(context, attempt)) || planted(Bug::ProofSkipped);
    Done::Settled { job, attempt, outcome, result, gone }
}

/// The result to publish, if there is one: durable, and by its digest.
fn keep_output<F: Fs, P: Processes, W: Watch>(
    context: &Context<F, P, W>,
    job: JobId,
    attempt: Attempt,
) -> io::Result<Option<Digest>> {
    let (fs, state) = (&context.fs, context.state());
    let (log, result) = (state.attempt_log(job.0, attempt.number), state.attempt_result(job.0, attempt.number));
    rename_unless_empty(fs, &state.slot_log(attempt.slot), &log)?;
    let publishes = queue(context, attempt).is_some_and(|queue| queue.output.is_some());
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
    let doomed = |nonce: &Nonce| nonce.epoch != context.epoch || names.contains(&nonce.name);
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
        make_dirs(&context.fs, &context.pipeline.dir, to.parent().unwrap_or(Path::new(".")))?;
        if planted(Bug::DestinationNotSynced) {
            write_all_at(&context.fs.open(&to, Open::Replace)?, &bytes, 0)?;
            return context.fs.sync_dir(to.parent().unwrap_or(Path::new(".")));
        }
        write_atomic(&context.fs, &to, &bytes)
    };
    copy().map_err(|error| format!("{} -> {}: {error}", from.display(), to.display()))
}

fn rename_unless_empty<F: Fs>(fs: &F, from: &Path, to: &Path) -> io::Result<()> {
    match fs.metadata(from) {
        Ok(metadata) if metadata.len > 0 => {
            make_dir(fs, to.parent().unwrap_or(Path::new(".")))?;
            fs.rename(from, to)
        }
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
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
    match fs.create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes `dir` and the folders between it and `base`, each durably. One that is there is synced too: whoever made it may
/// have died before its name was durable.
fn make_dirs<F: Fs>(fs: &F, base: &Path, dir: &Path) -> io::Result<()> {
    if dir == base {
        return Ok(());
    }
    let parent = dir.parent().unwrap_or(base);
    make_dirs(fs, base, parent)?;
    make_dir(fs, dir)?;
    fs.sync_dir(parent)
}
