//! `conngate run`: gates one command on this machine.
//!
//! Knows nothing of Kubernetes. The order is the point: whatever can fail comes before CMD is started, so that a failure
//! leaves nothing attached; once CMD runs, nothing that fails here stops it.
//!
//! Who looks after what: the programs hang on the scope (CMD's cgroup) by descriptors that this process and the keeper
//! share. A killed conngate leaves the keeper, which removes the scope when CMD's last process is gone.

mod command;
mod keeper;
mod options;
mod report;
mod signals;

use std::{num::NonZeroU32, time::Duration};

use anyhow::Context as _;
use conngate_common::{counter::Program, gate::ContainerClass};
use conngate_core::{
    node::What,
    pod::{Ask, Pod},
};

pub use self::options::Options;
use self::{command::Gated, keeper::Keeper, report::Reporter, signals::Signals};
use crate::{
    bpf::{features::Lack, load, load::Loaded, object::Object, records::Ring},
    capabilities,
    driver::{Driver, Settings},
    errors::error_chain,
    exit::Exit,
    metrics::Recorded,
    net::netns::{Netns, NetnsWorker},
    proc::{hierarchy::Hierarchy, scope::Scope},
    shortage::Shortages,
    spec::GateSpec,
    uid::PodUid,
};

/// The programs: the listener hook, which goes to the top of the hierarchy, and those that go to CMD's cgroup, the last three
/// only where lookups are held.
const PROGRAMS: [Program; 8] = [
    Program::Listen,
    Program::SockOps,
    Program::Egress,
    Program::Connect4,
    Program::Connect6,
    Program::SetSockOpt,
    Program::SendMsg4,
    Program::SendMsg6,
];
const WITHOUT_DNS: usize = 5;

/// Runs CMD and ends as it ends.
#[must_use]
pub fn run(options: Options) -> Exit {
    match prepare(&options).and_then(Prepared::run) {
        Ok(exit) => exit,
        Err(error) => {
            report::failed(options.common.output, &error);
            Exit::Failed
        }
    }
}

/// Everything that exists before the first thread is started.
struct Prepared {
    options: Options,
    spec: GateSpec,
    hierarchy: Hierarchy,
    scope: Scope,
    loaded: Loaded,
    ring: Ring,
    signals: Signals,
    keeper: Keeper,
}

fn prepare(options: &Options) -> anyhow::Result<Prepared> {
    let spec = options.spec()?;
    capabilities::require()?;
    let hierarchy = Hierarchy::find()?;
    let object = Object::open(options.common.programs.bpf_object.as_deref())?;
    let programs = if options.dns_ports.is_empty() { &PROGRAMS[..WITHOUT_DNS] } else { &PROGRAMS };
    let log_level = options.common.programs.bpf_log;
    let (mut loaded, ring) = load::load(&object, &load::Options { programs, log_level, ..Default::default() })?;
    let scope = Scope::create(&hierarchy.own()?)?;
    let started = || -> anyhow::Result<_> {
        loaded.attach(&programs[1..], scope.path(), &hierarchy.mount)?;
        let signals = Signals::block()?;
        Ok((signals, Keeper::start(&scope)?))
    }();
    match started {
        Ok((signals, keeper)) => {
            Ok(Prepared { options: options.clone(), spec, hierarchy, scope, loaded, ring, signals, keeper })
        }
        Err(error) => {
            drop(loaded);
            scope.remove()?;
            Err(error)
        }
    }
}

impl Prepared {
    fn run(mut self) -> anyhow::Result<Exit> {
        // After the keeper's fork, so that only this process holds it: it watches listeners of the whole machine.
        self.loaded.attach(&PROGRAMS[..1], &self.hierarchy.mount, &self.hierarchy.mount)?;
        for Lack { what, why, means } in self.loaded.left_out() {
            tracing::warn!(what, why, "{means}");
        }
        let (scope, keeper) = (self.scope, self.keeper);
        let session = Session { options: self.options, spec: self.spec, level: self.hierarchy.level(scope.path()) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
        let ended = runtime.block_on(session.serve(&scope, self.loaded, self.ring, self.signals));
        keeper.dismiss(&scope);
        ended
    }
}

/// One CMD behind its gate.
struct Session {
    options: Options,
    spec: GateSpec,
    level: u32,
}

impl Session {
    async fn serve(self, scope: &Scope, loaded: Loaded, ring: Ring, signals: Signals) -> anyhow::Result<Exit> {
        let worker = NetnsWorker::start(Shortages::default())?;
        let home = Netns::current(&worker)?;
        let settings = Settings {
            pod_levels: [self.level; 2],
            shared_parents: Default::default(),
            probe_budget: NonZeroU32::MAX,
            capture_ports: self.spec.capture_ports,
        };
        let runtime = tokio::runtime::Handle::current();
        let mut driver = Driver::new(loaded, ring, worker, settings, Recorded::new(), runtime)?;
        driver.command_appeared(scope.id()?, scope.path(), home, self.pod());
        let mut reporter = Reporter::new(&self.options);
        let mut signals = signals.listen()?;
        let mut gated = match Gated::start(&self.options.command, scope.door()?, signals.original()) {
            Ok(gated) => gated,
            Err(error) => return Ok(reporter.not_started(&self.options.command, &error)),
        };
        let exit = loop {
            tokio::select! {
                status = &mut gated.status => break status.context("CMD's status is lost")?,
                signal = signals.next() => gated.forward(signal?),
                turned = driver.turn() => turned?,
            }
            for fact in driver.facts() {
                if matches!(fact.what, What::Opened { .. }) {
                    driver.bpf().detach_listener_hook();
                }
                reporter.tell(&fact.what);
            }
        };
        // What the kernel told before CMD's end is still to be said.
        while let Ok(turned) = tokio::time::timeout(Duration::ZERO, driver.turn()).await {
            turned?;
        }
        driver.facts().iter().for_each(|fact| reporter.tell(&fact.what));
        match driver.bpf().counters.read() {
            Ok(counted) => reporter.summary(&counted),
            Err(error) => tracing::warn!(error = error_chain(&error), "no summary"),
        }
        Ok(command::exit(exit))
    }

    /// CMD as the core knows it: a pod of one cgroup.
    fn pod(&self) -> Pod {
        Pod {
            uid: PodUid::NIL,
            namespace: String::new(),
            name: String::new(),
            ask: Ask::Gate(Box::new(self.spec.clone())),
            containers: Vec::new(),
            unlisted: ContainerClass::Gated,
            ending: false,
            finished: false,
            remarks: Vec::new(),
        }
    }
}
