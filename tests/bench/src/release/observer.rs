//! When Envoy listens, and when it first answers /ready with 200: as the kernel saw it, not as somebody was woken.
//!
//! Knows nothing of who waits for it. It does the same in every run, whoever waits: sleeps until the kernel announces
//! Envoy's listener, then asks at once, over a connection that exists already. So it costs no processor time before, and
//! nobody can ask earlier: Envoy's main thread, which also answers, listens just before it is ready. The answer's time
//! is that of its arrival in the kernel (SO_TIMESTAMPNS).

use std::{
    io::{IoSliceMut, Write as _},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::fd::AsRawFd as _,
    sync::mpsc::Sender,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use conngate::{
    bpf::{
        load,
        load::Loaded,
        object::Object,
        records::{KernelRecord, Records},
    },
    proc::hierarchy::Hierarchy,
};
use conngate_common::counter::Program;
use conngate_testbed::{
    clock::mono_ns,
    lab::{Cgroup, envoy::ADMIN_PORT},
};
use nix::{
    sys::{
        socket::{ControlMessageOwned, MsgFlags, recvmsg, setsockopt, sockopt::ReceiveTimestampns},
        time::TimeSpec,
    },
    time::{ClockId, clock_gettime},
};
use tokio::{runtime, time::timeout};

use crate::entries;

/// Far beyond any run.
const PATIENCE: Duration = Duration::from_secs(30);

/// Moments of CLOCK_MONOTONIC, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// Envoy's first listen() on the capture port.
    pub(super) listening: u64,
    /// The first 200.
    pub(super) ready: u64,
    /// The oracle's connect() returned.
    pub(super) connected: Option<u64>,
}

/// The listener hook of its own copy of the programs, on Envoy's cgroup.
pub(super) struct Observer {
    records: Records,
    runtime: runtime::Runtime,
    _loaded: Loaded,
}

impl Observer {
    /// Observes what listens in `envoy`.
    pub(super) fn new(envoy: &Cgroup) -> Result<Self> {
        let (mut loaded, ring) = load::load(&Object::open(None)?, &load::Options::default())?;
        loaded.maps.write_agent(entries::agent(Hierarchy::find()?.level(envoy.path())))?;
        loaded.attach(&[Program::Listen], envoy.path(), envoy.path())?;
        let runtime = runtime::Builder::new_current_thread().enable_all().build().context("no event loop")?;
        let records = {
            let _inside = runtime.enter();
            ring.listen()?
        };
        Ok(Self { records, runtime, _loaded: loaded })
    }

    /// Sees one Envoy become ready, from a thread in its namespace; `armed` is told once nothing can be missed. Where
    /// `oracle` is given, connects there at once: nobody can know earlier and do it faster.
    pub(super) fn watch(&mut self, armed: &Sender<()>, oracle: Option<SocketAddr>) -> Result<Seen> {
        let mut connection = ask_later()?;
        while self.listened(Duration::ZERO).is_some() {}
        armed.send(()).context("nobody waits for the observer")?;
        let listening = self.listened(PATIENCE).context("Envoy does not listen")?;
        let ready = loop {
            if let Some(ready) = ask(&connection)? {
                break ready;
            }
            connection = ask_later()?;
        };
        let connected = oracle.map(|destination| TcpStream::connect(destination).map(|_| mono_ns()));
        Ok(Seen { listening, ready, connected: connected.transpose().context("the oracle was wrong")? })
    }

    /// The first listen() that was not seen yet.
    fn listened(&mut self, patience: Duration) -> Option<u64> {
        let mut batch = Vec::new();
        let next = self.runtime.block_on(async { timeout(patience, self.records.next(&mut batch)).await });
        next.ok()?.ok()?;
        batch.into_iter().find_map(|record| match record {
            KernelRecord::Listening(record) => Some(record.header.at.0),
            KernelRecord::Parked(_) | KernelRecord::Datagram(_) | KernelRecord::Ended(_) => None,
        })
    }
}

fn ask_later() -> Result<TcpStream> {
    let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, ADMIN_PORT));
    let connection = TcpStream::connect(admin).context("Envoy's admin port does not answer")?;
    connection.set_read_timeout(Some(PATIENCE))?;
    setsockopt(&connection, ReceiveTimestampns, &true).context("no timestamps")?;
    Ok(connection)
}

/// When the answer came, if it was 200.
fn ask(mut connection: &TcpStream) -> Result<Option<u64>> {
    connection.write_all(b"GET /ready HTTP/1.1\r\nHost: bench\r\n\r\n")?;
    let mut answer = [0; 1024];
    let mut parts = [IoSliceMut::new(&mut answer)];
    let mut space = nix::cmsg_space!(TimeSpec);
    let message = recvmsg::<()>(connection.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let arrived = message.cmsgs()?.find_map(|message| {
        if let ControlMessageOwned::ScmTimestampns(at) = message { Some(Duration::from(at)) } else { None }
    });
    let length = message.bytes;
    if !answer[..length].starts_with(b"HTTP/1.1 200 ") {
        return Ok(None);
    }
    let Some(arrived) = arrived else { bail!("the kernel does not say when Envoy's answer came") };
    let ago = Duration::from(clock_gettime(ClockId::CLOCK_REALTIME)?).saturating_sub(arrived);
    Ok(Some(mono_ns().saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(0))))
}
