//! The two states of the simulated disk, and what lies between them.
//!
//! Invariant: the cached state is the durable one with all pending changes applied in order, except for what a failed sync
//! dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use sprag_journal::fs::{Open, Room};

pub(super) use super::contents::{Contents, DataOp};
use super::image::Image;
pub(super) use super::inode::Inode;
use super::names::{Names, bytes, parent};
use super::{errno, error};

/// With fewer inodes than this none is looked for that nobody can see.
const INODES_MIN: usize = 32;
const BLOCK_BYTES: u64 = 4096;
/// What a disk without a limit says that it has.
const UNLIMITED_BYTES: u64 = 1 << 40;

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Dir,
    File(usize),
    /// Nobody reads it: whoever tried would wait.
    Pipe,
    /// The file holds where it leads.
    Link(usize),
}

/// A change of names that is not durable yet: all of it or nothing.
pub(super) type NameOp = Vec<(PathBuf, Option<Node>)>;

#[derive(Debug, Default)]
pub(super) struct Disk {
    pub(super) inodes: BTreeMap<usize, Inode>,
    next_inode: usize,
    /// How many there were when those that nobody can see were last forgotten.
    inodes_kept: usize,
    /// Folders that were there from the beginning, outside any other: they are never lost.
    pub(super) roots: BTreeSet<PathBuf>,
    pub(super) names: Names,
    pub(super) durable_names: Names,
    pub(super) pending_names: Vec<NameOp>,
    budget_blocks: Option<u64>,
    used_blocks: u64,
    /// The file system's own clock: what changes is stamped with it.
    pub(super) clock_ns: u64,
    /// Files that somebody watches, and what has become of them.
    watched: BTreeSet<usize>,
    lost: Vec<Lost>,
}

/// What a watched file has lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Name(usize),
    All(usize),
}

impl Disk {
    pub(super) fn from_image(image: &Image) -> Disk {
        let mut disk = Disk::default();
        image.dirs.iter().for_each(|dir| _ = disk.names.insert(dir.clone(), Node::Dir));
        let is_root = |dir: &&PathBuf| dir.parent().is_none_or(|parent| !image.dirs.contains(parent));
        disk.roots = image.dirs.iter().filter(is_root).cloned().collect();
        for (path, bytes) in &image.files {
            let inode = disk.new_inode();
            disk.names.insert(path.clone(), Node::File(inode));
            let file = disk.inode(inode);
            file.cache = bytes.to_vec();
            file.name.clone_from(path);
            file.durable = Contents { bytes: bytes.to_vec(), len: bytes.len() as u64 };
            file.blocks = (0..(bytes.len() as u64).div_ceil(BLOCK_BYTES)).collect();
            disk.used_blocks += (bytes.len() as u64).div_ceil(BLOCK_BYTES);
        }
        disk.durable_names = disk.names.clone();
        disk
    }

    /// What the running system sees below a folder, on a disk of its own; nothing of it is durable there.
    pub(super) fn copied(&self, dir: &Path) -> Disk {
        let names = self.names.below(dir);
        let copied = |node| match node {
            Node::File(inode) | Node::Link(inode) => {
                Some((inode, Inode { cache: self.cache(inode).to_vec(), ..Inode::default() }))
            }
            Node::Dir | Node::Pipe => None,
        };
        Disk { inodes: names.nodes().filter_map(copied).collect(), names, ..Disk::default() }
    }

    pub(super) fn set_budget(&mut self, bytes: Option<u64>) {
        self.budget_blocks = bytes.map(|b| b / BLOCK_BYTES);
    }

    pub(super) fn squeeze(&mut self, free: Option<u64>) {
        self.budget_blocks = free.map(|bytes| self.used_blocks + bytes / BLOCK_BYTES);
    }

    pub(super) fn room(&self) -> Room {
        let total = self.budget_blocks.map_or(UNLIMITED_BYTES, |blocks| blocks * BLOCK_BYTES);
        Room { free: total.saturating_sub(self.used_blocks * BLOCK_BYTES), total }
    }

    pub(super) fn node(&self, path: &Path) -> Option<Node> {
        self.names.get(path)
    }

    fn inode(&mut self, inode: usize) -> &mut Inode {
        self.inodes.entry(inode).or_default()
    }

    fn new_inode(&mut self) -> usize {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        inode
    }

    /// Why there is nothing of that name: what should lead there may be no folder.
    pub(super) fn absent<T>(&self, path: &Path) -> io::Result<T> {
        match path.ancestors().skip(1).find_map(|above| self.node(above)) {
            Some(Node::File(_) | Node::Pipe | Node::Link(_)) => error(errno::ENOTDIR),
            Some(Node::Dir) | None => error(errno::ENOENT),
        }
    }

