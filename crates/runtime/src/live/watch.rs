//! Change events of the real file system: inotify, on the folder that holds the file.
//!
//! **Invariant.** A change of an armed path's entry in its folder, made after `arm` returned, sets its mark, unless the
//! folder was moved away or replaced, and that sets it too. What is not seen is left to the rescan: a change behind a
//! symbolic link, or through a memory map. On a network file system arming fails, though what this machine changes is still
//! heard of.
//!
//! The folder is watched, not the file, because a file that is replaced takes its watch with it. inotify is used as it is:
//! one descriptor serves all paths, may be added to from any thread without a lock of ours, and is read on the loop, which
//! takes microseconds and saves a thread and its wake. Watches are not removed; the kernel drops them with their folder,
//! says so, and gives the same one for the same folder.

use super::network::{is_fuse, network};
use super::sys::watched;
use crate::changes::{Armed, Change, Watches, asked, split};
use crate::seams::Watch;
use rustix::fs::inotify::{self, CreateFlags};
use rustix::io::Errno;
use sprag_handoff::Mailbox;
use std::ffi::OsStr;
use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::Arc;
use std::task::Poll;
use tokio::io::unix::AsyncFd;

/// Bytes of events taken at once; a longer burst lets the loop turn between.
const READ_BYTES: usize = 16 << 10;
/// How many calls of `arm` can be on their way: each source has one task at a time, which arms each of its folders once.
const ARMED_MAX: usize = 1 << 21;
/// Why a sprag that began without an inotify instance cannot watch.
const NO_INSTANCE: &str =
    "no inotify instance was to be had; raise the sysctl fs.inotify.max_user_instances and start anew";

/// Arms paths, from any thread.
#[derive(Clone, Debug)]
pub struct LiveWatch {
    /// `None` where there is none to be had: every arming fails, and says why.
    inotify: Option<Arc<OwnedFd>>,
    armed: Arc<Mailbox<Armed>>,
}

/// Reads the events, on the loop.
#[derive(Debug)]
pub struct Events {
    inotify: AsyncFd<OwnedFd>,
    incoming: Arc<Mailbox<Armed>>,
    watches: Watches,
}

impl LiveWatch {
    /// A watch, and the reader that must run for as long as it is to be heard. To be called inside a tokio runtime.
    ///
    /// # Errors
    /// The system has no descriptor, or the user no inotify instance, to spare.
    pub fn new() -> io::Result<(LiveWatch, Events)> {
        let inotify = Arc::new(inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?);
        let armed = Arc::new(Mailbox::new(ARMED_MAX));
        let events = Events {
            inotify: watched(inotify.try_clone()?)?,
            incoming: Arc::clone(&armed),
            watches: Watches::default(),
        };
        Ok((LiveWatch { inotify: Some(inotify), armed }, events))
    }

    /// A watch that sees nothing: whoever arms it is told to look for himself.
    pub(super) fn blind() -> LiveWatch {
        LiveWatch { inotify: None, armed: Arc::new(Mailbox::new(ARMED_MAX)) }
    }
}

impl Watch for LiveWatch {
    /// The last component `*` stands for every name in the folder.
    fn arm(&self, index: u16, path: &Path) -> io::Result<()> {
        let (folder, name) = split(path)?;
        let inotify = self.inotify.as_deref().ok_or_else(|| io::Error::other(NO_INSTANCE))?;
        let watched = inotify::add_watch(inotify, folder, asked()).map_err(|error| explain(error, folder))?;
        let armed = Armed { index, path: path.to_owned(), folder: watched, name };
        self.armed.push(armed).map_err(|_| io::Error::other("the reader of change events has ended"))?;
        let system = rustix::fs::statfs(folder)?;
        match network(&system).or(is_fuse(&system).then_some("FUSE")) {
            Some(kind) => {
                let what = format!("{} is on a network file system ({kind})", folder.display());
                Err(io::Error::new(io::ErrorKind::Unsupported, format!("{what}: other machines' changes are not told")))
            }
            None => Ok(()),
        }
    }
}

impl Events {
    /// Calls `dirty` with the index of every path that may have changed, for as long as it is polled.
    ///
    /// # Errors
    /// Returns only when the kernel refuses to be read, which it has no reason to do.
    pub async fn run(mut self, dirty: impl Fn(u16)) -> io::Result<()> {
        loop {
            tokio::select! {
                biased;
                arrived = self.incoming.take() => match arrived {
                    Some(arrived) => self.arm(arrived),
                    None => return Ok(()),
                },
                ready = self.inotify.readable() => {
                    let mut ready = ready?;
                    let (changes, drained) = read(ready.get_inner())?;
                    if drained {
                        ready.clear_ready();
                    }
                    self.take_arrived().await;
                    self.watches.hear(&changes, &dirty);
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// What was armed before the events came must be known when they are looked at.
    async fn take_arrived(&mut self) {
        let arrived = poll_fn(|cx| Poll::Ready(self.incoming.poll_take(cx))).await;
        if let Poll::Ready(Some(arrived)) = arrived {
            self.arm(arrived);
        }
    }

    fn arm(&mut self, arrived: Vec<Armed>) {
        arrived.into_iter().for_each(|armed| self.watches.arm(armed));
    }
}

/// Some of the events that wait, and whether there were no more.
fn read(inotify: &OwnedFd) -> io::Result<(Vec<Change>, bool)> {
    let mut buffer = vec![MaybeUninit::uninit(); READ_BYTES];
    let mut reader = inotify::Reader::new(inotify, &mut buffer);
    let mut changes = Vec::new();
    loop {
        match reader.next() {
            Ok(event) => {
                let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                changes.push(Change::of(event.wd(), event.events(), name));
            }
            Err(Errno::INTR) => continue,
            Err(Errno::AGAIN) => return Ok((changes, true)),
            Err(error) => return Err(error.into()),
        }
        if reader.is_buffer_empty() {
            return Ok((changes, false));
        }
    }
}

fn explain(error: Errno, folder: &Path) -> io::Error {
    let hint = if error == Errno::NOSPC { " (raise the sysctl fs.inotify.max_user_watches)" } else { "" };
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("cannot watch {}: {error}{hint}", folder.display()))
}
