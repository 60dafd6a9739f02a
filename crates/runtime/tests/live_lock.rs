//! One writer, in a folder that is safe to write to.

#![allow(clippy::unwrap_used, reason = "only tests are here")]

use rustix::fs::{FlockOperation, flock};
use sprag_runtime::live::{LockError, WriterLock, holder};
use sprag_runtime::pipeline::StateDir;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

fn pipeline() -> (TempDir, StateDir) {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::of(dir.path());
    (dir, state)
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn the_folder_is_made_for_us_alone() {
    let (_dir, state) = pipeline();
    let _lock = WriterLock::take(&state).unwrap();
    assert_eq!((mode(state.path()), mode(&state.lock())), (0o700, 0o600));
    assert_eq!(fs::read_to_string(state.lock()).unwrap(), format!("{{\"format\":1,\"pid\":{}}}\n", std::process::id()));
}

#[test]
fn a_second_writer_is_refused_and_told_who_is_first() {
    let (_dir, state) = pipeline();
    let lock = WriterLock::take(&state).unwrap();
    match WriterLock::take(&state) {
        Err(LockError::Held { dir, pid }) => assert_eq!((&*dir, pid), (state.path(), Some(std::process::id()))),
        other => panic!("{other:?}"),
    }
    let message = WriterLock::take(&state).unwrap_err().to_string();
    assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
    assert_eq!(fs::read_to_string(state.lock()).unwrap(), format!("{{\"format\":1,\"pid\":{}}}\n", std::process::id()));
    drop(lock);
    // A longer number of an earlier writer leaves nothing behind.
    fs::write(state.lock(), "4000000000\n").unwrap();
    let _lock = WriterLock::take(&state).unwrap();
    assert_eq!(fs::read_to_string(state.lock()).unwrap(), format!("{{\"format\":1,\"pid\":{}}}\n", std::process::id()));
}

#[test]
fn the_holder_is_known_without_disturbing_it() {
    let (_dir, state) = pipeline();
    assert_eq!(holder(&state).unwrap(), None);
    assert!(!state.path().exists(), "the question made a folder");
    let lock = WriterLock::take(&state).unwrap();
    assert_eq!(holder(&state).unwrap(), Some(std::process::id()));
    drop(lock);
    assert_eq!(holder(&state).unwrap(), None, "its number is still in the file, but it is gone");
    let _lock = WriterLock::take(&state).unwrap();
}

#[test]
fn who_only_asks_does_not_keep_a_writer_out() {
    let (_dir, state) = pipeline();
    drop(WriterLock::take(&state).unwrap());
    let asker = File::open(state.lock()).unwrap();
    flock(&asker, FlockOperation::NonBlockingLockShared).unwrap();
    std::thread::scope(|threads| {
        let writer = threads.spawn(|| WriterLock::take(&state).map(drop));
        #[expect(clippy::disallowed_methods, reason = "the asker is to hold its lock for a moment")]
        std::thread::sleep(Duration::from_millis(5));
        flock(&asker, FlockOperation::Unlock).unwrap();
        writer.join().unwrap().unwrap();
    });
}

#[test]
fn a_lock_ends_with_its_process() {
    let (_dir, state) = pipeline();
    drop(WriterLock::take(&state).unwrap());
    let mut other = Command::new("flock")
        .arg(state.lock())
        .args(["sh", "-c", "echo; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    assert!(matches!(WriterLock::take(&state), Err(LockError::Held { .. })));
    // `flock` itself holds it too, until its command has ended.
    drop(other.stdin.take());
    other.wait().unwrap();
    let _lock = WriterLock::take(&state).unwrap();
}

#[test]
fn a_lock_whose_file_was_removed_meanwhile_is_not_taken_for_the_lock() {
    let (_dir, state) = pipeline();
    let first = WriterLock::take(&state).unwrap();
    // The second opens the old file and waits; then the name goes to a new file, and the first lets go.
    std::thread::scope(|threads| {
        let second = threads.spawn(|| WriterLock::take(&state).unwrap());
        #[expect(clippy::disallowed_methods, reason = "the second is to find the lock taken")]
        std::thread::sleep(Duration::from_millis(5));
        let new = state.path().join("new");
        fs::write(&new, "").unwrap();
        fs::rename(&new, state.lock()).unwrap();
        drop(first);
        let _second = second.join().unwrap();
        assert_eq!(holder(&state).unwrap(), Some(std::process::id()), "the lock is on a file that nobody finds");
    });
}

#[test]
fn modes_of_the_folder_and_its_parent() {
    for (parent, state_mode, safe) in [
        (0o755, 0o700, true),
        (0o700, 0o750, true),
        (0o755, 0o755, true),
        (0o775, 0o700, true),
        (0o1777, 0o700, true),
        (0o777, 0o700, false),
        (0o757, 0o700, false),
        (0o755, 0o770, false),
        (0o755, 0o702, false),
        (0o755, 0o777, false),
        (0o755, 0o1777, false),
    ] {
        let (dir, state) = pipeline();
        fs::create_dir(state.path()).unwrap();
        chmod(state.path(), state_mode);
        chmod(dir.path(), parent);
        let taken = WriterLock::take(&state);
        match (&taken, safe) {
            (Ok(_), true) => assert_eq!(mode(state.path()), state_mode),
            (Err(LockError::Unsafe { reason, .. }), false) => {
                assert!(reason.contains("chmod"), "{reason}");
                assert!(!state.lock().exists(), "it was written into");
            }
            _ => panic!("parent {parent:o}, state {state_mode:o}: {taken:?}"),
        }
    }
}

#[test]
fn a_folder_that_is_a_link_or_a_file_is_refused() {
    let (dir, state) = pipeline();
    let elsewhere = dir.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, state.path()).unwrap();
    assert!(matches!(WriterLock::take(&state), Err(LockError::Unsafe { .. })));
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);

    let (_dir, state) = pipeline();
    fs::write(state.path(), "").unwrap();
    assert!(matches!(WriterLock::take(&state), Err(LockError::Unsafe { .. })));

    let (dir, state) = pipeline();
    fs::create_dir(state.path()).unwrap();
    let target = dir.path().join("target");
    symlink(&target, state.lock()).unwrap();
    assert!(matches!(WriterLock::take(&state), Err(LockError::Io { .. })));
    assert!(!target.exists());

    let state = StateDir::of(Path::new("/nonexistent/pipeline"));
    assert!(matches!(WriterLock::take(&state), Err(LockError::Io { .. })));
}

#[test]
fn a_folder_of_another_user_is_refused() {
    let (_dir, state) = pipeline();
    fs::create_dir(state.path()).unwrap();
    if chown(state.path(), Some(65_534), None).is_err() {
        eprintln!("skipped: only root can give a folder away");
        return;
    }
    match WriterLock::take(&state) {
        Err(LockError::Unsafe { reason, .. }) => assert!(reason.contains("65534"), "{reason}"),
        other => panic!("{other:?}"),
    }
}
