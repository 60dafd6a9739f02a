//! What the world of a seed is like: the pipeline, and how small everything is.
//!
//! **Invariant.** The pipeline is one that a user could write. Its times are short and its limits small, so that every
//! path (rotation, snapshot, forgetting, timeout, retry, reservation) is walked within simulated seconds. A job that
//! its script lets succeed has more attempts than the faults of one run can spoil.

use crate::chance::Chance;
use crate::fs::SimFs;
use crate::places::{Actor, Site};
use crate::producer::{INBOX, Producer, Shape};
use crate::trace::name_of;
use crate::world::{End, Fate, World};
use sprag_core::{Limits, QueueConfig, RetryPolicy};
use sprag_runtime::pipeline::{
    DiskLimits, Format, LOG_BYTES_MAX, Pipeline, QueueSpec, ServiceKind, ServiceSpec, SourceSpec,
};

/// The folder of the pipeline.
pub const DIR: &str = "/p";
/// No seed has more sources.
pub const SOURCES_MAX: u64 = 2;
/// After so many lives of sprag nothing goes wrong any more.
pub const LIVES_MAX: u32 = 8;
/// What the world could not do is tried again after so long.
pub const AGAIN_MS: u64 = 300;

/// Frames, segments and reserves of the journal: a few records rotate.
pub fn journal_limits(chance: &mut Chance) -> sprag_journal::Limits {
    sprag_journal::Limits {
        frame_bytes_max: 1500 + 500 * chance.below(Actor::World, Site::Pipeline, 4),
        segment_bytes_max: 500 + 1500 * chance.below(Actor::World, Site::Pipeline, 4),
        segment_bytes_min: 500,
        reserve_bytes: 8 * 1024,
        essential_bytes: 8 * 1024,
        room_bytes: 4 * 1024,
        fill_bytes: 1024 << chance.below(Actor::World, Site::Pipeline, 4),
    }
}

fn format(chance: &mut Chance, source: u8) -> Format {
    match chance.below(Actor::Producer(source), Site::Shape, 6) {
        0..3 => Format::JsonArray,
        3 | 4 => Format::JsonLines,
        _ => Format::Files,
    }
}

/// Whoever feeds the pipeline: one for each source, perhaps one for the drop-box, and rivals.
pub fn producers(chance: &mut Chance, fs: &SimFs, pipeline: &Pipeline) -> Vec<Producer> {
    let (mut producers, mut rivals) = (Vec::new(), Vec::new());
    for (source, spec) in (0..).zip(&pipeline.sources) {
        let actor = Actor::Producer(source);
        // Where a link leads to is watched only once it is there; what comes before the first watch is found by looking again.
        let may_be_linked = spec.format != Format::Files && !sprag_core::rescan_is_off();
        let linked = may_be_linked && chance.one_in(actor, Site::Linked, 5);
        producers.push(Producer::new(chance, fs.new_process(), source, Shape::Source(spec.format), linked));
        if spec.format != Format::Files && chance.one_in(actor, Site::Rival, 4) {
            rivals.push(Producer::rival(chance, fs.new_process(), source, spec.format, linked));
        }
    }
    if chance.one_in(Actor::Producer(INBOX), Site::Shape, 3) {
        producers.push(Producer::new(chance, fs.new_process(), INBOX, Shape::Inbox, false));
    }
    producers.append(&mut rivals);
    producers.iter().for_each(Producer::link);
    producers
}

fn services(chance: &mut Chance) -> Vec<ServiceSpec> {
    let mut below = |n| chance.below(Actor::World, Site::Services, n);
    let count = [0, 0, 1, 2][below(4) as usize];
    let service = |index: u8| ServiceSpec {
        name: format!("service {}", name_of(index)),
        command: vec!["serve".into()],
        kind: if below(2) == 0 { ServiceKind::Keep } else { ServiceKind::Oneshot },
        log_bytes_max: LOG_BYTES_MAX,
    };
    (0..count).map(service).collect()
}

