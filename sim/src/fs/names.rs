//! The names on a disk: a map from paths that compares bytes, not parts of paths.
//!
//! Invariant: the order is that of paths part by part, as `Path` compares them: an image, and a draw of one, depend on it. It
//! holds for absolute paths without `.`, `..` and doubled slashes, which are all that there are here; a slash at the end means
//! nothing.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::disk::Node;

/// A path's bytes with the separator as the least of all, so that comparing bytes is comparing parts.
type Key = Vec<u8>;

/// Longer paths are looked up by a key on the heap.
const SHORT_MAX: usize = 128;

#[derive(Clone, Debug, Default)]
pub(super) struct Names(BTreeMap<Key, (PathBuf, Node)>);

fn mapped(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

/// What counts of a path.
pub(super) fn bytes(path: &Path) -> &[u8] {
    let bytes = path.as_os_str().as_encoded_bytes();
    match bytes {
        [rest @ .., b'/'] if !rest.is_empty() => rest,
        _ => bytes,
    }
}

/// The folder that a path lies in; nothing for the root.
pub(crate) fn parent(path: &Path) -> &Path {
    let bytes = bytes(path);
    let end = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    // The root is its own separator.
    Path::new(OsStr::from_bytes(&bytes[..end.max(usize::from(bytes.len() > 1))]))
}

fn key(path: &Path) -> Key {
    bytes(path).iter().copied().map(mapped).collect()
}

/// Calls with the key of a path.
fn with_key<T>(path: &Path, act: impl FnOnce(&[u8]) -> T) -> T {
    let bytes = bytes(path);
    let mut short = [0; SHORT_MAX];
    match short.get_mut(..bytes.len()) {
        Some(place) => {
            place.iter_mut().zip(bytes).for_each(|(place, byte)| *place = mapped(*byte));
            act(place)
        }
        None => act(&key(path)),
    }
}

impl Names {
    pub(super) fn get(&self, path: &Path) -> Option<Node> {
        with_key(path, |key| self.0.get(key).map(|(_, node)| *node))
    }

    pub(super) fn insert(&mut self, path: PathBuf, node: Node) -> Option<Node> {
        let key = key(&path);
        let plain = if path.as_os_str().len() == key.len() { path } else { path.components().collect() };
        self.0.insert(key, (plain, node)).map(|(_, node)| node)
    }

    pub(super) fn remove(&mut self, path: &Path) -> Option<Node> {
        with_key(path, |key| self.0.remove(key).map(|(_, node)| node))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&PathBuf, Node)> {
        self.0.values().map(|(path, node)| (path, *node))
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> {
        self.0.values().map(|(_, node)| *node)
    }

    /// A folder and all that lies below it.
    pub(super) fn below(&self, dir: &Path) -> Names {
        let first = key(dir);
        let len = first.len();
        let below = self.0.range(first.clone()..).take_while(|(key, _)| key.starts_with(&first));
        let is_inside = |key: &Key| len < 2 || key.get(len).is_none_or(|byte| *byte == 0);
        Names(below.filter(|(key, _)| is_inside(key)).map(|(key, named)| (key.clone(), named.clone())).collect())
    }

    /// What lies right in a folder.
    pub(super) fn inside(&self, dir: &Path) -> impl Iterator<Item = &PathBuf> {
        let mut first = key(dir);
        // The root is its own separator.
        if first.last() != Some(&0) {
            first.push(0);
        }
        let len = first.len();
        let below = self.0.range(first.clone()..).take_while(move |(key, _)| key.starts_with(&first));
        below.filter(move |(key, _)| key.len() > len && !key[len..].contains(&0)).map(|(_, (path, _))| path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATHS: [&str; 10] = ["/", "/q", "/q/a", "/q/a/b", "/q/a-b", "/q/a.b/c", "/q/a0", "/q/b", "/q2", "/q2/a"];

    #[test]
    fn the_order_is_that_of_paths() {
        let mut names = Names::default();
        PATHS.iter().rev().for_each(|path| _ = names.insert(path.into(), Node::Dir));
        let mut sorted: Vec<PathBuf> = PATHS.iter().map(PathBuf::from).collect();
        sorted.sort();
        assert!(names.iter().map(|(path, _)| path).eq(&sorted), "{names:?}");
    }

    #[test]
    fn inside_is_what_has_it_for_its_parent() {
        let mut names = Names::default();
        PATHS.iter().for_each(|path| _ = names.insert(path.into(), Node::Dir));
        for dir in PATHS.map(Path::new) {
            let expected: Vec<_> =
                names.iter().map(|(path, _)| path).filter(|path| path.parent() == Some(dir)).collect();
            assert_eq!(names.inside(dir).collect::<Vec<_>>(), expected, "{}", dir.display());
        }
        assert_eq!((names.get(Path::new("/q/a/")), names.inside(Path::new("/q/a/")).count()), (Some(Node::Dir), 1));
        names.insert("/q/c/".into(), Node::Dir);
        assert_eq!(names.iter().find(|(path, _)| *path == Path::new("/q/c")).unwrap().0.as_os_str(), "/q/c");
        let long = PathBuf::from(format!("/q/{}", "x".repeat(2 * SHORT_MAX)));
        assert_eq!(names.get(&long), None);
        assert_eq!(names.insert(long.clone(), Node::File(1)), None);
        assert_eq!((names.get(&long), names.remove(&long)), (Some(Node::File(1)), Some(Node::File(1))));
    }
}
