//! The maps, and the ways that more than one hook goes into them.
//!
//! Capacities: one GATES entry per pod and a handful of CONTAINERS per pod (the kubelet's limit is a few hundred pods);
//! full maps fail the agent's write, and the pod stays ungated.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    bindings::BPF_SK_STORAGE_GET_F_CREATE,
    btf_maps::{Array, HashMap, PerCpuArray, RingBuf, SkStorage},
    helpers::generated::bpf_sk_storage_get,
    macros::btf_map,
};
use conngate_common::{
    counter::{DURATION_SLOTS, Helper, Program, SLOTS},
    gate::{AgentEntry, ContainerClass, ContainerEntry, GateEntry},
    hold::HoldRecord,
    id::CgroupId,
    record::ParkedRecord,
};

use crate::count;

#[btf_map]
pub static GATES: HashMap<u64, GateEntry, 4096> = HashMap::new();

#[btf_map]
pub static CONTAINERS: HashMap<u64, ContainerEntry, 16384> = HashMap::new();

#[btf_map]
pub static AGENT: Array<AgentEntry, 1> = Array::new();

#[btf_map]
pub static HOLDS: SkStorage<HoldRecord> = SkStorage::new();

#[btf_map]
pub static COUNTERS: PerCpuArray<u64, SLOTS> = PerCpuArray::new();

#[btf_map]
pub static HOLD_DURATION: PerCpuArray<u64, DURATION_SLOTS> = PerCpuArray::new();

/// 4 MiB: 10,000 connections, or 2,800 of the longest queries, that are parked before the agent runs once.
#[btf_map]
pub static EVENTS: RingBuf<ParkedRecord, { 1 << 22 }> = RingBuf::new();

/// What the agent says about itself.
#[inline(always)]
pub fn agent() -> Option<&'static AgentEntry> {
    AGENT.get(0)
}

/// A pod's gate, if the agent has said anything about the pod.
#[inline(always)]
pub fn gate(pod: CgroupId) -> Option<&'static GateEntry> {
    // SAFETY: the entry is read at once; an agent that replaces it in between leaves an entry of the same type behind.
    unsafe { GATES.get(pod.0) }
}

/// A container's class; the gate says what one is that nobody has told apart.
#[inline(always)]
pub fn class(gate: &GateEntry, container: CgroupId) -> ContainerClass {
    // SAFETY: the entry is read at once.
    let class = unsafe { CONTAINERS.get(container.0) }.map_or(gate.default_class, |entry| entry.class);
    ContainerClass::try_from(class).unwrap_or(ContainerClass::Exempt)
}

/// The hold record of `sk` (a full socket, not null), made when `create`.
#[inline(always)]
pub fn hold_record(sk: *mut c_void, create: bool, program: Program) -> Option<&'static mut HoldRecord> {
    let flags = if create { u64::from(BPF_SK_STORAGE_GET_F_CREATE) } else { 0 };
    let map = (&raw const HOLDS).cast_mut().cast();
    // SAFETY: the verifier proves that `sk` is a socket; the map is an sk_storage of HoldRecord.
    let record = unsafe { bpf_sk_storage_get(map, sk, core::ptr::null_mut(), flags) }.cast::<HoldRecord>();
    // SAFETY: null or storage that lives as long as the socket, which the running hook holds.
    let record = unsafe { record.as_mut() };
    if record.is_none() && create {
        count::failed(program, Helper::SkStorageGet);
    }
    record
}

/// The socket's cookie.
#[inline(always)]
pub fn cookie(ctx: &impl EbpfContext) -> u64 {
    // SAFETY: the context of a program type that has the helper.
    unsafe { aya_ebpf::helpers::bpf_get_socket_cookie(ctx.as_ptr()) }
}