/// Draws the pipeline of a seed.
pub fn pipeline(chance: &mut Chance) -> Pipeline {
    let formats = [0, 1].map(|source| format(chance, source));
    let services = services(chance);
    let bounds = [2, 3, 3, 4, 3].map(|n| chance.below(Actor::World, Site::Bounds, n) as usize);
    let mut below = |n| chance.below(Actor::World, Site::Pipeline, n);
    let sources = 1 + below(SOURCES_MAX);
    let one_queue = below(2) == 0;
    let queue_of = |source: u64| if one_queue { "a".to_owned() } else { name_of(source as u8).to_string() };
    let queues = (0..if one_queue { 1 } else { sources }).map(|index| QueueSpec {
        policy: QueueConfig {
            name: queue_of(index).into(),
            concurrency: 1 + below(3) as u16,
            timeout_ms: Some(1_500 + 500 * below(4)),
            grace_ms: 200,
            reserve_max: if below(2) == 0 { 0 } else { 16 },
            retry: RetryPolicy {
                attempts: 12,
                backoff_ms: 20 << below(4),
                factor_ppm: 1_500_000,
                max_ms: [1_000, 100][below(2) as usize],
                jitter_ppm: 100_000,
                permanent_exit_codes: vec![64],
            },
        },
        command: vec!["work".into()],
        output: (below(4) > 0).then(|| "out/{key}.json".into()),
        log_bytes_max: LOG_BYTES_MAX,
    });
    let queues = queues.collect();
    let sources = (0..sources).map(|index| {
        let (name, format) = (name_of(index as u8), formats[index as usize]);
        let (path, may_have_key) = match format {
            Format::JsonArray => (format!("{name}.json"), true),
            Format::JsonLines => (format!("{name}.jsonl"), true),
            Format::Files => (name.to_string(), false),
        };
        let key = (below(4) > 0 && may_have_key).then(|| "/id".into());
        SourceSpec { path: path.into(), format, queue: queue_of(index), key }
    });
    let sources = sources.collect();
    let running_max = 1 + below(4) as u16;
    let keep_jobs = [0, 3, 100][below(3) as usize];
    Pipeline {
        sources,
        limits: Limits {
            running_max,
            again_ms: AGAIN_MS,
            stall_ms: 1_200,
            // Few only where those that ended make room soon.
            jobs_max: if keep_jobs == 0 { [10_000_000, 2][bounds[0]] } else { 10_000_000 },
            keep_jobs,
            crashes_max: [10, 10, 3, 2][bounds[3]],
            keep_age_ms: [4_000, 1_000_000_000][below(2) as usize],
            ..Limits::default()
        },
        disk: DiskLimits {
            min_free_bytes: Some([0, 16 << 10, 64 << 10][below(3) as usize]),
            keep_log_bytes: Some([0, 100, 1 << 20][below(3) as usize]),
            keep_log_files: [2, 1_000][below(2) as usize],
            keep_log_age_ms: [3_000, 1_000_000_000][below(2) as usize],
            keep_bytes: None,
            keep_keys: [1_000, 2, 0][bounds[1]],
            keep_key_age_ms: [1_000_000_000, 1_000_000_000, 3_000][bounds[2]],
            flight_bytes: Some([64 << 10, 64 << 10, 24 << 10][bounds[4]]),
        },
        services,
        status_path: (below(2) == 1).then(|| "status".into()),
        stop_timeout_ms: 2_000,
        ..Pipeline::new(DIR.into(), queues)
    }
}

/// Whether a life that was asked to end ends sooner.
pub fn fate_of_a_stop(chance: &mut Chance) -> Option<Fate> {
    let end = match chance.below(Actor::World, Site::StopEnd, 5) {
        0..3 => return None,
        3 => End::Kill,
        _ => End::PowerCut,
    };
    let left = chance.span(Actor::World, Site::StopEnd, 1, 200) - 1;
    Some(Fate { left, syncs: false, end })
}

/// How and when a life of sprag ends, if it does: early in its recovery, or late; at any call, or at a sync.
pub fn fate(world: &mut World) -> Option<Fate> {
    // A disk that failed a sync is about to fail altogether: only a power cut shows what it kept.
    let failing = std::mem::take(&mut world.sync_lost);
    let end = match world.chance.below(Actor::World, Site::LifeEnd, 5) {
        _ if world.healed => return None,
        _ if failing => End::PowerCut,
        0 => return None,
        1 => End::Kill,
        2 | 3 => End::PowerCut,
        _ => End::Stop,
    };
    let syncs = world.chance.below(Actor::World, Site::LifeSteps, 2) == 1;
    let left = world.chance.span(Actor::World, Site::LifeSteps, 1, if syncs { 60 } else { 2_000 }) - 1;
    Some(Fate { left, syncs, end })
}
