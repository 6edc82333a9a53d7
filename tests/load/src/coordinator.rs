//! The coordinator: starts the workers, lets them begin each phase together, watches the server meanwhile,
//! adds up what they report, and writes it down.
//!
//! It opens no connection itself; one process or many, the way is the same.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use godwit_testclient::micros;

use crate::Outcome;
use crate::conduct::Conductor;
use crate::link::{Order, Tell, listen};
use crate::options::{Cli, Common};
use crate::output::{Phase, Reading};
use crate::progress::Progress;
use crate::server::{Asked, Machine, Sample, Syscalls, digest};

/// Time between two readings of the server, µs.
const READ_EVERY: u64 = 1_000_000;
/// Readings kept of a phase.
const READINGS_MAX: usize = 86_400;

/// What workers say, with their numbers.
type Told = Receiver<(usize, Tell)>;

/// One worker process.
struct Member {
    child: Child,
    stdin: ChildStdin,
    /// The phase that it waits to begin.
    ready: Option<String>,
    /// It has reported the running phase.
    reported: bool,
    measured: bool,
    progress: (u64, Option<u64>),
    ended: bool,
}

/// A phase under way.
struct Running {
    phase: Phase,
    machine: Machine,
    began: u64,
    status: Option<serde_json::Value>,
    /// The measured part is over: no more readings.
    frozen: bool,
}

struct Coordinator<'a> {
    common: &'a Common,
    scenario: &'static str,
    command: Vec<String>,
    members: Vec<Member>,
    told: Told,
    running: Option<Running>,
    start: Option<Sample>,
    ours_start: u64,
    syscalls: Syscalls,
    asked: Option<Asked>,
    progress: Progress,
    json: Option<File>,
    lines: Vec<serde_json::Value>,
    conductor: Conductor,
    next_reading: u64,
    all_well: bool,
}

/// Runs a scenario with as many workers as were asked for.
pub(crate) fn run(cli: &Cli) -> Outcome<()> {
    let json = cli.common.json.as_deref().map(|path| {
        let file = OpenOptions::new().create(true).append(true).open(path);
        file.map_err(|e| format!("--json {}: {e}", path.display()))
    });
    let json = json.transpose()?;
    let start = Sample::of(&cli.common.server_pid);
    if start.is_none() && !cli.common.server_pid.is_empty() {
        return Err(format!("--server-pid {:?}: there is no such process", cli.common.server_pid));
    }
    let syscalls = Syscalls::start(cli.common.syscalls, &cli.common.server_pid);
    let (members, told) = members(cli.common.processes())?;
    let mut coordinator = Coordinator {
        common: &cli.common,
        scenario: cli.scenario.name(),
        command: std::env::args().skip(1).collect(),
        members,
        told,
        running: None,
        start,
        ours_start: 0,
        syscalls,
        asked: cli.common.asked(),
        progress: Progress::new(),
        json,
        lines: Vec::new(),
        conductor: Conductor::new(&cli.scenario),
        next_reading: micros(),
        all_well: true,
    };
    let outcome = coordinator.turns();
    coordinator.progress.end();
    if let Some(dir) = &cli.common.report {
        println!("report: {}", crate::report::write(dir, &coordinator.lines)?.display());
    }
    outcome?;
    if coordinator.all_well { Ok(()) } else { Err("not all went well".into()) }
}

fn members(count: usize) -> Outcome<(Vec<Member>, Told)> {
    let exe = std::env::current_exe().map_err(|e| format!("finding this program: {e}"))?;
    let (to, told) = channel();
    let mut members = Vec::new();
    for index in 0..count {
        let mut child = Command::new(&exe)
            .args(["--worker", &format!("{index}/{count}")])
            .args(std::env::args_os().skip(1))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("starting a worker: {e}"))?;
        if let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) {
            listen(index, stdout, to.clone());
            members.push(Member {
                child,
                stdin,
                ready: None,
                reported: false,
                measured: false,
                progress: (0, None),
                ended: false,
            });
        }
    }
    Ok((members, told))
}

