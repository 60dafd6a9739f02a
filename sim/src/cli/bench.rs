//! `sim bench`: how fast seeds go, beside what they should.

use super::{FAILED, WELL, complain, say};
use clap::Args;
use serde_json::json;
use sim::Script;
use sim::speed::{SEED_EVENTS, Speed, machines, rest, worlds};

/// Seeds of the Machine alone for each of the whole world: they take less.
const MACHINES: u64 = 20;
/// Of so many seeds of tier 1, one is run in tier 2: they take more.
const NETWORKED: u64 = 3;
/// So long the world at rest has nothing to do.
const REST_US: u64 = 4_000_000_000;
/// The targets: seeds of 500 events a second and core with the Machine alone and with the whole of tier 1, seeds of tier 2 a
/// second on all cores, simulated seconds a second of processor time.
const TARGETS: (f64, f64, f64, f64) = (10_000.0, 2_000.0, 200.0, 50_000.0);

/// How much to measure.
#[derive(Args)]
pub(crate) struct Bench {
    /// How many seeds of the whole world.
    #[arg(long, default_value_t = 600)]
    seeds: u64,
    /// The first one.
    #[arg(long, default_value_t = 0)]
    start: u64,
    /// JSON, one object a line.
    #[arg(long)]
    json: bool,
}

pub(crate) fn bench(args: &Bench) -> u8 {
    // What is measured first pays for cold caches.
    let _ = machines(args.start, args.seeds);
    let alone = machines(args.start, args.seeds * MACHINES);
    let whole = worlds(args.start, args.seeds, Script::Seed);
    let networked = worlds(args.start, (args.seeds / NETWORKED).max(1), Script::Networked);
    match (whole, networked, rest(REST_US)) {
        (Ok(whole), Ok(networked), Ok(rest)) => table(args, [alone, whole, networked, rest]),
        (Err(what), ..) | (_, Err(what), _) | (.., Err(what)) => {
            complain(args.json, format_args!("{what}"));
            return FAILED;
        }
    }
    WELL
}

fn table(args: &Bench, [alone, whole, networked, rest]: [Speed; 4]) {
    let each = |sum: u64, speed: Speed| sum as f64 / speed.seeds as f64;
    let rate = format!("seeds of {SEED_EVENTS} events a second and core");
    row(args, &format!("{rate}, the Machine alone"), alone.seeds_per_s(alone.events), Some(TARGETS.0));
    let counted = whole.seeds_per_s(whole.events);
    row(args, &format!("{rate}, the whole of tier 1, every step an event"), counted, Some(TARGETS.1));
    let counted = whole.seeds_per_s(whole.heard);
    row(args, &format!("{rate}, the whole of tier 1, what the driver is told an event"), counted, Some(TARGETS.1));
    row(args, "steps of a seed of tier 1", each(whole.events, whole), None);
    row(args, "of them told to the driver", each(whole.heard, whole), None);
    let cores = super::jobs(None);
    let what = format!("seeds of tier 2 a second, as they are: in a second of one core's time, times {cores} cores");
    row(args, &what, networked.seeds as f64 / networked.cpu_s * cores as f64, Some(TARGETS.2));
    row(args, "steps of a seed of tier 2", each(networked.events, networked), None);
    let busy = whole.simulated_per_s();
    row(args, "simulated seconds a second of processor time, the whole of tier 1, at work", busy, Some(TARGETS.3));
    let what = format!("as well, a calm world with nothing to do for {} simulated seconds", REST_US / 1_000_000);
    row(args, &what, rest.simulated_per_s(), Some(TARGETS.3));
}

fn row(args: &Bench, what: &str, value: f64, target: Option<f64>) {
    if args.json {
        let met = target.map(|target| value >= target);
        return say(format_args!("{}", json!({ "what": what, "value": value, "target": target, "met": met })));
    }
    let target = target.map(|target| {
        let met = if value >= target { "met" } else { "not met" };
        format!(" (target {target:.0}: {met})")
    });
    say(format_args!("{value:>10.0}  {what}{}", target.unwrap_or_default()));
}
