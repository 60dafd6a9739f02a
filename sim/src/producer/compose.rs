//! What is written: which items, in which order, laid out how.
//!
//! **Invariant.** A state holds all items up to a number, but those that its owner took away; nobody writes anything that is no
//! item, apart from the rubbish that goes into the drop-box.

use super::{Habit, Producer, RIVAL_ITEMS, RUBBISH, Shape, TRIES_MAX, stands};
use crate::chance::Chance;
use crate::items;
use crate::places::Site;
use crate::trace::name_of;
use sprag_journal::fs::read_all;
use sprag_runtime::pipeline::Format;
use std::io;

impl Producer {
    pub(super) fn drop_name(&self, item: u16) -> String {
        if self.rubbish && item == 0 { "rubbish".into() } else { format!("{}-{item}", name_of(self.source)) }
    }

    /// What goes into the drop-box for an item.
    pub(super) fn drop(&self, item: u16) -> String {
        if self.rubbish && item == 0 {
            return RUBBISH.into();
        }
        let id = (self.source, item);
        let key = if self.keyed { format!(",\"key\":\"{}\"", items::file_name(id)) } else { String::new() };
        let priority = if item % 5 == 3 { 7 } else { 0 };
        format!("{{\"queue\":\"a\",\"payload\":{}{key},\"priority\":{priority}}}", items::text(id))
    }

    /// The bytes of the state: its items in a drawn order and layout, and in how many pieces they are written.
    pub(super) fn compose(&mut self, chance: &mut Chance) -> io::Result<()> {
        let actor = self.actor();
        let from = if self.habit == Habit::Appends && self.state > 0 { self.states[self.state - 1] } else { 0 };
        let mut order: Vec<u16> = match self.habit {
            Habit::Rival { .. } => self.beside_others()?,
            Habit::RivalAppends => vec![RIVAL_ITEMS + self.state as u16],
            Habit::Atomic | Habit::Careless | Habit::Appends if self.one_file_each() => vec![self.state as u16],
            Habit::Atomic | Habit::Careless | Habit::Appends => (from..self.states[self.state]).collect(),
        };
        if chance.below(actor, Site::Order, 2) == 1 {
            for at in (1..order.len()).rev() {
                order.swap(at, chance.below(actor, Site::Order, at as u64 + 1) as usize);
            }
        }
        let before = order.len();
        if self.shape == Shape::Source(Format::JsonArray) && !self.is_rival() && chance.one_in(actor, Site::Removes, 4)
        {
            order.retain(|_| chance.below(actor, Site::Removes, 3) != 1);
        }
        self.removes = order.len() < before;
        let texts = order.into_iter().map(|item| items::text((self.source, item)));
        let text = match self.shape {
            Shape::Source(Format::JsonArray) => {
                let (open, between, close) = match chance.below(actor, Site::Layout, 3) {
                    0 => ("[", ",", "]"),
                    1 => ("[\n  ", ",\n  ", "\n]\n"),
                    _ => (" [ ", " , ", " ] "),
                };
                format!("{open}{}{close}", texts.collect::<Vec<_>>().join(between))
            }
            Shape::Source(Format::JsonLines) => texts.map(|text| text + "\n").collect(),
            Shape::Source(Format::Files) => texts.collect(),
            Shape::Inbox => self.drop(self.state as u16),
        };
        self.bytes = text.into_bytes();
        self.written = 0;
        let pieces = if self.habit == Habit::RivalAppends { 1 } else { 1 + chance.below(actor, Site::Pieces, 4) };
        self.piece = self.bytes.len().div_ceil(pieces as usize);
        Ok(())
    }

    /// What stands in the file, and the rival's next item.
    fn beside_others(&mut self) -> io::Result<Vec<u16>> {
        let bytes = match read_all(&self.fs, &self.target(), stands::BYTES_MAX) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let found = items::of_array(&bytes).unwrap_or_default();
        if found.is_empty() && !bytes.is_empty() && self.tries < TRIES_MAX {
            self.tries += 1;
            return Err(io::Error::other("half-written"));
        }
        self.tries = 0;
        let mut order: Vec<u16> = found.into_iter().map(|(_, item)| item).collect();
        let own = RIVAL_ITEMS + self.state as u16;
        order.retain(|item| *item != own);
        order.push(own);
        Ok(order)
    }
}
