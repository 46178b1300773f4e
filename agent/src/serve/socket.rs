//! The unix socket of the command line's API: made so that nobody but its owner can ever connect.
//!
//! Knows nothing of what is asked there.

use std::{
    fs, io,
    os::{fd::AsRawFd as _, unix::fs::FileTypeExt as _},
    path::{Path, PathBuf},
    task::Context,
    time::Duration,
};

use axum::Extension;
use nix::sys::stat::{Mode, fchmod};
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::{net::UnixListener, runtime::Handle};

use super::{ServerState, api, connections};

/// Where it is, unless told otherwise.
pub const DEFAULT: &str = "/run/conngate/conngate.sock";

/// Connections that wait to be taken.
const BACKLOG: i32 = 16;

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Somebody else is there.
    #[error("another agent answers at {0} (--socket)")]
    Taken(PathBuf),
    /// It cannot be made.
    #[error("cannot create the socket {path} (--socket)")]
    Make {
        /// Where.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A served socket; its file goes with it.
#[derive(Debug)]
pub struct Served(PathBuf);

impl Drop for Served {
    fn drop(&mut self) {
        // It may be gone already, and so may its directory.
        let _ = fs::remove_file(&self.0);
    }
}

/// Serves the API at `path` on the event loop `server`.
///
/// # Errors
/// When another agent is there, or the socket cannot be made.
pub fn serve(server: &Handle, path: &Path, state: ServerState) -> Result<Served, SocketError> {
    let made = |source| SocketError::Make { path: path.to_owned(), source };
    let address = SockAddr::unix(path).map_err(made)?;
    let socket = || Socket::new(Domain::UNIX, Type::STREAM, None);
    if socket().map_err(made)?.connect(&address).is_ok() {
        return Err(SocketError::Taken(path.to_owned()));
    }
    // Nobody answers: a socket that is there an agent has left that was killed. Anything else is somebody's.
    match fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => fs::remove_file(path).map_err(made)?,
        Ok(_) => return Err(made(io::Error::new(io::ErrorKind::AlreadyExists, "the file is not a socket"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(made(error)),
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory).map_err(made)?;
    }
    let socket = socket().map_err(made)?;
    // Before it has a name: the file is made with this mode (`unix_bind` in net/unix/af_unix.c), less the umask.
    fchmod(&socket, Mode::S_IRUSR | Mode::S_IWUSR).map_err(|errno| made(errno.into()))?;
    socket.bind(&address).map_err(made)?;
    socket.listen(BACKLOG).map_err(made)?;
    socket.set_nonblocking(true).map_err(made)?;
    tracing::debug!(path = %path.display(), fd = socket.as_raw_fd(), "serving the command line");
    let _entered = server.enter();
    let listener = UnixListener::from_std(std::os::fd::OwnedFd::from(socket).into()).map_err(made)?;
    let shortages = state.conditions.shortages().clone();
    let router = api::router(state);
    let accept = move |context: &mut Context<'_>| {
        listener.poll_accept(context).map_ok(|(stream, _)| {
            let router = router.clone().layer(Extension(api::Peer::of(&stream)));
            (stream, router)
        })
    };
    // No end but the oldest's: an operator may follow events, or read page by page.
    server.spawn(connections::serve(accept, Duration::MAX, shortages));
    Ok(Served(path.to_owned()))
}

#[cfg(test)]
mod tests;
