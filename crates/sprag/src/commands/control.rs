//! `cancel`, `retry`, `pause`, `resume`, `drain`: what a running sprag is told to do.
//!
//! **Invariant.** What is said to be done is durable.

use super::state_of;
use crate::cli::{Cli, Drain, Jobs, Queue, Retry};
use crate::client::{Client, encoded};
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain};
use crate::past;
use serde_json::json;
use sprag_runtime::driver::count_text;

/// Between two looks whether sprag has ended.
const LOOK_MS: u64 = 20;

pub(super) fn cancel(cli: &Cli, args: &Jobs, out: &mut Out) -> Result<Exit, Failure> {
    each(cli, &args.jobs, "cancel", "is cancelled, or will be as soon as its attempt has ended", out)
}

pub(super) fn retry(cli: &Cli, args: &Retry, out: &mut Out) -> Result<Exit, Failure> {
    let Some(queue) = &args.dead else {
        return each(cli, &args.jobs, "retry", "begins anew", out);
    };
    let told = Client::need(&state_of(&cli.dir)?)?.order(&format!("/v1/queues/{}/retry-dead", encoded(queue)))?;
    let jobs = told.json["jobs"].as_u64().unwrap_or(0);
    if cli.json {
        out.json(&json!({ "queue": queue, "jobs": jobs }))?;
    } else {
        let (count, verb) = (count_text(jobs, "dead job"), if jobs == 1 { "begins" } else { "begin" });
        out.line(format_args!("{count} of queue {} {verb} anew", plain(queue)))?;
    }
    Ok(Exit::Ok)
}

/// One after the other, whatever becomes of those before: each is told, and the end is that of the worst.
fn each(cli: &Cli, jobs: &[u64], verb: &str, done: &str, out: &mut Out) -> Result<Exit, Failure> {
    let mut client = Client::need(&state_of(&cli.dir)?)?;
    let mut refused: Vec<Failure> = Vec::new();
    for job in jobs {
        match client.order(&format!("/v1/jobs/{job}/{verb}")) {
            Ok(_) if cli.json => out.json(&json!({ "job": job, "result": "done" }))?,
            Ok(_) => out.line(format_args!("job {job} {done}"))?,
            // Who does not answer now is not asked for the others.
            Err(failure) if failure.exit == Exit::StateIo => return Err(of_job(*job, failure)),
            Err(failure) => {
                if cli.json {
                    out.json(&json!({ "job": job, "result": "refused", "error": failure.what }))?;
                }
                refused.push(of_job(*job, failure));
            }
        }
    }
    out.flush()?;
    let Some(worst) = refused.iter().max_by_key(|failure| failure.exit.code()) else { return Ok(Exit::Ok) };
    let what = refused.iter().map(|failure| failure.what.as_str()).collect::<Vec<_>>().join("; ");
    Err(Failure { what, ..worst.clone() })
}

fn of_job(job: u64, failure: Failure) -> Failure {
    Failure { what: format!("job {job}: {}", failure.what), ..failure }
}

pub(super) fn pause(cli: &Cli, args: &Queue, out: &mut Out) -> Result<Exit, Failure> {
    queue(cli, args, "pause", "is paused: nothing starts there until `sprag resume`", out)
}

pub(super) fn resume(cli: &Cli, args: &Queue, out: &mut Out) -> Result<Exit, Failure> {
    queue(cli, args, "resume", "goes on", out)
}

fn queue(cli: &Cli, args: &Queue, verb: &str, done: &str, out: &mut Out) -> Result<Exit, Failure> {
    let name = &args.queue;
    let told = Client::need(&state_of(&cli.dir)?)?.order(&format!("/v1/queues/{}/{verb}", encoded(name)));
    told.map_err(|failure| Failure { what: format!("queue {}: {}", plain(name), failure.what), ..failure })?;
    if cli.json {
        out.json(&json!({ "queue": name, "result": "done" }))?;
    } else {
        out.line(format_args!("queue {} {done}", plain(name)))?;
    }
    Ok(Exit::Ok)
}

pub(super) fn drain(cli: &Cli, args: &Drain, out: &mut Out) -> Result<Exit, Failure> {
    let state = state_of(&cli.dir)?;
    let mut client = Client::need(&state)?;
    let (path, told) = match args.now {
        false => ("/v1/drain", "draining: nothing new is taken or started; sprag ends when what runs has finished"),
        true => ("/v1/stop", "stopping: what runs is ended, and tried again by the next `sprag run`"),
    };
    client.order(path)?;
    let pid = client.pid();
    if !cli.json {
        out.line(told)?;
        out.flush()?;
    }
    while args.wait && past::running(&state)? == Some(pid) {
        client.pause(LOOK_MS);
    }
    if cli.json {
        out.json(&json!({ "result": if args.wait { "ended" } else { "done" }, "running_pid": pid }))?;
    } else if args.wait {
        out.line(format_args!("sprag (process {pid}) has ended"))?;
    }
    Ok(Exit::Ok)
}
