//! From a death to the first instruction of the job's next attempt: of the command, and of sprag.

use crate::server::Server;
use crate::slices::quantile;
use crate::stamp::{Stamps, now_ns};
use crate::table::{Row, Target, figure};
use crate::{Bench, Res};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

pub(crate) fn again(bench: &mut Bench) -> Res<()> {
    let dir = bench.dir.join("deaths");
    fs::create_dir_all(&dir)?;
    let mut stamps = Stamps::new(&dir)?;
    let config = format!(
        "[run]\ncrashes = 10000\n[queue.bench]\ncommand = [\"sh\", \"-c\", {:?}]\n\
         retry = {{ attempts = 1000000, backoff = \"1ms\", max = \"1ms\", jitter = 0.0 }}\n",
        format!("{}; exec sleep 600", stamps.command_line()?)
    );
    let mut server = Server::new(dir, &config)?;
    server.fill(1, 0)?;
    stamps.next_ns()?;
    let rounds = if bench.quick { 20 } else { 100 };
    let (mut of_command, mut of_sprag) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let command = command_of(&server)?;
        let begin_ns = now_ns();
        kill_process(command, Signal::KILL)?;
        of_command.push((stamps.next_after_ns(begin_ns)? - begin_ns) as f64 / 1e6);
    }
    for _ in 0..rounds / 10 {
        let begin_ns = server.kill_and_start()?;
        of_sprag.push((stamps.next_after_ns(begin_ns)? - begin_ns) as f64 / 1e9);
    }
    let beside =
        format!("p99 {}; a backoff of 1 ms and the start of a shell included", figure(quantile(&of_command, 0.99)));
    let target = Target::AtMost(10.0);
    bench.row(Row::new("command killed -> its job's next attempt", "ms", &of_command, target).beside(beside));
    let target = Target::AtMost(1.0);
    let beside = "kill -9, then a start at once; what the command left is killed first";
    bench.row(Row::new("sprag killed -> its job's next attempt", "s", &of_sprag, target).beside(beside));
    Ok(())
}

/// The one command that runs: the shell writes its stamp before it becomes what sleeps, and its number stays.
fn command_of(server: &Server) -> Res<Pid> {
    for task in fs::read_dir(format!("/proc/{}/task", server.pid()))? {
        let children = fs::read_to_string(task?.path().join("children"))?;
        if let Some(pid) = children.split_whitespace().next() {
            return Pid::from_raw(pid.parse()?).ok_or_else(|| "a process without a number".into());
        }
    }
    Err("no command runs".into())
}
