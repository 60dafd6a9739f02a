//! Calls on a file system, whichever it is, and what they answer.

use proptest::prelude::*;
use sprag_journal::fs::{File, Fs, Kind, Open};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// No file is longer, in bytes.
const LEN_MAX: u64 = 24;
const EISDIR: i32 = 21;
/// So many files are open at once.
const HANDLES: usize = 3;
pub(crate) const NAMES: [&str; 7] = ["a", "b", "d", "e", "d/a", "d/b", "none/a"];

#[derive(Clone, Debug)]
pub(crate) enum Call {
    Open { handle: usize, name: usize, how: Open },
    Close { handle: usize },
    Write { handle: usize, bytes: Vec<u8>, offset: u64 },
    Read { handle: usize, offset: u64, len: usize },
    Truncate { handle: usize, len: u64 },
    Sync { handle: usize },
    Rename { from: usize, to: usize },
    Remove { name: usize },
    CreateDir { name: usize },
    RemoveDir { name: usize },
    SyncDir { name: usize },
    Metadata { name: usize },
    List { name: usize },
}

pub(crate) fn call() -> impl Strategy<Value = Call> {
    let (name, handle, offset) = (0..NAMES.len(), 0..HANDLES, 0..LEN_MAX);
    let how =
        prop_oneof![Just(Open::Read), Just(Open::Create), Just(Open::Write), Just(Open::Replace), Just(Open::Share)];
    let bytes = prop::collection::vec(b'a'..=b'c', 1..8);
    prop_oneof![
        4 => (handle.clone(), name.clone(), how).prop_map(|(handle, name, how)| Call::Open { handle, name, how }),
        1 => handle.clone().prop_map(|handle| Call::Close { handle }),
        4 => (handle.clone(), bytes, offset.clone())
            .prop_map(|(handle, bytes, offset)| Call::Write { handle, bytes, offset }),
        4 => (handle.clone(), offset.clone(), 1..12_usize)
            .prop_map(|(handle, offset, len)| Call::Read { handle, offset, len }),
        1 => (handle.clone(), offset).prop_map(|(handle, len)| Call::Truncate { handle, len }),
        1 => handle.prop_map(|handle| Call::Sync { handle }),
        4 => (name.clone(), name.clone()).prop_map(|(from, to)| Call::Rename { from, to }),
        2 => name.clone().prop_map(|name| Call::Remove { name }),
        2 => name.clone().prop_map(|name| Call::CreateDir { name }),
        2 => name.clone().prop_map(|name| Call::RemoveDir { name }),
        1 => name.clone().prop_map(|name| Call::SyncDir { name }),
        2 => name.clone().prop_map(|name| Call::Metadata { name }),
        2 => name.prop_map(|name| Call::List { name }),
    ]
}

/// A file system, and what is open on it.
pub(crate) struct Side<'a, F: Fs> {
    pub(crate) fs: F,
    pub(crate) root: &'a Path,
    pub(crate) handles: BTreeMap<usize, F::File>,
}

impl<F: Fs> Side<'_, F> {
    /// Makes a call; what it answered, as text.
    pub(crate) fn call(&mut self, call: &Call) -> String {
        let path = |name: &usize| self.root.join(NAMES[*name]);
        match call {
            Call::Open { handle, name, how } => {
                // The real one lets a folder be opened, and says at the first read that it is one; nobody does anything between.
                let opened = match (how, self.fs.metadata(&path(name)).map(|found| found.kind)) {
                    (Open::Read, Ok(Kind::Dir)) => Err(io::Error::from_raw_os_error(EISDIR)),
                    _ => self.fs.open(&path(name), *how),
                };
                let said = told(opened.as_ref().map(|_| ()).map_err(clone));
                match opened {
                    Ok(file) => drop(self.handles.insert(*handle, file)),
                    Err(_) => drop(self.handles.remove(handle)),
                }
                said
            }
            Call::Close { handle } => {
                self.handles.remove(handle);
                String::new()
            }
            Call::Write { handle, bytes, offset } => self.with(*handle, |file| file.write_at(bytes, *offset)),
            Call::Read { handle, offset, len } => self.with(*handle, |file| {
                let mut buffer = vec![0; *len];
                let read = file.read_at(&mut buffer, *offset)?;
                buffer.truncate(read);
                Ok((buffer, file.len()?))
            }),
            Call::Truncate { handle, len } => self.with(*handle, |file| file.truncate(*len)),
            Call::Sync { handle } => self.with(*handle, |file| file.sync_data().and_then(|()| file.sync_all())),
            // Only files are renamed.
            Call::Rename { from, .. } if self.fs.metadata(&path(from)).is_ok_and(|found| found.kind == Kind::Dir) => {
                String::new()
            }
            Call::Rename { from, to } => told(self.fs.rename(&path(from), &path(to))),
            Call::Remove { name } => told(self.fs.remove(&path(name))),
            Call::CreateDir { name } => told(self.fs.create_dir(&path(name))),
            Call::RemoveDir { name } => told(self.fs.remove_dir(&path(name))),
            Call::SyncDir { name } => told(self.fs.sync_dir(&path(name))),
            Call::Metadata { name } => told(self.fs.metadata(&path(name)).map(|found| match found.kind {
                Kind::File => (Kind::File, found.len),
                kind @ (Kind::Dir | Kind::Other) => (kind, 0),
            })),
            Call::List { name } => told(self.fs.list(&path(name))),
        }
    }

    fn with<T: std::fmt::Debug>(&self, handle: usize, call: impl FnOnce(&F::File) -> io::Result<T>) -> String {
        self.handles.get(&handle).map_or_else(|| "not open".into(), |file| told(call(file)))
    }

    /// Everything that can be read.
    pub(crate) fn everything(&mut self) -> Vec<String> {
        let mut all: Vec<String> = vec![told(self.fs.list(self.root))];
        for name in 0..NAMES.len() {
            all.push(self.call(&Call::Metadata { name }));
            self.call(&Call::Open { handle: HANDLES, name, how: Open::Read });
            all.push(self.call(&Call::Read { handle: HANDLES, offset: 0, len: 2 * LEN_MAX as usize }));
        }
        all
    }
}

fn clone(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

fn told<T: std::fmt::Debug>(answer: io::Result<T>) -> String {
    match answer {
        Ok(value) => format!("{value:?}"),
        Err(error) => error.raw_os_error().map_or_else(|| error.to_string(), |number| format!("error {number}")),
    }
}