impl Drop for Member {
    fn drop(&mut self) {
        if !self.ended {
            // Its loop would also end by itself, at the next word to us.
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Coordinator<'_> {
    /// Until all workers have ended, or one failed.
    fn turns(&mut self) -> Outcome<()> {
        while self.members.iter().any(|member| !member.ended) {
            let wait = self.next_reading.saturating_sub(micros()).clamp(1_000, READ_EVERY);
            match self.told.recv_timeout(Duration::from_micros(wait)) {
                Ok((index, tell)) => self.tell(index, tell)?,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err("all workers are gone".into()),
            }
            if micros() >= self.next_reading {
                self.next_reading += READ_EVERY;
                self.read();
            }
        }
        Ok(())
    }

    fn tell(&mut self, index: usize, tell: Tell) -> Outcome<()> {
        let Some(member) = self.members.get_mut(index) else { return Ok(()) };
        match tell {
            Tell::Progress { done, total } => {
                member.progress = (done, total);
                let all = self.members.iter().map(|m| m.progress);
                let (done, total) = all.fold((0, Some(0)), |(a, b), (done, total)| {
                    (a + done, b.zip(total).map(|(b, total)| b + total))
                });
                self.progress.at(done, total.filter(|total| *total > 0));
            }
            Tell::Note(text) => self.progress.say(&text),
            Tell::Ready(phase) => {
                member.ready = Some(phase);
                if self.members.iter().all(|m| m.ready.is_some() || m.ended) {
                    return self.begin();
                }
            }
            Tell::Measured => {
                member.measured = true;
                if self.members.iter().all(|m| m.measured) {
                    self.freeze();
                }
            }
            Tell::Phase(tally) => {
                member.reported = true;
                if let Some(running) = &mut self.running {
                    running.phase.tally.merge(*tally);
                }
                if self.members.iter().all(|m| m.reported) {
                    return self.end();
                }
            }
            Tell::End(None) => member.ended = true,
            Tell::End(Some(_)) if member.ended => {}
            Tell::End(Some(error)) => return Err(error),
        }
        Ok(())
    }

    fn ours(&self) -> Option<Sample> {
        let pids: Vec<u32> = self.members.iter().map(|m| m.child.id()).collect();
        Sample::of(&pids)
    }

    fn reading(&self) -> Option<Reading> {
        let sample = Sample::of(&self.common.server_pid)?;
        Some(Reading { sample, syscalls: self.syscalls.so_far() })
    }

    fn read(&mut self) {
        let (reading, ours) = (self.reading(), self.ours());
        let Some(running) = self.running.as_mut().filter(|r| !r.frozen) else { return };
        let phase = &mut running.phase;
        if let (Some(last), Some(new)) = (phase.readings.last().copied(), reading) {
            // The last one before the end may follow another at once: rates between them would mean nothing.
            if new.sample.at.saturating_sub(last.sample.at) < READ_EVERY / 4 && phase.readings.len() > 1 {
                phase.readings.pop();
            }
        }
        if phase.readings.len() < READINGS_MAX {
            phase.readings.extend(reading);
            phase.ours.extend(ours);
        }
    }

    /// All workers are ready: the phase begins.
    fn begin(&mut self) -> Outcome<()> {
        let name = self.members.iter_mut().filter_map(|m| m.ready.take()).last().unwrap_or_default();
        let (order, other_name) = self.conductor.order(&name);
        let name = other_name.unwrap_or(name);
        let offered = if let Order::Load { rate, .. } = order { Some(rate) } else { None };
        if order != Order::Stop {
            self.progress.begin(&name);
            let phase = Phase {
                scenario: self.scenario.into(),
                name,
                label: self.common.label.clone(),
                processes: self.members.len(),
                offered,
                start: self.start,
                pids: self.common.server_pid.clone(),
                unmeasured: self.syscalls.unmeasured.clone(),
                ..Phase::default()
            };
            let status = self.asked.as_ref().and_then(Asked::status);
            let (machine, began) = (Machine::now(), micros());
            self.running = Some(Running { phase, machine, began, status, frozen: false });
            self.read();
            if self.ours_start == 0 {
                self.ours_start = self.ours().map_or(0, |s| s.rss);
            }
            self.next_reading = micros() + READ_EVERY;
        }
        let line = serde_json::to_string(&order).map_err(|e| e.to_string())?;
        for member in &mut self.members {
            (member.reported, member.measured, member.progress) = (false, false, (0, None));
            let told = writeln!(member.stdin, "{line}").and_then(|()| member.stdin.flush());
            told.map_err(|e| format!("a worker is gone: {e}"))?;
        }
        Ok(())
    }

    /// The measured part is over.
    fn freeze(&mut self) {
        self.read();
        let Some(running) = self.running.as_mut().filter(|r| !r.frozen) else { return };
        running.frozen = true;
        let now = Machine::now();
        let wall = micros().saturating_sub(running.began).max(1);
        #[allow(clippy::cast_precision_loss, reason = "figures for people")]
        let busy = now.busy.saturating_sub(running.machine.busy) as f64 / wall as f64;
        #[allow(clippy::cast_precision_loss, reason = "there are few cores")]
        let cores = crate::server::cores() as f64;
        running.phase.machine_busy = (busy / cores).min(1.0);
        running.phase.overflows = now.overflows.saturating_sub(running.machine.overflows);
        let status = self.asked.as_ref().and_then(Asked::status);
        running.phase.status = digest(running.status.as_ref(), status.as_ref());
    }

    /// All workers have reported.
    fn end(&mut self) -> Outcome<()> {
        self.freeze();
        self.progress.end();
        let Some(Running { mut phase, .. }) = self.running.take() else { return Ok(()) };
        phase.ours_start = self.ours_start;
        self.conductor.judge(&mut phase);
        self.all_well &= phase.ok() || self.conductor.tolerates(&phase);
        println!("{}", phase.human());
        self.conductor.remarks().iter().for_each(|line| println!("{line}"));
        let line = phase.json(&self.command);
        if let Some(file) = &mut self.json {
            writeln!(file, "{line}").map_err(|e| format!("writing the JSON file: {e}"))?;
        }
        self.lines.push(line);
        Ok(())
    }
}
