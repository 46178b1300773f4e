//! The core: decides, for every gate, when it opens and which parked SYNs are sent again.
//!
//! Knows nothing of clocks, sockets, maps, tasks or Kubernetes. Time and events go in ([`Table::handle`],
//! [`Table::tick`]), effects and the next deadline come out ([`Table::poll_effect`], [`Table::next_deadline`]).
//!
//! How to drive it: hand over one event or a burst, poll effects until there are none, sleep until the next event or
//! the next deadline, tick. Replays are put together while effects are polled, so a burst of events makes one batch.
//!
//! Invariants:
//! - An effect states what should be, in the order in which it should become so; carrying one out twice does no harm.
//! - A gate stays open, unless it opened for a ready proxy that listens no longer (`regate`), its workload had declined and
//!   asks after all or begins anew, or one of the workload's containers starts after a timeout or after it opened for a
//!   listener; that of a workload that is being deleted stays open in any case.
//! - No SYN is replayed before its gate is written open: it would be dropped again. None is after its gate was closed
//!   again, or after its connection was reset.
//! - No connection is reset after its gate is open.
//! - At most one probe of a gate is under way. Whoever asks must answer, in the end with [`Answer::Unanswered`].
//! - Every copy of a parked SYN is given back exactly once: the connection ended, was given up, or was under way as its
//!   gate closed again; its gate retired, or was never known. A socket that parks again before has still one copy.
//! - Memory grows with gates and waiting connections, not with events.

mod effect;
mod event;
#[expect(clippy::module_inception, reason = "one gate, beside the table of all of them")]
mod gate;
mod pacing;
mod policy;
mod prober;
mod table;

pub use self::{
    effect::{Effect, Summary, Want},
    event::{Answer, Event},
    gate::Gate,
    pacing::WINDOW,
    policy::{OnTimeout, Policy, Readiness},
    table::Table,
};

#[cfg(test)]
mod tests;
