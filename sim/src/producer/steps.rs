//! When producers go on.
//!
//! **Invariant.** Who writes a source last does so alone: when nobody else who writes it has anything left to do.

use super::{Producer, Shape};
use crate::marks::Mark;
use crate::places::{Actor, Site};
use crate::trace::Kind;
use crate::world::{Due, World};
use sprag_core::{Bug, planted};
use sprag_runtime::pipeline::Format;
use sprag_runtime::task::INBOX as INBOX_SOURCE;

/// Who waits for another asks again after so long.
const WAITS_US: u64 = 200_000;

/// Files that change within one tick of the kernel bear the same time.
const KERNEL_TICK_MS: u64 = 4;

impl World {
    /// A producer goes on.
    pub fn producer_step(&mut self, index: usize) {
        if planted(Bug::SpareChoice) {
            self.chance.below(Actor::World, Site::Spare, 7);
            self.chance.below(Actor::Producer(0), Site::Spare, 7);
        }
        let (actor, source) = (self.producers[index].actor(), self.producers[index].source());
        let rival = |other: &Producer| other.is_rival() && other.source() == source;
        let has_rival = self.producers.iter().any(rival);
        let waits_for_rival = self.producers[index].begins_its_last()
            && self.producers.iter().any(|other| rival(other) && !other.is_done());
        // A drop-box is used by those who know that there is one.
        let waits_for_box = self.producers[index].shape() == Shape::Inbox && !self.opened;
        if waits_for_rival || waits_for_box {
            self.schedule(WAITS_US, Due::Producer(index));
            return;
        }
        // Stamps are as coarse as the kernel's tick, and go back with the calendar.
        self.fs.set_clock_ns(self.now().wall.0 / KERNEL_TICK_MS * KERNEL_TICK_MS * 1_000_000);
        let step = self.producers[index].step(&mut self.chance, self.now_us);
        if step.stands || has_rival {
            for producer in self.producers.iter_mut().filter(|producer| producer.source() == source) {
                producer.look(self.now_us);
            }
        }
        let producer = &self.producers[index];
        let (rival, lines) = (producer.is_rival(), producer.shape() == Shape::Source(Format::JsonLines));
        let removes = producer.has_removed();
        self.mark_if(rival && step.stands, if lines { Mark::RivalAppends } else { Mark::RivalWrites });
        self.mark_if(removes && step.stands, Mark::ItemsRemoved);
        let kind = if step.stands { Kind::Act } else { Kind::Step };
        self.note(actor, kind, format_args!("{}", step.what));
        if let Some(next_us) = step.next_us {
            self.schedule(next_us, Due::Producer(index));
        }
    }

    /// Power is back: everybody who writes begins again at what may be lost.
    pub(crate) fn producers_restart(&mut self) {
        for index in 0..self.producers.len() {
            let was_done = self.producers[index].is_done();
            self.producers[index].restart(self.fs.new_process(), self.now_us);
            if was_done && !self.producers[index].is_done() {
                let actor = self.producers[index].actor();
                let rest_us = self.chance.span(actor, Site::ProducerRest, 10, 3_000_000);
                self.schedule(rest_us, Due::Producer(index));
            }
        }
    }

    /// Sprag is about to look at a source or to watch it: at times whoever writes it goes on just then, while it is read, or
    /// before it is watched.
    pub(crate) fn hurry(&mut self, source: u16, first: bool) {
        for index in 0..self.producers.len() {
            let producer = &self.producers[index];
            let writes = match producer.shape() {
                Shape::Source(_) => source == 1 + u16::from(producer.source()),
                Shape::Inbox => source == INBOX_SOURCE,
            };
            let actor = producer.actor();
            let next = self.heap.iter().find(|(_, entry)| matches!(*entry.due, Due::Producer(of) if of == index));
            let next = next.map(|(key, _)| *key).filter(|_| writes);
            if let Some(key) = next
                && self.chance.one_in(actor, Site::Hurry, if first { 3 } else { 12 })
                && let Some(entry) = self.heap.remove(&key)
            {
                let at_us = self.now_us + self.chance.span(actor, Site::Hurry, 10, 10_000);
                self.heap.insert((at_us.min(key.0), key.1), entry);
            }
        }
    }
}
