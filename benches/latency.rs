//! From the rename of a file to the first instruction of the command.

use crate::limits::Appended;
use crate::server::Server;
use crate::slices::{median, quantile};
use crate::stamp::{Stamps, now_ns};
use crate::table::{Row, Target, figure};
use crate::{Bench, Res};
use rustix::fs::inotify::{CreateFlags, Reader, WatchFlags, add_watch, init};
use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two replacements, so that nothing of the one is left when the other comes.
const REST: Duration = Duration::from_millis(15);

pub(crate) fn replaced_to_started(bench: &mut Bench) -> Res<()> {
    let limit_dir = bench.dir.join("latency-limit");
    fs::create_dir_all(&limit_dir)?;
    let mut stamps = Stamps::new(&bench.dir)?;
    let config = format!(
        "[queue.bench]\ncommand = {}\n\n[[source]]\npath = \"items.json\"\nformat = \"json-array\"\nqueue = \"bench\"\nkey = \
         \"/id\"\n",
        stamps.command_toml()?
    );
    let server = Server::new(bench.dir.join("latency"), &config)?;
    let mut limit = Limit::new(&limit_dir, &bench.dir)?;
    let (mut limits, mut ours) = (Vec::new(), Vec::new());
    let rounds = if bench.quick { 40 } else { 200 };
    for n in 0..rounds + 5 {
        let least_ms = limit.once(&limit_dir, n, &mut stamps)?;
        std::thread::sleep(REST);
        let our_ms = (stamp_of_replacing(server.dir(), n, &mut stamps)?) as f64 / 1e6;
        std::thread::sleep(REST);
        // The first few warm both up.
        if n >= 5 {
            limits.push(least_ms);
            ours.push(our_ms);
        }
    }
    let beside = format!(
        "median {} ms, p99 {}; limit (inotify + fdatasync + posix_spawn) {}, p99 {}",
        figure(median(&ours)),
        figure(quantile(&ours, 0.99)),
        figure(median(&limits)),
        figure(quantile(&limits, 0.99))
    );
    // The medians are told apart, not the pairs: single ones scatter by more than what is looked for.
    let over: Vec<f64> = ours.iter().map(|ms| ms - median(&limits)).collect();
    bench.row(Row::new("file replaced -> command, over the limit", "ms", &over, Target::AtMost(0.2)).beside(beside));
    let p99 = [quantile(&ours, 0.99)];
    bench.row(Row::new("file replaced -> command, p99", "ms", &p99, Target::AtMost(10.0)));
    Ok(())
}

/// Replaces the file; nanoseconds from just before the rename to the command's first instruction.
fn stamp_of_replacing(dir: &Path, n: u32, stamps: &mut Stamps) -> Res<i64> {
    let begin_ns = replace(dir, n)?;
    Ok(stamps.next_ns()? - begin_ns)
}

fn replace(dir: &Path, n: u32) -> Res<i64> {
    let temporary = dir.join("items.new");
    fs::write(&temporary, format!("[{{\"id\":\"item-{n}\",\"text\":\"{}\"}}]", "x".repeat(160)))?;
    let begin_ns = now_ns();
    fs::rename(&temporary, dir.join("items.json"))?;
    Ok(begin_ns)
}

/// The least that anybody must do: hear of it, make a record durable, execute.
struct Limit {
    journal: Appended,
    events: std::os::fd::OwnedFd,
}

impl Limit {
    fn new(dir: &Path, scratch: &Path) -> Res<Limit> {
        let events = init(CreateFlags::CLOEXEC)?;
        add_watch(&events, dir, WatchFlags::MOVED_TO)?;
        Ok(Limit { journal: Appended::new(scratch, 1)?, events })
    }

    fn once(&mut self, dir: &Path, n: u32, stamps: &mut Stamps) -> Res<f64> {
        let (events, journal) = (&self.events, &mut self.journal);
        let waiting = Instant::now();
        std::thread::scope(|scope| {
            let mut command = stamps.command()?;
            let heard = scope.spawn(move || {
                let mut space = [MaybeUninit::uninit(); 4096];
                Reader::new(events, &mut space).next().map_err(|e| e.to_string())?;
                journal.once().map_err(|e| e.to_string())?;
                command.status().map_err(|e| e.to_string())
            });
            // It must wait for the event before there is one.
            while waiting.elapsed() < Duration::from_millis(2) {
                std::thread::yield_now();
            }
            let took_ns = stamp_of_replacing(dir, n, stamps)?;
            let status = heard.join().map_err(|_| "the limit panicked")??;
            if status.success() { Ok(took_ns as f64 / 1e6) } else { Err(format!("the command: {status}").into()) }
        })
    }
}
