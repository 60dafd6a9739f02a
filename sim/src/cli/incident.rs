//! `sim replay --incident`: what the flight recorder of a real sprag wrote down, run again.
//!
//! **Invariant.** The folder is only read. All lives on record are run and held against the journal; one is told.

use super::{FAILED, How, STALE, USAGE, WELL, complain, say};
use serde_json::json;
use sim::incident::{Checked, Incident, Story, Told, Until, why};
use sim::page::page_of;
use sprag_core::{JobId, Machine, Now};
use sprag_journal::RealFs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What is to be told.
pub(crate) struct Asked {
    pub(crate) until: Option<Point>,
    pub(crate) job: Option<u64>,
    pub(crate) life: Option<usize>,
    pub(crate) events: bool,
    pub(crate) html: Option<PathBuf>,
}

/// A point in a recording.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Point(Until);

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Point, String> {
        let wrong = |_| format!("`{text}` is no point: write 1042 (a record), e12 (an input), 4.5s, or @MILLISECONDS");
        let until = if let Some(event) = text.strip_prefix('e') {
            Until::Event(event.parse().map_err(|error: std::num::ParseIntError| wrong(error.to_string()))?)
        } else if let Some(wall) = text.strip_prefix('@') {
            Until::Wall(wall.parse().map_err(|error: std::num::ParseIntError| wrong(error.to_string()))?)
        } else if let Some(seconds) = text.strip_suffix('s') {
            Until::Ms(milliseconds(seconds).ok_or_else(|| wrong(String::new()))?)
        } else {
            Until::Seq(text.parse().map_err(|error: std::num::ParseIntError| wrong(error.to_string()))?)
        };
        Ok(Point(until))
    }
}

/// Seconds with at most three digits behind the point.
fn milliseconds(seconds: &str) -> Option<u64> {
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, ""));
    let part_ms: u64 = format!("{part:0<3}").get(..3)?.parse().ok()?;
    let fits = part.len() <= 3 && part.bytes().all(|byte| byte.is_ascii_digit());
    whole.parse::<u64>().ok()?.checked_mul(1000)?.checked_add(part_ms).filter(|_| fits)
}

/// Runs everything on record again, says whether it is the same, and tells one life.
pub(crate) fn replay(dir: &Path, asked: &Asked, how: &How) -> u8 {
    how.plant();
    let inside = dir.join(".sprag");
    let state = if inside.is_dir() { inside } else { dir.to_owned() };
    let incident = match Incident::read(&RealFs, &state) {
        Ok(incident) => incident,
        Err(what) => {
            complain(how.json, format_args!("{}: {what}", dir.display()));
            return USAGE;
        }
    };
    let count = incident.lives().len();
    let told = asked.life.unwrap_or(count);
    if told == 0 || told > count {
        complain(how.json, format_args!("{}: there are {count} lives of sprag on record", dir.display()));
        return USAGE;
    }
    let mut code = WELL;
    for life in 1..=count {
        if life == told {
            let (story, checked) = run(&incident, life, asked.until);
            if let Err(error) = tell(dir, &story, &checked, asked, how) {
                complain(how.json, format_args!("{error}"));
                return USAGE;
            }
            say_checked(&incident, life, &checked, how);
            code = worse(code, &checked);
        } else if asked.life.is_none() {
            let checked = incident.replay(life - 1, &mut |_, _| true);
            say_checked(&incident, life, &checked, how);
            code = worse(code, &checked);
        }
    }
    code
}

fn run(incident: &Incident<RealFs>, life: usize, until: Option<Point>) -> (Story, Checked) {
    let mut story = Story::default();
    let checked = incident.replay(life - 1, &mut |machine, seen| {
        if until.is_some_and(|Point(until)| story.is_behind(until, machine, seen)) {
            return false;
        }
        story.tell(machine, seen);
        true
    });
    (story, checked)
}

/// A difference is worse than something that is missing.
fn worse(code: u8, checked: &Checked) -> u8 {
    match checked {
        Checked { difference: Some(_), .. } => FAILED,
        Checked { lost, ahead, .. } if code == WELL && (!lost.is_empty() || *ahead > 0) => STALE,
        _ => code,
    }
}

