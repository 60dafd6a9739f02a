//! The content of the heartbeat file: how everything stands, as JSON.
//!
//! **Invariant.** Composed by the loop that does the work; each consumer has a counter of its progress, which moves only
//! when that consumer did. Fields may be added, never taken away: `docs/format.md` says what they mean.

use super::Driver;
use crate::request::QueueView;
use serde::Serialize;
use sprag_core::{Bug, Now, SourceId, Verdict, planted};

/// `status.json`.
#[derive(Serialize)]
struct Status<'a> {
    format: u32,
    at_ms: u64,
    health: &'static str,
    reasons: Vec<String>,
    /// Worth knowing, and nothing wrong.
    notes: Vec<String>,
    /// What stood in sprag.toml at the start.
    config_digest: String,
    seq: u64,
    durable_seq: u64,
    queues: Vec<QueueView>,
    sources: Vec<SourceStatus>,
    services: Vec<ServiceStatus<'a>>,
    journal: JournalStatus,
    snapshots: StoredStatus,
    logs: LogsStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<DiskStatus>,
}

#[derive(Serialize)]
struct JournalStatus {
    progress: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct StoredStatus {
    bytes: u64,
}

#[derive(Serialize)]
struct LogsStatus {
    attempts: u64,
    bytes: u64,
}

#[derive(Serialize)]
struct DiskStatus {
    free_bytes: u64,
    total_bytes: u64,
}

#[derive(Serialize)]
struct SourceStatus {
    path: String,
    progress: u64,
    /// Items on record.
    taken: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    fault: Option<String>,
    /// Why it is polled.
    #[serde(skip_serializing_if = "Option::is_none")]
    polled: Option<String>,
    /// It was never there so far, and is waited for.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    waiting: bool,
    /// Items whose content changed after they were taken.
    #[serde(skip_serializing_if = "is_zero")]
    changed: usize,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

#[derive(Serialize)]
struct ServiceStatus<'a> {
    name: &'a str,
    kind: &'static str,
    /// `waiting`, `starting`, `running`, `ended`.
    state: &'static str,
    restarts: u32,
    failing: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_exit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_start_at_ms: Option<u64>,
}

impl Driver {
    pub(super) fn status_json(&self, now: Now) -> Vec<u8> {
        let verdict = self.machine.verdict(now);
        let (health, reasons) = match &verdict {
            Verdict::Well => ("well", Vec::new()),
            _ if planted(Bug::FreshWhileStuck) => ("well", Vec::new()),
            Verdict::Degraded(reasons) => ("degraded", self.reason_texts(reasons)),
            Verdict::Stalled(reasons) => ("stalled", self.reason_texts(reasons)),
        };
        let sources = (0..=u16::try_from(self.pipeline.sources.len()).unwrap_or(u16::MAX)).map(|index| SourceStatus {
            path: self.source_name(index),
            progress: self.machine.health().source_progress(SourceId(index)).0.count,
            taken: self.intake.taken(index),
            fault: self.intake.complaint(index).map(|complaint| complaint.text.clone()),
            polled: self.intake.polled(index).map(str::to_owned),
            waiting: self.intake.is_waiting(index),
            changed: self.intake.changed(index),
        });
        let services = (0..).zip(&self.pipeline.services).filter_map(|(index, spec)| {
            let view = self.services.view(now, index)?;
            Some(ServiceStatus {
                name: &spec.name,
                kind: spec.kind.as_str(),
                state: view.state,
                restarts: view.restarts,
                failing: view.failing,
                last_exit: view.last_exit,
                next_start_at_ms: view.next_start_at_ms,
            })
        });
        let stored = self.space.stored();
        let (attempts, log_bytes) = self.kept.counts();
        let status = Status {
            format: 1,
            at_ms: now.wall.0,
            health,
            reasons,
            notes: self.notes(),
            config_digest: self.pipeline.config_digest.to_string(),
            seq: self.machine.last_seq().0,
            durable_seq: self.machine.durable_seq().0,
            queues: self.queue_views().collect(),
            sources: sources.collect(),
            services: services.collect(),
            journal: JournalStatus { progress: self.machine.health().journal().count, bytes: stored.journal_bytes },
            snapshots: StoredStatus { bytes: stored.snapshot_bytes },
            logs: LogsStatus { attempts, bytes: log_bytes },
            disk: self.space.room().map(|room| DiskStatus { free_bytes: room.free, total_bytes: room.total }),
        };
        let mut json = serde_json::to_vec_pretty(&status).unwrap_or_default();
        json.push(b'\n');
        json
    }
}
