//! Ctrl-C and SIGTERM: a first one drains, a second one ends what runs, a third one ends sprag itself.
//!
//! **Invariant.** The signals are caught from the moment [`catch`] returns, and hearing them needs nothing of the loop: a
//! sprag that hangs can still be stopped by them.

use crate::exit::Exit;
use crate::printer::Voice;
use sprag_handoff::{Level, Stop};
use std::io;
use std::sync::Arc;
use std::thread;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Raises `stop` at each signal from now on, and says what it means.
pub(crate) fn catch(stop: Arc<Stop>, voice: Voice) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let (interrupt, terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(move || listen(&runtime, interrupt, terminate, &stop, voice))
        .map(drop)
}

fn listen(runtime: &Runtime, mut interrupt: Signal, mut terminate: Signal, stop: &Stop, mut voice: Voice) {
    let mut heard = || {
        runtime.block_on(async {
            tokio::select! {
                biased;
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        });
    };
    heard();
    voice.say("stopping: nothing new is started, what runs may finish; once more to end it".into());
    stop.raise(Level::Draining);
    heard();
    voice.say("stopping: ending what runs; once more to leave it to the next start".into());
    stop.raise(Level::Stopping);
    heard();
    std::process::exit(Exit::Interrupted.code().into());
}
