//! One case: an application behind a remedy beside a fresh Envoy, and what became of it.
//!
//! Knows nothing of how it should end. Times are seconds since Envoy's start, which is also the application's.

use std::{
    process::Stdio,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use conngate_testbed::{
    clock::mono_ns,
    lab::{
        Answer, Cgroup, ControlPlane, Envoy, Namespace, Pod, Redirect, Upstream, client::Client, dns_proxy,
        envoy::virtual_outbound, process::Running, wait_until,
    },
};

use crate::{
    application::{self as applications, Application, NAME},
    oracle::{self, Ready},
    remedy::Remedy,
    talk::{self, Heard, Said},
};

/// Beyond the control plane's delay: far more than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What became of one application.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) application: Application,
    pub(crate) remedy: Remedy,
    /// When Envoy was given its listeners; it cannot be ready before.
    pub(crate) answered: f64,
    /// When Envoy was ready.
    pub(crate) ready: f64,
    /// How late that may be known.
    pub(crate) resolution: f64,
    /// When the application was started.
    pub(crate) started: f64,
    /// When it called connect().
    pub(crate) connecting: f64,
    pub(crate) end: End,
    /// The application's exit status, as the remedy handed it on; none when a signal ended it.
    pub(crate) exit: Option<i32>,
    /// What the upstream was reached at, as the application was told.
    pub(crate) greeting: Option<String>,
    pub(crate) gate: Option<Gate>,
}

/// How connect() ended, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum End {
    Connected(f64),
    Refused(f64),
}

/// What conngate said.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Gate {
    /// How many connections were held.
    pub(crate) held: usize,
    /// How long the first of them was held, seconds.
    pub(crate) held_seconds: f64,
    /// Why the gate was opened.
    pub(crate) opened: Option<String>,
}

impl Case {
    /// When connect() ended.
    pub(crate) fn ended(&self) -> f64 {
        match self.end {
            End::Connected(at) | End::Refused(at) => at,
        }
    }

    /// The application called connect() before Envoy could be ready; otherwise the case shows nothing.
    pub(crate) fn is_early(&self) -> bool {
        self.connecting < self.answered
    }

    /// How long after Envoy was ready the application was connected; zero where its word was heard before the oracle's.
    pub(crate) fn after_ready(&self) -> Option<f64> {
        match self.end {
            End::Connected(at) => Some((at - self.ready).max(0.0)),
            End::Refused(_) => None,
        }
    }
}

/// Runs the application once where it reaches nothing, so that no measured case is the one that reads it from the disk.
pub(crate) fn warm_up(application: Application) -> Result<()> {
    let words = application.command();
    let (program, arguments) = words.split_first().context("a command has a program")?;
    let mut command = Namespace::new()?.command(program);
    command.args(arguments).current_dir(applications::directory());
    // That it fails is its part.
    command.output().with_context(|| format!("cannot start {program}")).map(drop)
}

/// Runs one case to its end, and prints what is said in it.
pub(crate) fn run(application: Application, remedy: Remedy, delay: Duration) -> Result<Case> {
    let upstream = Upstream::start()?;
    let pod = Pod::new(&upstream)?;
    pod.redirect(&Redirect::default())?;
    let control_plane = ControlPlane::start(&pod, vec![virtual_outbound()], Answer::After(delay))?;
    let names = || -> Result<Client> {
        pod.redirect_dns()?;
        dns_proxy::start(&pod, &["never", &delay.as_secs_f64().to_string(), NAME])
    };
    let mut names = application.is_by_name().then(names).transpose()?;
    let cgroup = Cgroup::new()?;
    let words = remedy.command(application)?;
    let (program, arguments) = words.split_first().context("a command has a program")?;
    let mut command = pod.command(program);
    command
        .args(arguments)
        .current_dir(applications::directory())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    cgroup.join(&mut command)?;

    let zero = mono_ns();
    let envoy = Envoy::start(&pod, &control_plane)?;
    names.as_mut().map(Client::go).transpose()?;
    let mut process = Running::start(command)?;
    let (tell, heard) = mpsc::channel();
    let child = process.child();
    talk::listen(child.stdout.take().context("stdout is a pipe")?, talk::on_stdout, tell.clone());
    talk::listen(child.stderr.take().context("stderr is a pipe")?, talk::on_stderr, tell.clone());

    let deadline = delay + PATIENCE;
    let (ready, talk) = thread::scope(|scope| {
        let (namespace, control_plane) = (&pod, &control_plane);
        // The channel ends with the last who could say something, the oracle among them.
        let oracle = scope.spawn(move || oracle::ask(namespace, control_plane, deadline, &tell));
        let talk = hear(&heard, zero, deadline);
        (oracle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), talk)
    });
    let ready = ready.with_context(|| format!("Envoy's log ends:\n{}", tail(&envoy.log())))?;
    let status = wait_until(PATIENCE, "the application ends", || process.child().try_wait().ok().flatten())?;
    account(application, remedy, zero, ready, &talk?, status.code())
}

