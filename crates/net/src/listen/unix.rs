//! The home of a listening Unix socket's file: made, replaced if stale, removed at the end.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};
use tokio::net::UnixListener;

use super::{BACKLOG, BindError};

/// A listening Unix socket and its file.
#[derive(Debug)]
pub(super) struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: the file is removed only if it is still the one that was made here.
    identity: (u64, u64),
}

impl UnixSocket {
    pub(super) fn bind(path: PathBuf) -> Result<Self, BindError> {
        if has_listener(&path) {
            return Err(BindError::InUse { path });
        }
        match listen(&path) {
            Ok((listener, identity)) => Ok(UnixSocket { listener, path, identity }),
            Err(source) => Err(BindError::Unix { path, source }),
        }
    }

    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|now| now == self.identity) {
            // Too late for anything but leaving it: the next start replaces it.
            drop(fs::remove_file(&self.path));
        }
    }
}

/// Whether somebody listens there: a connection is made, or the queue of those not yet accepted is full.
fn has_listener(path: &Path) -> bool {
    let connected = Socket::new(Domain::UNIX, Type::STREAM, None).and_then(|socket| {
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)
    });
    connected.map_or_else(|error| error.kind() == io::ErrorKind::WouldBlock, |()| true)
}

fn listen(path: &Path) -> io::Result<(UnixListener, (u64, u64))> {
    remove_stale(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o777))?;
    socket.listen(BACKLOG)?;
    Ok((UnixListener::from_std(socket.into())?, identity(path)?))
}

/// Removes the file if it is a socket; anything else stays, and binding says that the address is in use.
fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(file) if file.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let file = fs::symlink_metadata(path)?;
    Ok((file.dev(), file.ino()))
}
