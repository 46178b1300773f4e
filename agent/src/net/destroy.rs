//! Ends a held connection: its connect() fails with `ECONNABORTED`.
//!
//! Knows nothing of why. A connection that is no longer waiting is left alone.

use conngate_common::record::ParkedRecord;

use super::{
    replay::syn::{self, SynError},
    sock_diag::{SockDiag, SockDiagError, Tuple},
};

/// Why a held connection was not ended.
#[derive(Debug, thiserror::Error)]
pub enum DestroyError {
    /// The record does not say which connection it is.
    #[error("cannot tell the connection from its parked SYN")]
    Syn(#[from] SynError),
    /// The kernel did not do it.
    #[error("cannot end the connection")]
    SockDiag(#[from] SockDiagError),
}

/// What became of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destroyed {
    /// It was waiting, and is ended.
    Ended,
    /// It was no longer waiting: connected, or closed by its application. So is, to us, a socket bound to an interface.
    NotWaiting,
}

/// `TCP_SYN_SENT` in include/net/tcp_states.h.
const SYN_SENT: u8 = 2;

/// Ends the connection that `record` was parked for, in `diag`'s network namespace.
pub fn destroy(diag: &SockDiag, record: &ParkedRecord) -> Result<Destroyed, DestroyError> {
    let tuple = Tuple {
        local: syn::source(record)?,
        remote: syn::destination(record)?,
        cookie: Some(record.header.socket),
        interface: 0,
    };
    if diag.state(&tuple)? == Some(SYN_SENT) && diag.destroy(&tuple)? {
        Ok(Destroyed::Ended)
    } else {
        Ok(Destroyed::NotWaiting)
    }
}
