//! The program that ships, built alone, so that no other package's features are in it.
//!
//! **Invariant.** It is built in a folder of its own, which is kept from run to run: only what has changed is built again.
//! Nothing waits for what it does, so none of it is optimised.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where it is. With symbols, which name the functions that are there; without the rest, which names what there might be.
pub(crate) fn sprag() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shipped");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--offline", "--quiet", "-p", "sprag"]);
    cargo.args(["--config", "profile.dev.package.'*'.opt-level=0", "--config", "profile.dev.opt-level=0"]);
    cargo.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/..")).env("CARGO_TARGET_DIR", &target);
    let built = cargo.env("CARGO_PROFILE_DEV_DEBUG", "0").output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    target.join("debug/sprag")
}
