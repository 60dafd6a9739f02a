//! What signals mean: Ctrl-C, SIGTERM and SIGHUP drain, a second one ends what runs, a third one ends sprag itself; SIGQUIT
//! ends what runs at once; SIGUSR1 and SIGUSR2 mean nothing.
//!
//! **Invariant.** The signals are caught from the moment [`catch`] returns, and hearing them needs nothing of the loop: a
//! sprag that hangs can still be stopped by them. A hang-up that was ignored when we were started (`nohup`) stays ignored.

use crate::exit::Exit;
use crate::notice;
use crate::printer::Voice;
use sprag_handoff::{Level, Stop};
use sprag_runtime::live;
use std::io;
use std::sync::Arc;
use std::thread;
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What is listened to.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// None where it is ignored.
    hangup: Option<Signal>,
    quit: Signal,
    /// By default they would end us, and log rotation sends them to whoever writes.
    _nothing: [Signal; 2],
}

/// What was heard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// End, in good order.
    Drain,
    /// End what runs.
    Quit,
}

/// Raises `stop` at each signal from now on, and says what it means.
pub(crate) fn catch(stop: Arc<Stop>, voice: Voice, json: bool) -> io::Result<()> {
    let hangs_up = !live::sys::ignores_hangup()?;
    let runtime = Builder::new_current_thread().enable_io().build()?;
    let signals = {
        let _inside = runtime.enter();
        Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: if hangs_up { Some(signal(SignalKind::hangup())?) } else { None },
            quit: signal(SignalKind::quit())?,
            _nothing: [signal(SignalKind::user_defined1())?, signal(SignalKind::user_defined2())?],
        }
    };
    thread::Builder::new().name("signals".into()).spawn(move || listen(&runtime, signals, &stop, voice, json)).map(drop)
}

fn listen(runtime: &Runtime, mut signals: Signals, stop: &Stop, mut voice: Voice, json: bool) {
    let mut say = |text| voice.say(notice::stopping(live::now().wall, text, json));
    let mut heard = || {
        let Signals { interrupt, terminate, hangup, quit, _nothing } = &mut signals;
        runtime.block_on(async {
            let hung_up = async {
                match hangup {
                    Some(hangup) => hangup.recv().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = quit.recv() => Heard::Quit,
                _ = terminate.recv() => Heard::Drain,
                _ = interrupt.recv() => Heard::Drain,
                _ = hung_up => Heard::Drain,
            }
        })
    };
    if heard() == Heard::Drain {
        say("stopping: nothing new is started, what runs may finish; once more to end it");
        stop.raise(Level::Draining);
        heard();
    }
    say("stopping: ending what runs; once more to leave it to the next start");
    stop.raise(Level::Stopping);
    heard();
    std::process::exit(Exit::Interrupted.code().into());
}
