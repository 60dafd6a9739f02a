//! A file, whatever names it has: its bytes as they are seen, those on the medium, and the changes between the two.
//!
//! **Invariant.** What is given out as the medium's bytes is made once for each state of them.

use super::contents::{Contents, DataOp};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::rc::Rc;

#[derive(Debug, Default)]
pub(super) struct Inode {
    pub(super) cache: Vec<u8>,
    pub(super) durable: Contents,
    /// What of it counts, as it is given out; none since it changed.
    pub(super) durable_bytes: RefCell<Option<Rc<[u8]>>>,
    pub(super) pending: Vec<DataOp>,
    pub(super) blocks: BTreeSet<u64>,
    pub(super) handles: u32,
    pub(super) changed_ns: u64,
    /// The name that it has, or had last.
    pub(super) name: PathBuf,
}

impl Inode {
    /// What the medium holds.
    pub(super) fn durable_bytes(&self) -> Rc<[u8]> {
        let settled = || {
            let mut contents = self.durable.clone();
            contents.settle();
            contents.bytes.into()
        };
        Rc::clone(self.durable_bytes.borrow_mut().get_or_insert_with(settled))
    }
}
