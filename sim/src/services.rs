//! Services: processes that sprag keeps beside the jobs.
//!
//! **Invariant.** No service runs twice at a time, in whatever life it was started. When sprag is idle a oneshot has run in
//! this life, and one that is to be kept runs or ended so short a time ago that its backoff may last.

use crate::failure::Check;
use crate::marks::Mark;
use crate::places::{Actor, Site};
use crate::processes::{Process, Role};
use crate::trace::Kind;
use crate::world::{Due, World};
use sprag_core::Outcome;
use sprag_runtime::pipeline::ServiceKind;
use sprag_runtime::seams::SpawnSpec;

/// No backoff of a service is longer, with something to spare.
const BACKOFF_US: u64 = 70_000_000;

/// When a service last ran.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    life: u32,
    ended_us: Option<u64>,
}

impl World {
    /// A service is executed.
    pub(crate) fn serve(&mut self, index: u16, spec: &SpawnSpec) {
        let is_it = |role: Role| matches!(role, Role::Service { index: other, .. } if other == index);
        if self.processes.values().any(|process| is_it(process.role)) {
            let what = format!("service {index} is started while it still runs");
            self.fail(Check::ServicesHold.failed(what));
        }
        let before = self.served.insert(index, Served { life: self.life, ended_us: None });
        if before.is_some_and(|before| before.life == self.life) {
            self.mark(Mark::ServiceRestarted);
        }
        self.pids += 1;
        let pid = self.pids;
        let kind = self.pipeline.services.get(usize::from(index)).map(|service| service.kind);
        let manner = self.chance.below(Actor::World, Site::ServiceTime, 6);
        let ends = match (kind, manner) {
            (Some(ServiceKind::Keep), 0..=2 | 5) => None,
            (_, 3) => Some(Outcome::Exit(1)),
            (_, 4) => Some(Outcome::Signal(11)),
            (_, _) => Some(Outcome::Exit(0)),
        };
        let role = Role::Service { index, ends };
        let mut process = Process::new(Some((self.life, spec.child)), spec.nonce.clone(), spec.input.clone(), role);
        process.ignores_term = manner == 5;
        self.processes.insert(pid, process);
        self.note(Actor::Sprag, Kind::Act, format_args!("process {pid} is service {index}"));
        if ends.is_some() {
            let lasts_us = self.chance.span(Actor::World, Site::ServiceTime, 1_000, 3_000_000);
            self.schedule(lasts_us, Due::Process(pid));
        }
    }

    /// A service has ended.
    pub(crate) fn service_ended(&mut self, index: u16) {
        if let Some(served) = self.served.get_mut(&index) {
            served.ended_us = Some(self.now_us);
        }
    }

    /// Sprag is idle, and has been for a while.
    pub(crate) fn judge_services(&mut self) {
        for (index, spec) in (0..).zip(self.pipeline.services.clone()) {
            let served = self.served.get(&index).filter(|served| served.life == self.life);
            let holds = served.is_some_and(|served| match (spec.kind, served.ended_us) {
                (ServiceKind::Oneshot, ended_us) => ended_us.is_some(),
                (ServiceKind::Keep, None) => true,
                (ServiceKind::Keep, Some(ended_us)) => self.now_us < ended_us + BACKOFF_US,
            });
            if !holds {
                let what = format!("{} ({:?}) has not run as it should: {served:?}", spec.name, spec.kind);
                self.fail(Check::ServicesHold.failed(what));
            }
        }
    }

    /// Sprag has ended by itself, and nothing goes wrong: its services have, too.
    pub(crate) fn judge_services_down(&mut self) {
        let lives = |process: &&Process| matches!(process.role, Role::Service { .. }) && process.dying_us.is_none();
        if self.healed && self.processes.values().any(|process| lives(&process)) {
            self.fail(Check::ServicesHold.failed("sprag ends, and a service lives on"));
        }
    }
}
