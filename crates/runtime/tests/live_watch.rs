//! Which changes are heard of.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

mod live_common;

use live_common::{PATIENCE, runtime};
use sprag_runtime::live::LiveWatch;
use sprag_runtime::seams::Watch;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

struct Watched {
    dir: TempDir,
    watch: LiveWatch,
    dirty: UnboundedReceiver<u16>,
}

impl Watched {
    fn new() -> Watched {
        let (watch, events) = LiveWatch::new().unwrap();
        let (sender, dirty) = unbounded_channel();
        tokio::spawn(async move { events.run(|index| sender.send(index).unwrap()).await.unwrap() });
        Watched { dir: tempfile::tempdir().unwrap(), watch, dirty }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    async fn expect(&mut self, index: u16, what: &str) {
        let heard = tokio::time::timeout(PATIENCE, self.dirty.recv()).await;
        assert_eq!(heard.unwrap_or_else(|_| panic!("{what} was not heard of")), Some(index), "{what}");
        self.rest(index, what).await;
    }

    /// One change may come as several events, but all of one index.
    async fn rest(&mut self, index: u16, what: &str) {
        while let Ok(heard) = tokio::time::timeout(Duration::from_millis(30), self.dirty.recv()).await {
            assert_eq!(heard, Some(index), "{what}");
        }
    }

    async fn expect_nothing(&mut self, what: &str) {
        let heard = tokio::time::timeout(Duration::from_millis(50), self.dirty.recv()).await;
        assert!(heard.is_err(), "{what}: {heard:?}");
    }
}

#[test]
fn every_way_to_change_a_file_is_heard_of() {
    runtime().block_on(async {
        let mut world = Watched::new();
        let (file, temporary) = (world.path("ideas.json"), world.path("ideas.json.tmp"));
        world.watch.arm(3, &file).unwrap();
        world.expect_nothing("arming").await;

        fs::write(&file, "[1]").unwrap();
        world.expect(3, "a new file").await;
        for round in 0..3 {
            fs::write(&temporary, "[1, 2]").unwrap();
            world.expect_nothing("a temporary file").await;
            fs::rename(&temporary, &file).unwrap();
            world.expect(3, &format!("replacing the file, round {round}")).await;
        }
        fs::write(&file, "[3]").unwrap();
        world.expect(3, "writing in place").await;

        let mut open = OpenOptions::new().append(true).open(&file).unwrap();
        world.expect_nothing("opening").await;
        open.write_all(b"more").unwrap();
        world.expect(3, "writing without closing").await;
        drop(open);
        world.expect(3, "closing").await;

        fs::read(&file).unwrap();
        fs::read_dir(world.dir.path()).unwrap().for_each(drop);
        world.expect_nothing("reading").await;
        fs::rename(&file, world.path("old.json")).unwrap();
        world.expect(3, "moving it away").await;
        std::os::unix::fs::symlink(world.path("old.json"), &file).unwrap();
        world.expect(3, "linking to it").await;
        fs::remove_file(&file).unwrap();
        world.expect(3, "removing it").await;
    });
}

#[test]
fn each_hears_of_its_own_and_a_star_of_all() {
    runtime().block_on(async {
        let mut world = Watched::new();
        fs::create_dir(world.path("new")).unwrap();
        for (index, name) in [(1, "a"), (2, "b"), (7, "new/*")] {
            world.watch.arm(index, &world.path(name)).unwrap();
        }
        for (index, name) in [(1, "a"), (2, "b"), (1, "a"), (7, "new/x"), (7, "new/y")] {
            fs::write(world.path(name), name).unwrap();
            world.expect(index, name).await;
        }
        fs::write(world.path("c"), "c").unwrap();
        world.expect_nothing("a name that nobody armed").await;
        // Armed elsewhere too, it hears of both places.
        fs::create_dir(world.path("other")).unwrap();
        world.watch.arm(1, &world.path("other/z")).unwrap();
        for name in ["a", "other/z"] {
            fs::write(world.path(name), "again").unwrap();
            world.expect(1, name).await;
        }
    });
}

#[test]
fn two_may_watch_one_file() {
    runtime().block_on(async {
        let mut world = Watched::new();
        world.watch.arm(1, &world.path("a")).unwrap();
        world.watch.arm(2, &world.path("a")).unwrap();
        fs::create_dir(world.path("a")).unwrap();
        for index in [1, 2] {
            assert_eq!(
                tokio::time::timeout(PATIENCE, world.dirty.recv()).await.expect("both should hear"),
                Some(index)
            );
        }
    });
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    runtime().block_on(async {
        let world = Watched::new();
        let error = world.watch.arm(1, &world.path("missing/a")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("missing"), "{error}");
        fs::write(world.path("file"), "").unwrap();
        assert_eq!(world.watch.arm(1, &world.path("file/a")).unwrap_err().kind(), ErrorKind::NotADirectory);
        assert_eq!(world.watch.arm(1, &world.path("..")).unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_folder_that_is_replaced_is_heard_of_and_watched_again_when_armed_again() {
    runtime().block_on(async {
        let mut world = Watched::new();
        let file = world.path("folder/a");
        fs::create_dir(world.path("folder")).unwrap();
        world.watch.arm(1, &file).unwrap();
        fs::rename(world.path("folder"), world.path("old")).unwrap();
        world.expect(1, "moving the folder").await;
        fs::create_dir(world.path("folder")).unwrap();
        world.watch.arm(1, &file).unwrap();
        fs::write(&file, "new").unwrap();
        world.expect(1, "a file in the new folder").await;
        fs::write(world.path("old/a"), "old").unwrap();
        world.expect_nothing("a file in the old folder").await;

        fs::remove_file(&file).unwrap();
        world.expect(1, "removing the file").await;
        fs::remove_dir(world.path("folder")).unwrap();
        world.expect(1, "removing the folder").await;
    });
}

#[test]
fn lost_events_mark_everything() {
    runtime().block_on(async {
        let mut world = Watched::new();
        fs::create_dir(world.path("quiet")).unwrap();
        world.watch.arm(1, &world.path("a")).unwrap();
        world.watch.arm(2, &world.path("quiet/file")).unwrap();
        let limit: u32 = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
        if limit > 100_000 {
            eprintln!("skipped: this system queues {limit} events");
            return;
        }
        // Two names in turn, so that no event equals the one before it. Nothing reads meanwhile: one thread runs all.
        let file = |name: &str| OpenOptions::new().create(true).append(true).open(world.path(name)).unwrap();
        let mut files = [file("x"), file("y")];
        for _ in 0..limit {
            files.iter_mut().for_each(|file| file.write_all(b".").unwrap());
        }
        let quiet = async { while world.dirty.recv().await != Some(2) {} };
        tokio::time::timeout(PATIENCE, quiet).await.expect("what was quiet should be marked too");
    });
}