fn tell(dir: &Path, story: &Story, checked: &Checked, asked: &Asked, how: &How) -> Result<(), String> {
    let job = asked.job.map(JobId);
    let lines: Vec<&Told> = match job {
        Some(job) => story.about(job),
        None => story.lines.iter().collect(),
    };
    let lines: Vec<&Told> = lines.into_iter().filter(|line| !asked.events || line.kind.is_event()).collect();
    if let Some(path) = &asked.html {
        let title = match &checked.difference {
            Some(difference) => format!("{}: {difference}", dir.display()),
            None => format!("{}: it decides the same", dir.display()),
        };
        let lines = lines.iter().map(|line| line.to_json()).collect();
        let page = page_of(&title, checked.difference.is_some(), lines);
        std::fs::write(path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    } else {
        for line in lines {
            if how.json { say(format_args!("{}", line.to_json())) } else { say(format_args!("{line}")) }
        }
    }
    if let Some((machine, now)) = &checked.end {
        state(machine, *now, job, how);
    }
    Ok(())
}

/// The state at the end of the story.
fn state(machine: &Machine, now: Now, job: Option<JobId>, how: &How) {
    let why = job.map(|job| why(machine, now, job));
    if how.json {
        let queues: Vec<_> = machine
            .queues()
            .map(|queue| json!({ "name": queue.name, "paused": queue.paused, "jobs": queue.counts }))
            .collect();
        let state = json!({
            "at_ms": now.wall.0, "seq": machine.last_seq(), "durable": machine.durable_seq(), "queues": queues,
            "health": format!("{:?}", machine.verdict(now)), "volatile": machine.volatile(), "why": why,
        });
        return say(format_args!("{}", json!({ "state": state })));
    }
    say(format_args!(
        "\nthe state there: record {} decided, {} durable",
        machine.last_seq().0,
        machine.durable_seq().0
    ));
    for queue in machine.queues() {
        let c = queue.counts;
        let paused = if queue.paused { ", paused" } else { "" };
        say(format_args!(
            "  queue {}: {} scheduled, {} ready, {} running, {} succeeded, {} dead, {} cancelled{paused}",
            queue.name, c.scheduled, c.ready, c.running, c.succeeded, c.dead, c.cancelled
        ));
    }
    for (id, run) in &machine.volatile().attempts {
        let attempt = run.attempt.number;
        say(format_args!("  job {} attempt {attempt}: {:?}, slot {}", id.0, run.phase, run.attempt.slot.0));
    }
    say(format_args!("  health: {:?}", machine.verdict(now)));
    if let Some(why) = why {
        say(format_args!("\n{why}"));
    }
}

fn say_checked(incident: &Incident<RealFs>, life: usize, checked: &Checked, how: &How) {
    let of = &incident.lives()[life - 1];
    let Checked { events, records, unknown, difference, lost, ahead, stopped, end: _ } = checked;
    if how.json {
        let end = json!({
            "life": life, "epoch": of.epoch(), "recorded": of.inputs(), "inputs": events, "records": records, "unknown": unknown,
            "difference": difference.as_ref().map(ToString::to_string), "lost": lost, "ahead": ahead, "stopped": stopped,
        });
        return say(format_args!("{end}"));
    }
    let epoch = of.epoch().map_or_else(|| "?".to_owned(), |epoch| epoch.to_string());
    say(format_args!(
        "\nlife {life} (epoch {epoch}): {events} of {} inputs given, {records} records as in the journal",
        of.inputs()
    ));
    if *unknown > 0 {
        say(format_args!("  {unknown} more were decided that are not in the journal: never durable, or pruned since"));
    }
    lost.iter().for_each(|what| say(format_args!("  not used: {what}")));
    if *ahead > 0 {
        say(format_args!("  cut: the journal goes on for {ahead} records that the recording does not lead to"));
    }
    match difference {
        Some(difference) => say(format_args!("  it goes another way {difference}")),
        None => say(format_args!("  it decides the same")),
    }
}
