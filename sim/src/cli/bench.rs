//! `sim bench`: how fast seeds go, beside what they should.

use super::{FAILED, WELL, complain, say};
use clap::Args;
use serde_json::json;
use sim::speed::{SEED_EVENTS, Speed, machines, worlds};

/// Seeds of the Machine alone for each of the whole world: they take less.
const MACHINES: u64 = 20;
/// The targets: seeds a second with the Machine alone and with the whole of tier 1, simulated seconds a second.
const TARGETS: (f64, f64, f64) = (10_000.0, 2_000.0, 50_000.0);

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
    let whole = match worlds(args.start, args.seeds) {
        Ok(whole) => whole,
        Err(what) => {
            complain(args.json, format_args!("{what}"));
            return FAILED;
        }
    };
    let rate = |name: &str, speed: Speed, target: f64| {
        row(args, &format!("seeds of {SEED_EVENTS} events a second and core, {name}"), speed.seeds_per_s(), target);
    };
    rate("the Machine alone", alone, TARGETS.0);
    rate("the whole of tier 1", whole, TARGETS.1);
    row(args, "simulated seconds a second of processor time, the whole of tier 1", whole.simulated_per_s(), TARGETS.2);
    WELL
}

fn row(args: &Bench, what: &str, value: f64, target: f64) {
    if args.json {
        return say(format_args!(
            "{}",
            json!({ "what": what, "value": value, "target": target, "met": value >= target })
        ));
    }
    let met = if value >= target { "met" } else { "not met" };
    say(format_args!("{value:>10.0}  {what} (target {target:.0}: {met})"));
}