/// Prints and collects what is said, until all have ended who could say something.
fn hear(heard: &Receiver<Heard>, zero: u64, deadline: Duration) -> Result<Vec<Heard>> {
    let end = Instant::now() + deadline;
    let mut talk = Vec::new();
    loop {
        match heard.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(heard) => {
                if !heard.said.is_summary() {
                    eprintln!("    {:7.4} s  {}", since(zero, heard.at), heard.said);
                }
                talk.push(heard);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(talk),
            Err(RecvTimeoutError::Timeout) => bail!("the application has not ended after {deadline:?}"),
        }
    }
}

fn account(
    application: Application,
    remedy: Remedy,
    zero: u64,
    ready: Ready,
    talk: &[Heard],
    exit: Option<i32>,
) -> Result<Case> {
    let first =
        |is_it: fn(&Said) -> bool| talk.iter().find(|heard| is_it(&heard.said)).map(|heard| since(zero, heard.at));
    let connected = first(|said| matches!(said, Said::Connected)).map(End::Connected);
    let complained = first(|said| matches!(said, Said::Complaint(_))).map(End::Refused);
    Ok(Case {
        application,
        remedy,
        answered: since(zero, ready.answered),
        ready: since(zero, ready.at),
        resolution: ready.resolution.as_secs_f64(),
        started: first(|said| matches!(said, Said::Starting)).context("the application was not started")?,
        connecting: first(|said| matches!(said, Said::Connecting(_))).context("the application did not connect")?,
        end: connected.or(complained).context("the application said nothing of its connection")?,
        exit,
        greeting: talk.iter().find_map(|heard| match &heard.said {
            Said::Word(line) => line.strip_prefix("the upstream says ").map(str::to_owned),
            Said::Answered | Said::Ready | Said::Starting | Said::Connecting(_) | Said::Connected => None,
            Said::Complaint(_) | Said::Conngate(_) => None,
        }),
        gate: (remedy == Remedy::Conngate).then(|| gate(talk)),
    })
}

fn gate(talk: &[Heard]) -> Gate {
    let events = |kind: &'static str| {
        talk.iter().filter_map(move |heard| match &heard.said {
            Said::Conngate(event) if event["event"] == kind => Some(event),
            Said::Conngate(_) | Said::Answered | Said::Ready | Said::Starting => None,
            Said::Connecting(_) | Said::Connected | Said::Word(_) | Said::Complaint(_) => None,
        })
    };
    Gate {
        held: events("held").count(),
        held_seconds: events("ended").find_map(|event| event["held_seconds"].as_f64()).unwrap_or(0.0),
        opened: events("opened").find_map(|event| event["reason"].as_str()).map(str::to_owned),
    }
}

/// Seconds from `zero` to `at`, both nanoseconds.
fn since(zero: u64, at: u64) -> f64 {
    Duration::from_nanos(at.saturating_sub(zero)).as_secs_f64()
}

/// The start of Envoy's log is a list of all that it was built with.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}
