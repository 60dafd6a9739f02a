//! What a power cut may leave on the medium.
//!
//! Invariant: every image given here is one that the assumptions of the module above allow, and with [`Tear`] as the only
//! measure of fineness, every one that they allow is given.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::disk::{Contents, DataOp, Disk, Inode, Node, apply_names};
use super::names::{Names, bytes, parent};

/// No more changes of names than this are enumerated at once: there are two to that power of subsets.
const NAME_OPS_MAX: usize = 12;

/// What a medium holds: folders and files. A plain value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Image {
    /// The folders.
    pub dirs: BTreeSet<PathBuf>,
    /// The files and their contents.
    pub files: BTreeMap<PathBuf, Rc<[u8]>>,
}

/// How finely a write that was not synced is torn when images are enumerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tear {
    /// Each write is there or not.
    Whole,
    /// Each write is cut into this many equal pieces (at most 8), of which any subset is there.
    Pieces(u32),
    /// As four pieces, and besides every prefix and every suffix, byte by byte.
    Bytes,
}

/// What became of one pending change of a file.
#[derive(Clone, Copy)]
enum Fate {
    Lost,
    Kept,
    /// Bytes from..to of a write; a length of `to` for a growth.
    Range(usize, usize),
    /// The pieces whose bits are set, of so many.
    Pieces {
        mask: u32,
        of: u32,
    },
}

fn apply_fate(contents: &mut Contents, op: &DataOp, fate: Fate) {
    match (fate, op) {
        (Fate::Lost, _) => {}
        (Fate::Kept, _) => contents.apply(op),
        (Fate::Range(from, to), DataOp::Write { offset, bytes }) => {
            contents.write(offset + from as u64, &bytes[from..to]);
        }
        (Fate::Pieces { mask, of }, DataOp::Write { offset, bytes }) => {
            for piece in (0..of).filter(|piece| mask & (1 << piece) != 0) {
                let at = |piece: u32| bytes.len() * piece as usize / of as usize;
                contents.write(offset + at(piece) as u64, &bytes[at(piece)..at(piece + 1)]);
            }
        }
        (Fate::Range(_, to), DataOp::Grow(_)) => contents.len = contents.len.max(to as u64),
        (Fate::Range(..) | Fate::Pieces { .. }, DataOp::SetLen(_)) | (Fate::Pieces { .. }, DataOp::Grow(_)) => {
            contents.apply(op);
        }
    }
}

fn fates(op: &DataOp, tear: Tear, len_before: u64) -> Vec<Fate> {
    let mut fates = vec![Fate::Lost, Fate::Kept];
    match (op, tear) {
        (_, Tear::Whole) | (DataOp::SetLen(_), _) => {}
        (DataOp::Grow(len), Tear::Pieces(_) | Tear::Bytes) => {
            let middle = u64::midpoint(len_before.min(*len), *len);
            fates.push(Fate::Range(0, middle as usize));
        }
        (DataOp::Write { bytes, .. }, Tear::Pieces(_) | Tear::Bytes) => {
            let of = match tear {
                Tear::Pieces(of) => of.min(8),
                Tear::Whole | Tear::Bytes => 4,
            };
            fates.extend((1..(1 << of) - 1).map(|mask| Fate::Pieces { mask, of }));
            if tear == Tear::Bytes {
                fates.extend((1..bytes.len()).map(|n| Fate::Range(0, n)));
                fates.extend((1..bytes.len()).map(|n| Fate::Range(n, bytes.len())));
            }
        }
    }
    fates
}

/// Every content that a file may have after a power cut.
fn variants(inode: &Inode, tear: Tear) -> Vec<Rc<[u8]>> {
    let mut states = vec![inode.durable.clone()];
    for op in &inode.pending {
        let fates = fates(op, tear, inode.durable.len);
        let branch = |state: &Contents| {
            let each = fates.iter().map(|fate| {
                let mut next = state.clone();
                apply_fate(&mut next, op, *fate);
                next
            });
            each.collect::<Vec<_>>()
        };
        states = states.iter().flat_map(branch).collect();
        let mut seen = BTreeSet::new();
        states.retain(|state| seen.insert((state.bytes.clone(), state.len)));
    }
    let settled = states.into_iter().map(|mut state| {
        state.settle();
        state.bytes
    });
    settled.collect::<BTreeSet<_>>().into_iter().map(Rc::from).collect()
}

