//! The folder that a cluster lives in: made, locked for its owner, removed; and what dead owners left.

use std::env;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;
use rustix::process::{Pid, geteuid};
use tempfile::TempDir;

use crate::account::Account;
use crate::{Error, Result, processes, server};

const PREFIX: &str = "pgweir-pg-";
const LOCK: &str = "owner.lock";

/// A socket's path is at most 107 bytes; this much is ours below the temporary folder.
const LONGEST_PARENT: usize = 60;

/// Linux' file system in memory. Initialising, copying and removing data folders of a thousand files each is
/// several times faster there: a primary with two replicas takes 1.4 s from start to removal, on ext4 up to 7.
const MEMORY: &str = "/dev/shm";
/// How much must be free there, in bytes.
const ROOM: u64 = 4 << 30;

/// A cluster's folder. Removed when dropped.
#[derive(Debug)]
pub(crate) struct Workdir {
    folder: TempDir,
    /// Held as long as we live: a folder whose lock is free has lost its owner.
    _owner: File,
}

impl Workdir {
    /// Makes a folder that both we and `account` may enter, after removing what dead owners left.
    pub(crate) fn create(account: Account, on_disk: bool) -> Result<Workdir> {
        let (memory, disk) = (PathBuf::from(MEMORY), disk(account));
        [&memory, &disk].into_iter().for_each(|parent| sweep(parent));
        let in_memory = !on_disk && env::var_os("TMPDIR").is_none() && has_room(&memory);
        let parent = if in_memory { memory } else { disk };
        let what = || format!("make a folder in {}", parent.display());
        let folder =
            tempfile::Builder::new().prefix(PREFIX).tempdir_in(&parent).map_err(Error::io(what()))?;
        // Clients of the sockets may run under any account; the data folders inside are closed to others.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).map_err(Error::io(what()))?;
        // The lock appears under its name only once it is held.
        let unlocked = folder.path().join("owner.new");
        let owner = File::create(&unlocked).map_err(Error::io(what()))?;
        owner.lock().map_err(Error::io(what()))?;
        fs::rename(&unlocked, folder.path().join(LOCK)).map_err(Error::io(what()))?;
        Ok(Workdir { folder, _owner: owner })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Makes a folder in it that belongs to `account`.
    pub(crate) fn folder(&self, path: &Path, account: Account, mode: u32) -> Result<()> {
        let what = || format!("make {}", path.display());
        fs::create_dir_all(path).map_err(Error::io(what()))?;
        fs::set_permissions(path, Permissions::from_mode(mode)).map_err(Error::io(what()))?;
        account.own(path)
    }
}

/// Whether a folder exists that has room for clusters' data. (In a container it is often 64 MB.)
fn has_room(folder: &Path) -> bool {
    statvfs(folder).is_ok_and(|system| system.f_bavail.saturating_mul(system.f_frsize) >= ROOM)
}

/// The system's temporary folder, or /tmp where the server's account can't enter that one or its path is too
/// long for a socket's.
fn disk(account: Account) -> PathBuf {
    let parent = env::temp_dir();
    let enterable = |path: &Path| fs::metadata(path).is_ok_and(|folder| folder.mode() & 0o001 != 0);
    let open = account == Account::Own || parent.ancestors().all(enterable);
    let short = parent.as_os_str().len() <= LONGEST_PARENT;
    if open && short { parent } else { PathBuf::from("/tmp") }
}

/// Removes the folders of owners that were killed before they could, and ends servers that still run there.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let ours = entry.metadata().is_ok_and(|folder| folder.is_dir() && folder.uid() == geteuid().as_raw());
        if ours && entry.file_name().to_string_lossy().starts_with(PREFIX) {
            remove_if_orphaned(&entry.path());
        }
    }
}

fn remove_if_orphaned(folder: &Path) {
    let Ok(lock) = File::open(folder.join(LOCK)) else { return };
    if lock.try_lock().is_err() {
        return;
    }
    for node in fs::read_dir(folder).into_iter().flatten().flatten() {
        end_server(&node.path().join("data"));
    }
    // What can't be removed now is tried again by the next.
    let _ = fs::remove_dir_all(folder);
}

/// Kills the server of that data folder, if one runs there: a postmaster works in its data folder, which is
/// how it is told from a process that got its number later.
fn end_server(data: &Path) {
    let Ok(file) = fs::read_to_string(data.join("postmaster.pid")) else { return };
    let pid = file.lines().next().and_then(|line| line.trim().parse().ok()).and_then(Pid::from_raw);
    let Some(pid) = pid else { return };
    if fs::read_link(format!("/proc/{}/cwd", pid.as_raw_pid())).is_ok_and(|folder| folder == data) {
        processes::kill_all(pid);
        if let Some(id) = server::segment(&file) {
            server::remove_segment(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_without_an_owner_is_swept() {
        let parent = tempfile::tempdir().unwrap();
        let made = |name: &str| {
            let folder = parent.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&folder).unwrap();
            folder
        };
        let (orphan, held, young) = (made("orphan"), made("held"), made("young"));
        fs::write(orphan.join(LOCK), "").unwrap();
        let lock = File::create(held.join(LOCK)).unwrap();
        lock.lock().unwrap();
        sweep(parent.path());
        assert!(!orphan.exists() && held.exists() && young.exists());
    }
}
