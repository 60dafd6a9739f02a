//! `sprag wait`: until jobs are at an end.
//!
//! **Invariant.** An end that is told is durable. Without a running sprag only ends that are on record can be told.

use super::state_of;
use crate::cli::{Cli, Wait};
use crate::client::{Client, not_running, refused};
use crate::exit::{Exit, Failure};
use crate::out::{Out, plain, style_of};
use crate::past::Past;
use hyper::Method;
use serde::Serialize;
use sprag_core::{JobId, StateName};
use sprag_runtime::live;
use sprag_runtime::pipeline::StateDir;
use std::collections::BTreeMap;

/// Between two questions about a job, at first and at most.
const ASK_MS: (u64, u64) = (10, 250);

/// A job at its end.
#[derive(Serialize)]
struct Ended {
    id: u64,
    /// The older names of `id` and `attempts`.
    job: u64,
    queue: String,
    state: String,
    attempts: u64,
    attempt: u64,
}

pub(super) fn run(cli: &Cli, args: &Wait, out: &mut Out) -> Result<Exit, Failure> {
    until_ended(cli, &state_of(&cli.dir)?, &args.jobs, args.timeout, out)
}

/// Waits, and tells each end as it comes: 0 when all succeeded, 1 when one is dead or cancelled.
pub(super) fn until_ended(
    cli: &Cli,
    state: &StateDir,
    jobs: &[u64],
    timeout_ms: Option<u64>,
    out: &mut Out,
) -> Result<Exit, Failure> {
    let Some(mut client) = Client::connect(state)? else { return from_record(cli, state, jobs, out) };
    let deadline = timeout_ms.map(|timeout_ms| live::now().mono.after(timeout_ms));
    let (mut exit, mut open) = (Exit::Ok, jobs.to_vec());
    let mut wait_ms = ASK_MS.0;
    loop {
        let mut left = Vec::new();
        for job in open {
            let ended = ask(state, &mut client, job)?;
            match ended {
                Some(ended) => exit = worse(exit, tell(cli, &ended, out)?),
                None => left.push(job),
            }
        }
        out.flush()?;
        open = left;
        if open.is_empty() {
            return Ok(exit);
        }
        if deadline.is_some_and(|deadline| deadline <= live::now().mono) {
            let open = open.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
            return Err(Failure::new(Exit::TimedOut, format!("not at an end in time: {open}")));
        }
        client.pause(wait_ms);
        wait_ms = (wait_ms * 2).min(ASK_MS.1);
    }
}

fn ask(state: &StateDir, client: &mut Client, job: u64) -> Result<Option<Ended>, Failure> {
    let told = client.ask(Method::GET, &format!("/v1/jobs/{job}"), Vec::new())?;
    if told.json["reason"] == "no_such_job" {
        return Err(Past::read(state)?.no_such_job(job));
    }
    if told.code != 200 {
        let failure = refused(&told);
        return Err(Failure { what: format!("job {job}: {}", failure.what), ..failure });
    }
    let word = |name: &str| told.json[name].as_str().unwrap_or_default().to_owned();
    let state = word("state");
    let is_end = StateName::named(&state).is_some_and(StateName::is_end);
    let attempt = told.json["attempt"].as_u64().unwrap_or(0);
    Ok(is_end.then(|| Ended { id: job, job, queue: word("queue"), state, attempts: attempt, attempt }))
}

fn from_record(cli: &Cli, state: &StateDir, jobs: &[u64], out: &mut Out) -> Result<Exit, Failure> {
    let past = Past::read(state)?;
    let mut exit = Exit::Ok;
    let mut known = BTreeMap::new();
    for id in jobs {
        let Some(job) = past.machine.job(JobId(*id)) else {
            return Err(past.no_such_job(*id));
        };
        if !job.state.is_terminal() {
            return Err(not_running(&format!("job {id} is not at an end, and no sprag runs here")));
        }
        known.insert(*id, job);
    }
    for (id, job) in known {
        let name = past.state_name(JobId(id)).map_or("", StateName::as_str);
        let queue = past.machine.queue_name(job.queue).to_owned();
        let attempts = job.attempt.into();
        let ended = Ended { id, job: id, queue, state: name.into(), attempts, attempt: attempts };
        exit = worse(exit, tell(cli, &ended, out)?);
    }
    Ok(exit)
}

fn worse(one: Exit, other: Exit) -> Exit {
    if one == Exit::Ok { other } else { one }
}

fn tell(cli: &Cli, ended: &Ended, out: &mut Out) -> Result<Exit, Failure> {
    let succeeded = ended.state == StateName::Succeeded.as_str();
    if cli.json {
        out.json(ended)?;
    } else {
        let style = style_of(if succeeded { StateName::Succeeded } else { StateName::Dead });
        out.line(format_args!(
            "job {} in queue {}: {style}{}{style:#} after attempt {}",
            ended.job,
            plain(&ended.queue),
            plain(&ended.state),
            ended.attempt
        ))?;
    }
    Ok(if succeeded { Exit::Ok } else { Exit::No })
}