impl Disk {
    /// The names whose folders are all there. A folder comes before what is in it, so one look at each is enough.
    fn reachable(&self, names: &Names) -> Vec<(PathBuf, Node)> {
        let mut kept = Vec::new();
        // The folders that are there and that lie above the name looked at.
        let mut above: Vec<&Path> = Vec::new();
        for (path, node) in names.iter() {
            let parent = parent(path);
            while above.last().is_some_and(|dir| dir.as_os_str().len() > parent.as_os_str().len()) {
                above.pop();
            }
            let inside = above.last().is_some_and(|dir| bytes(dir) == bytes(parent));
            if inside || self.roots.contains(path) {
                kept.push((path.clone(), node));
                if node == Node::Dir {
                    above.push(path);
                }
            }
        }
        kept
    }

    fn image_of(&self, names: &Names, contents: &mut dyn FnMut(usize) -> Rc<[u8]>) -> Image {
        let mut image = Image::default();
        for (path, node) in self.reachable(names) {
            match node {
                Node::Dir => _ = image.dirs.insert(path),
                Node::File(inode) => _ = image.files.insert(path, contents(inode)),
                // Whoever needs one makes it again.
                Node::Pipe | Node::Link(_) => {}
            }
        }
        image
    }

    /// The files right inside a folder as they surely are on the medium: nothing that is pending is kept.
    pub(super) fn durable_inside(&self, dir: &Path) -> Vec<(PathBuf, Rc<[u8]>)> {
        let is_root = |dir: &Path| self.roots.contains(dir);
        let mut above = dir.ancestors().scan(false, |done, dir| {
            let go_on = !*done;
            *done |= is_root(dir);
            go_on.then_some(dir)
        });
        if !above.all(|dir| is_root(dir) || self.durable_names.get(dir) == Some(Node::Dir)) {
            return Vec::new();
        }
        let files = self.durable_names.inside(dir).filter_map(|path| match self.durable_names.get(path)? {
            Node::File(inode) => Some((path.clone(), self.inodes.get(&inode)?.durable_bytes())),
            Node::Dir | Node::Pipe | Node::Link(_) => None,
        });
        files.collect()
    }

    pub(super) fn cached(&self) -> Image {
        self.image_of(&self.names, &mut |inode| self.cache(inode).into())
    }

    pub(super) fn images(&self, tear: Tear) -> BTreeSet<Image> {
        assert!(self.pending_names.len() <= NAME_OPS_MAX, "too many pending names to enumerate: draw instead");
        let contents: BTreeMap<usize, Vec<Rc<[u8]>>> =
            self.inodes.iter().map(|(number, inode)| (*number, variants(inode, tear))).collect();
        let mut images = BTreeSet::new();
        for subset in 0..1u32 << self.pending_names.len() {
            let mut names = self.durable_names.clone();
            for (i, op) in self.pending_names.iter().enumerate() {
                if subset & (1 << i) != 0 {
                    apply_names(&mut names, op);
                }
            }
            let mut partial = vec![self.image_of(&names, &mut |_| Rc::from([]))];
            for (path, node) in self.reachable(&names) {
                let Node::File(inode) = node else { continue };
                let with = |image: &Image| {
                    let each = contents[&inode].iter().map(|bytes| {
                        let mut image = image.clone();
                        image.files.insert(path.clone(), Rc::clone(bytes));
                        image
                    });
                    each.collect::<Vec<_>>()
                };
                partial = partial.iter().flat_map(with).collect();
            }
            images.extend(partial);
        }
        images
    }

    pub(super) fn draw(&self, chance: &mut dyn FnMut(u32) -> u32) -> Image {
        let mut names = self.durable_names.clone();
        for op in &self.pending_names {
            if chance(2) == 0 {
                apply_names(&mut names, op);
            }
        }
        self.image_of(&names, &mut |number| {
            let Some(inode) = self.inodes.get(&number) else { return Rc::from([]) };
            let fates: Vec<Fate> = inode.pending.iter().map(|op| draw_fate(op, chance)).collect();
            if fates.iter().all(|fate| matches!(fate, Fate::Lost)) {
                return inode.durable_bytes();
            }
            let mut contents = inode.durable.clone();
            inode.pending.iter().zip(fates).for_each(|(op, fate)| apply_fate(&mut contents, op, fate));
            contents.settle();
            contents.bytes.into()
        })
    }
}

fn draw_fate(op: &DataOp, chance: &mut dyn FnMut(u32) -> u32) -> Fate {
    let len = match op {
        DataOp::Write { bytes, .. } => bytes.len(),
        DataOp::Grow(_) | DataOp::SetLen(_) => 0,
    };
    match chance(4) {
        0 => Fate::Kept,
        1 => Fate::Lost,
        2 if len > 0 => Fate::Range(0, chance(len as u32 + 1) as usize),
        _ if len > 0 => Fate::Pieces { mask: chance(256), of: 8 },
        _ => Fate::Lost,
    }
}