    fn in_a_dir(&self, path: &Path) -> io::Result<()> {
        match self.node(parent(path)) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_) | Node::Pipe | Node::Link(_)) => error(errno::ENOTDIR),
            None => self.absent(path),
        }
    }

    /// Makes something that is neither a file nor a folder: a pipe, or a link that leads there.
    pub(super) fn make_other(&mut self, path: &Path, leads_to: Option<&Path>) -> io::Result<()> {
        self.in_a_dir(path)?;
        if self.node(path).is_some() {
            return error(errno::EEXIST);
        }
        let node = leads_to.map_or(Node::Pipe, |to| {
            let inode = self.new_inode();
            let bytes = to.as_os_str().as_encoded_bytes().to_vec();
            self.inode(inode).cache.clone_from(&bytes);
            self.inode(inode).durable = Contents { len: bytes.len() as u64, bytes };
            Node::Link(inode)
        });
        self.change_names(vec![(path.to_owned(), Some(node))]);
        Ok(())
    }

    pub(super) fn read_link(&self, path: &Path) -> io::Result<PathBuf> {
        match self.node(path) {
            Some(Node::Link(inode)) => Ok(String::from_utf8_lossy(self.cache(inode)).into_owned().into()),
            Some(Node::Dir | Node::File(_) | Node::Pipe) => error(errno::EINVAL),
            None => self.absent(path),
        }
    }

    pub(super) fn changed_ns(&self, path: &Path) -> io::Result<u64> {
        match self.node(path) {
            Some(Node::File(inode)) => Ok(self.inodes.get(&inode).map_or(0, |file| file.changed_ns)),
            Some(Node::Dir | Node::Pipe | Node::Link(_)) => Ok(0),
            None => self.absent(path),
        }
    }

    /// The name that a file has, or had last.
    pub(super) fn last_name(&self, inode: usize) -> Option<PathBuf> {
        self.inodes.get(&inode).map(|file| file.name.clone())
    }

    fn changes(&mut self, inode: usize) {
        self.inode(inode).changed_ns = self.clock_ns;
    }

    pub(super) fn open(&mut self, path: &Path, how: Open) -> io::Result<usize> {
        let inode = match (self.node(path), how) {
            (Some(_), Open::Create) => return error(errno::EEXIST),
            (Some(Node::Dir), _) => return error(errno::EISDIR),
            (Some(Node::Pipe), _) => return error(errno::ENXIO),
            (Some(Node::Link(_)), _) => return error(errno::ELOOP),
            (Some(Node::File(inode)), Open::Read | Open::Write) => inode,
            (Some(Node::File(inode)), Open::Replace | Open::Share) => {
                self.truncate(inode, 0);
                inode
            }
            (None, Open::Read | Open::Write) => return self.absent(path),
            (None, Open::Create | Open::Replace | Open::Share) => {
                self.in_a_dir(path)?;
                let inode = self.new_inode();
                self.change_names(vec![(path.to_owned(), Some(Node::File(inode)))]);
                inode
            }
        };
        self.inode(inode).handles += 1;
        Ok(inode)
    }

    pub(super) fn close(&mut self, inode: usize) {
        let file = self.inode(inode);
        file.handles = file.handles.saturating_sub(1);
        self.free_if_unused(inode);
    }

    fn change_names(&mut self, op: NameOp) {
        for (path, node) in &op {
            if let Some(Node::File(inode)) = node {
                self.changes(*inode);
                self.inode(*inode).name.clone_from(path);
            }
            let before = match node {
                Some(node) => self.names.insert(path.clone(), *node),
                None => self.names.remove(path),
            };
            let renamed = node.is_none() && op.len() > 1;
            if let Some(Node::File(inode)) = before.filter(|before| *node != Some(*before) && !renamed) {
                self.loses(inode, Lost::Name(inode));
                self.free_if_unused(inode);
            }
        }
        self.pending_names.push(op);
    }

    /// Blocks of a file that nobody sees any more are free at once.
    fn free_if_unused(&mut self, inode: usize) {
        let watched = self.watched.contains(&inode);
        let to_be_freed = |file: &Inode| file.handles == 0 && (watched || !file.blocks.is_empty());
        let Some(file) = self.inodes.get_mut(&inode).filter(|file| to_be_freed(file)) else { return };
        // A file has one name.
        if self.names.get(&file.name) != Some(Node::File(inode)) {
            self.used_blocks -= file.blocks.len() as u64;
            file.blocks.clear();
            self.loses(inode, Lost::All(inode));
        }
    }

    fn loses(&mut self, inode: usize, lost: Lost) {
        if self.watched.contains(&inode) {
            self.lost.push(lost);
        }
    }

    /// What watched files have lost since this was last asked.
    pub(super) fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.lost)
    }

    /// From here on it is known what becomes of this file.
    pub(super) fn watch(&mut self, path: &Path) -> io::Result<usize> {
        match self.node(path) {
            Some(Node::File(inode)) => {
                self.watched.insert(inode);
                Ok(inode)
            }
            Some(Node::Dir | Node::Pipe | Node::Link(_)) => error(errno::EINVAL),
            None => self.absent(path),
        }
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (is, was) = (self.node(from), self.node(to));
        // Of what is there the folder is as well; folders are looked at first.
        if is.is_none() {
            self.in_a_dir(from)?;
        }
        if was.is_none() {
            self.in_a_dir(to)?;
        }
        match (is, was) {
            (None, _) => self.absent(from),
            // Neither folders nor pipes nor links are renamed here.
            (Some(Node::Dir | Node::Pipe | Node::Link(_)), _) => error(errno::EINVAL),
            (Some(Node::File(_)), Some(Node::Dir)) if from.starts_with(to) => error(errno::ENOTEMPTY),
            (Some(Node::File(_)), Some(Node::Dir)) => error(errno::EISDIR),
            (Some(node @ Node::File(_)), Some(Node::File(_) | Node::Pipe | Node::Link(_)) | None) => {
                self.change_names(vec![(from.to_owned(), None), (to.to_owned(), Some(node))]);
                Ok(())
            }
        }
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        match self.node(path) {
            Some(Node::File(_) | Node::Pipe | Node::Link(_)) => {
                self.change_names(vec![(path.to_owned(), None)]);
                Ok(())
            }
            Some(Node::Dir) => error(errno::EISDIR),
            None => self.absent(path),
        }
    }

    pub(super) fn create_dir(&mut self, path: &Path) -> io::Result<()> {
        self.in_a_dir(path)?;
        if self.node(path).is_some() {
            return error(errno::EEXIST);
        }
        self.change_names(vec![(path.to_owned(), Some(Node::Dir))]);
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        match self.node(path) {
            Some(Node::Dir) if self.names.inside(path).next().is_some() => error(errno::ENOTEMPTY),
            Some(Node::Dir) => {
                self.change_names(vec![(path.to_owned(), None)]);
                Ok(())
            }
            Some(Node::File(_) | Node::Pipe | Node::Link(_)) => error(errno::ENOTDIR),
            None => self.absent(path),
        }
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        match self.node(dir) {
            Some(Node::Dir) => {}
            Some(Node::File(_) | Node::Pipe | Node::Link(_)) => return error(errno::ENOTDIR),
            None => return self.absent(dir),
        }
        let mut names: Vec<OsString> =
            self.names.inside(dir).filter_map(|path| path.file_name().map(OsString::from)).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Makes the names in a folder durable, and whatever was done before to the same names elsewhere.
    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        match self.node(dir) {
            Some(Node::Dir) => {}
            Some(Node::File(_) | Node::Pipe | Node::Link(_)) => return error(errno::ENOTDIR),
            None => return self.absent(dir),
        }
        let dir = bytes(dir);
        let is_inside = |path: &Path| bytes(path).strip_prefix(dir).is_some_and(|_| bytes(parent(path)) == dir);
        let mut touched: BTreeSet<&[u8]> = BTreeSet::new();
        // Backwards.
        let mut settled = Vec::new();
        for (at, op) in self.pending_names.iter().enumerate().rev() {
            if op.iter().any(|(path, _)| is_inside(path) || touched.contains(bytes(path))) {
                touched.extend(op.iter().map(|(path, _)| bytes(path)));
                settled.push(at);
            }
        }
        let mut at = 0;
        let settles = |_: &mut NameOp| {
            at += 1;
            settled.pop_if(|settled| *settled + 1 == at).is_some()
        };
        for op in self.pending_names.extract_if(.., settles) {
            apply_names(&mut self.durable_names, &op);
        }
        self.forget_unreachable();
        Ok(())
    }

    /// Nobody can see them: they only take room, so they are looked for once there may be as many of them as of others.
    fn forget_unreachable(&mut self) {
        if self.inodes.len() < 2 * self.inodes_kept + INODES_MIN {
            return;
        }
        let pending = self.pending_names.iter().flatten().filter_map(|(_, node)| *node);
        let nodes = self.names.nodes().chain(self.durable_names.nodes()).chain(pending);
        let reachable: BTreeSet<usize> = nodes
            .filter_map(|node| match node {
                Node::File(inode) | Node::Link(inode) => Some(inode),
                Node::Dir | Node::Pipe => None,
            })
            .collect();
        self.inodes.retain(|inode, file| file.handles > 0 || reachable.contains(inode));
        self.inodes_kept = self.inodes.len();
    }

    pub(super) fn len(&self, inode: usize) -> u64 {
        self.inodes.get(&inode).map_or(0, |file| file.cache.len() as u64)
    }

    pub(super) fn cache(&self, inode: usize) -> &[u8] {
        self.inodes.get(&inode).map_or(&[], |file| &file.cache)
    }

    pub(super) fn read(&self, inode: usize, buffer: &mut [u8], offset: u64) -> usize {
        let cache = self.cache(inode);
        let from = (offset as usize).min(cache.len());
        let n = buffer.len().min(cache.len() - from);
        buffer[..n].copy_from_slice(&cache[from..from + n]);
        n
    }

    /// Has blocks for a range; says up to which offset there are some.
    fn allocate(&mut self, inode: usize, offset: u64, len: u64, all_or_nothing: bool) -> u64 {
        let end = offset + len;
        let wanted: Vec<u64> =
            (offset / BLOCK_BYTES..end.div_ceil(BLOCK_BYTES)).filter(|b| !self.cache_has_block(inode, *b)).collect();
        let free = self.budget_blocks.map_or(u64::MAX, |budget| budget.saturating_sub(self.used_blocks));
        let had = match (wanted.len() as u64 <= free, all_or_nothing) {
            (true, _) => wanted.len(),
            (false, true) => return offset,
            (false, false) => free as usize,
        };
        self.used_blocks += had as u64;
        self.inode(inode).blocks.extend(&wanted[..had]);
        wanted.get(had).map_or(end, |first_missing| (first_missing * BLOCK_BYTES).max(offset))
    }

    fn cache_has_block(&self, inode: usize, block: u64) -> bool {
        self.inodes.get(&inode).is_some_and(|file| file.blocks.contains(&block))
    }

    pub(super) fn write(&mut self, inode: usize, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let end = self.allocate(inode, offset, bytes.len() as u64, false);
        if end == offset && !bytes.is_empty() {
            return error(errno::ENOSPC);
        }
        let bytes = &bytes[..(end - offset) as usize];
        self.changes(inode);
        let file = self.inode(inode);
        if (file.cache.len() as u64) < end {
            file.cache.resize(end as usize, 0);
            file.pending.push(DataOp::Grow(end));
        }
        file.cache[offset as usize..end as usize].copy_from_slice(bytes);
        file.pending.push(DataOp::Write { offset, bytes: bytes.into() });
        Ok(bytes.len())
    }

    pub(super) fn truncate(&mut self, inode: usize, len: u64) {
        self.changes(inode);
        let file = self.inodes.entry(inode).or_default();
        let gone = file.blocks.split_off(&len.div_ceil(BLOCK_BYTES));
        self.used_blocks -= gone.len() as u64;
        if file.cache.len() as u64 != len {
            file.cache.resize(len as usize, 0);
            file.pending.push(DataOp::SetLen(len));
        }
    }

    pub(super) fn reserve(&mut self, inode: usize, offset: u64, len: u64) -> io::Result<()> {
        let end = self.allocate(inode, offset, len, true);
        if end < offset + len { error(errno::ENOSPC) } else { Ok(()) }
    }

    pub(super) fn punch(&mut self, inode: usize, offset: u64, len: u64) {
        let file = self.inodes.entry(inode).or_default();
        for block in offset.div_ceil(BLOCK_BYTES)..(offset + len) / BLOCK_BYTES {
            self.used_blocks -= u64::from(file.blocks.remove(&block));
        }
        let from = (offset as usize).min(file.cache.len());
        let to = ((offset + len) as usize).min(file.cache.len());
        if from < to {
            file.cache[from..to].fill(0);
            file.pending.push(DataOp::Write { offset: from as u64, bytes: vec![0; to - from].into() });
        }
    }

    /// Makes a file durable, or loses what was to be written.
    pub(super) fn sync(&mut self, inode: usize, lost: bool) {
        let file = self.inode(inode);
        if lost {
            file.pending.retain(|op| match op {
                DataOp::Write { .. } => false,
                DataOp::Grow(_) | DataOp::SetLen(_) => true,
            });
            return;
        }
        file.durable_bytes.take();
        for op in std::mem::take(&mut file.pending) {
            file.durable.apply(&op);
        }
        file.durable.settle();
    }
}

pub(super) fn apply_names(names: &mut Names, op: &NameOp) {
    for (path, node) in op {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}
