//! What a million pending jobs cost: memory, a restart, a look, an add, a start.

use crate::adds::{config, done, paused};
use crate::http::{Client, add_request};
use crate::limits::rate;
use crate::server::{Server, sprag};
use crate::slices::{Slice, alternate, median};
use crate::stamp::Stamps;
use crate::table::{Row, Target, figure, thousands};
use crate::{Bench, Res};
use std::time::{Duration, Instant};

/// Memory, restart and status.
pub(crate) fn restart(bench: &mut Bench) -> Res<()> {
    let jobs = bench.pending_max;
    let empty = Server::new(bench.dir.join("empty"), &config())?.rss_bytes()?;
    let dir = bench.dir.join("restart");
    std::fs::create_dir_all(&dir)?;
    let mut stamps = Stamps::new(&dir)?;
    let config = format!("[queue.bench]\ncommand = {}\n", stamps.command_toml()?);
    let mut server = Server::new(dir, &config)?;
    server.pause()?;
    let begin = Instant::now();
    server.fill(jobs, 0)?;
    let filled_s = begin.elapsed().as_secs_f64();
    server.settle()?;
    let grown = server.rss_bytes()?.saturating_sub(empty) as f64 / jobs as f64;
    let (mut seconds, mut spent, mut memory) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..if bench.quick { 2 } else { 5 } {
        let begin_ns = server.kill_and_start()?;
        let first_ns = stamps.next_after_ns(begin_ns)?;
        spent.push(server.main_cpu()?.as_secs_f64());
        seconds.push((first_ns - begin_ns) as f64 / 1e9);
        server.pause()?;
        memory.push(server.rss_bytes()?.saturating_sub(empty) as f64 / jobs as f64);
    }
    let many = thousands(jobs as f64);
    let beside = format!(
        "filled in {} s, durable; kill -9; the queue is resumed by a request; processor time of the loop's thread {} s",
        figure(filled_s),
        figure(median(&spent))
    );
    let target = Target::AtMost(0.5);
    bench.row(Row::new(format!("restart with {many} pending -> first job"), "s", &seconds, target).beside(beside));
    let beside = format!("over an empty sprag; before the restart {}", figure(grown));
    bench.row(Row::new(format!("memory per job, {many} pending"), "B", &memory, Target::AtMost(200.0)).beside(beside));
    status(bench, &mut server, &many)
}

fn status(bench: &mut Bench, server: &mut Server, many: &str) -> Res<()> {
    let (mut asked, mut run) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let begin = Instant::now();
        server.control()?.ask("GET /v1/status", "")?;
        asked.push(begin.elapsed().as_secs_f64() * 1e3);
        let begin = Instant::now();
        let output = sprag(server.dir()).arg("status").output()?;
        run.push(begin.elapsed().as_secs_f64() * 1e3);
        if !output.status.success() {
            return Err(format!("sprag status: {}", String::from_utf8_lossy(&output.stderr)).into());
        }
    }
    let beside = format!("start of the program included; the socket alone {} ms", figure(median(&asked)));
    bench.row(Row::new(format!("sprag status, {many} pending"), "ms", &run, Target::AtMost(50.0)).beside(beside));
    Ok(())
}

/// Durable adds, and starts, with few and many jobs pending: several programs take turns, so that nothing but the number
/// differs. What few cost is the limit of what many may cost.
pub(crate) fn scaling(bench: &mut Bench) -> Res<()> {
    let sizes: Vec<u64> = [1_000, 10_000, 100_000, 1_000_000].into_iter().filter(|n| *n <= bench.pending_max).collect();
    let mut sized = Vec::new();
    for jobs in sizes {
        let mut server = paused(bench, &format!("pending-{jobs}"))?;
        server.fill(jobs, 0)?;
        server.settle()?;
        sized.push(Sized { adder: Client::connect(&server.state())?, server, jobs, cpu: Duration::ZERO, done: 0.0 });
    }
    for sized in &mut sized {
        // The fills took so long that the first connections are closed.
        sized.adder = Client::connect(&sized.server.state())?;
    }
    let request = add_request();
    compare(bench, "durable add", &mut sized, &mut |sized, slice| {
        rate(slice, || sized.adder.add(&request).map(|()| 1))
    })?;
    for sized in &mut sized {
        sized.server.resume()?;
        sized.server.freeze()?;
    }
    compare(bench, "take (a no-op job from start to finish)", &mut sized, &mut |sized, slice| {
        // What few there are would run out.
        if sized.jobs < 10_000 {
            sized.server.thaw()?;
            let counts = sized.server.counts()?;
            sized.server.fill(sized.jobs.saturating_sub(counts.ready), 10_000_000 + counts.succeeded)?;
        }
        done(&mut sized.server, slice)
    })
}

/// A sprag with so many jobs pending.
struct Sized {
    server: Server,
    adder: Client,
    jobs: u64,
    /// Processor time spent, and what was done with it.
    cpu: Duration,
    done: f64,
}

impl Sized {
    fn slice(&mut self, slice: Duration, work: &mut Work<'_>) -> Res<f64> {
        let (before, begin) = (self.server.cpu()?, Instant::now());
        let rate = work(self, slice)?;
        self.cpu += self.server.cpu()?.saturating_sub(before);
        self.done += rate * begin.elapsed().as_secs_f64();
        Ok(rate)
    }
}

type Work<'a> = dyn FnMut(&mut Sized, Duration) -> Res<f64> + 'a;

/// Each of the larger beside the smallest.
fn compare(bench: &mut Bench, what: &str, sized: &mut [Sized], work: &mut Work<'_>) -> Res<()> {
    let work = std::cell::RefCell::new(work);
    let Some((least, more)) = sized.split_first_mut() else { return Ok(()) };
    for sized in std::iter::once(&mut *least).chain(&mut *more) {
        (sized.cpu, sized.done) = (Duration::ZERO, 0.0);
    }
    let mut slices: Vec<_> =
        more.iter_mut().map(|sized| |slice| sized.slice(slice, &mut **work.borrow_mut())).collect();
    let mut works: Vec<&mut Slice<'_>> = slices.iter_mut().map(|slice| slice as &mut Slice<'_>).collect();
    let mut limit = |slice| least.slice(slice, &mut **work.borrow_mut());
    let series = alternate(bench.slicing, &mut limit, &mut works)?;
    drop(slices);
    let us = |sized: &Sized| figure(sized.cpu.as_secs_f64() * 1e6 / sized.done);
    for (sized, series) in more.iter().zip(series) {
        let dearer: Vec<f64> = series.ratios.iter().map(|ratio| 1.0 / ratio).collect();
        let (jobs, few) = (thousands(sized.jobs as f64), thousands(least.jobs as f64));
        let beside =
            format!("{}/s; processor {} us, with few {} us", thousands(median(&series.work)), us(sized), us(least));
        let name = format!("{what}, {jobs} pending over {few}");
        bench.row(Row::new(name, "x", &dearer, Target::AtMost(1.2)).beside(beside));
    }
    Ok(())
}
