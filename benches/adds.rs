//! Durable adds over the socket, and commands that do nothing: rates beside what disk and kernel can do.

use crate::http::{Client, Clients, add_request, payload};
use crate::limits::{Appended, rate, spawn_two};
use crate::server::{Counts, Server};
use crate::slices::alternate;
use crate::table::{Row, Target, figure};
use crate::{Bench, Res};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// The command of every job that is to do nothing.
pub(crate) const NOTHING: &str = "/bin/true";
const CLIENTS: usize = 16;
const BULK_JOBS: usize = 1_000;
/// Jobs of one request in bulk: about a slice.
const STREAM_JOBS: u64 = 30_000;

pub(crate) fn config() -> String {
    format!("[queue.bench]\ncommand = [{NOTHING:?}]\nconcurrency = 2\n")
}

/// A sprag whose queue takes jobs and starts none.
pub(crate) fn paused(bench: &Bench, name: &str) -> Res<Server> {
    let mut server = Server::new(bench.dir.join(name), &config())?;
    server.pause()?;
    Ok(server)
}

/// What sprag spends on each job that is added, which no other program on the machine changes much.
struct Spent {
    cpu: Duration,
    jobs: u64,
}

impl Spent {
    fn begin(server: &mut Server) -> Res<Spent> {
        Ok(Spent { cpu: server.cpu()?, jobs: server.counts()?.ready })
    }

    fn end(self, server: &mut Server) -> Res<String> {
        let now = Spent::begin(server)?;
        let us = now.cpu.saturating_sub(self.cpu).as_secs_f64() * 1e6 / (now.jobs - self.jobs) as f64;
        Ok(format!("; sprag's processor time {} us", figure(us)))
    }
}

pub(crate) fn one_client(bench: &mut Bench) -> Res<()> {
    let (mut server, request) = (paused(bench, "one")?, add_request());
    let mut client = Client::connect(&server.state())?;
    let mut limit = Appended::new(&bench.dir, 1)?;
    let spent = Spent::begin(&mut server)?;
    let mut add = |slice| rate(slice, || client.add(&request).map(|()| 1));
    let series = alternate(bench.slicing, &mut |slice| limit.slice(slice), &mut [&mut add])?;
    let target = Target::AtLeast(0.9);
    bench.row(
        Row::ratio("durable add, 1 client", &series[0], "append + fdatasync", target).and(&spent.end(&mut server)?),
    );
    Ok(())
}

pub(crate) fn many_clients(bench: &mut Bench) -> Res<()> {
    let (mut server, request) = (paused(bench, "many")?, add_request());
    let mut clients = Clients::connect(&server.state(), CLIENTS)?;
    let mut limit = Appended::new(&bench.dir, CLIENTS)?;
    let spent = Spent::begin(&mut server)?;
    let mut add = |slice| clients.slice(&request, slice);
    let series = alternate(bench.slicing, &mut |slice| limit.slice(slice), &mut [&mut add])?;
    let target = Target::AtLeast(0.5);
    bench.row(
        Row::ratio("durable add, 16 clients", &series[0], "16 jobs per fdatasync", target)
            .and(&spent.end(&mut server)?),
    );
    Ok(())
}

pub(crate) fn bulk(bench: &mut Bench) -> Res<()> {
    let mut server = paused(bench, "bulk")?;
    let mut limit = Appended::new(&bench.dir, BULK_JOBS)?;
    let spent = Spent::begin(&mut server)?;
    let lines: String = (0..STREAM_JOBS).map(|n| format!("{{\"payload\":{}}}\n", payload(n))).collect();
    // A request is as long as it is; that is near a slice.
    let mut add = |_| Ok(STREAM_JOBS as f64 / server.control()?.stream(lines.as_bytes())?.as_secs_f64());
    let series = alternate(bench.slicing, &mut |slice| limit.slice(slice), &mut [&mut add])?;
    let target = Target::AtLeast(0.25);
    bench.row(
        Row::ratio("durable add in bulk, 1 stream", &series[0], "216 kB per fdatasync", target)
            .and(&spent.end(&mut server)?),
    );
    Ok(())
}

/// Jobs done a second, while sprag is let run for a slice.
pub(crate) fn done(server: &mut Server, slice: Duration) -> Res<f64> {
    server.thaw()?;
    let before = server.counts()?;
    let begin = std::time::Instant::now();
    sleep(slice);
    let after: Counts = server.counts()?;
    let done = (after.succeeded - before.succeeded) as f64 / begin.elapsed().as_secs_f64();
    server.freeze()?;
    if after.ready == 0 { Err("the jobs ran out".into()) } else { Ok(done) }
}

pub(crate) fn nothing_twice(bench: &mut Bench) -> Res<()> {
    let mut server = paused(bench, "nothing")?;
    server.fill(50_000, 0)?;
    server.resume()?;
    sleep(Duration::from_millis(200));
    server.freeze()?;
    let mut limit = |slice| spawn_two(Path::new(NOTHING), slice);
    let series = alternate(bench.slicing, &mut limit, &mut [&mut |slice| done(&mut server, slice)])?;
    let target = Target::AtLeast(0.8);
    bench.row(Row::ratio("no-op jobs, two at a time", &series[0], "posix_spawn two at a time", target));
    Ok(())
}
