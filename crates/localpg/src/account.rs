//! Whose account the server's programs run under: Postgres refuses root.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::{Error, Result, launcher};

/// The account that owns the data folders and runs the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Account {
    /// Our own: we aren't root.
    Own,
    /// Another's: we are root.
    Other { uid: u32, gid: u32 },
}

impl Account {
    /// Our own, or as root that of `postgres`, else of `nobody`.
    pub(crate) fn find() -> Result<Account> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Account::Own);
        }
        let passwd = fs::read_to_string("/etc/passwd").map_err(Error::io("read /etc/passwd"))?;
        ["postgres", "nobody"].iter().find_map(|name| lookup(&passwd, name)).ok_or(Error::NoAccount)
    }

    /// A command that runs `program` under this account, in its own process group so that a terminal's
    /// Ctrl-C doesn't reach it, with nothing of Postgres' in its environment.
    pub(crate) fn command(self, program: impl AsRef<OsStr>) -> Command {
        let mut command = clean(program);
        if let Account::Other { uid, gid } = self {
            // As root, std clears the supplementary groups when it sets the uid.
            command.uid(uid).gid(gid);
        }
        command
    }

    /// As [`Account::command`], and the kernel sends the program SIGQUIT (an immediate shutdown) when the
    /// thread that spawned it ends. Without util-linux' `setpriv` the latter is left out.
    pub(crate) fn command_that_dies_with_us(self, program: impl AsRef<OsStr>) -> Command {
        if !setpriv_works() {
            return self.command(program);
        }
        let mut command = clean("setpriv");
        if let Account::Other { uid, gid } = self {
            command.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).arg("--clear-groups");
        }
        command.args(["--pdeathsig", "QUIT", "--"]).arg(program);
        command
    }

    /// Gives a file or folder to this account.
    pub(crate) fn own(self, path: &Path) -> Result<()> {
        match self {
            Account::Own => Ok(()),
            Account::Other { uid, gid } => chown(path, Some(uid), Some(gid))
                .map_err(Error::io(format!("give {} to uid {uid}", path.display()))),
        }
    }
}

/// Starts a program that is to end when this process does, however it ends: the kernel sends it SIGQUIT then
/// (where util-linux' `setpriv` exists). `arrange` adds arguments and redirections. It is in a process group
/// of its own, has no stdin, and nothing of Postgres' in its environment.
///
/// # Errors
/// As [`Command::spawn`]; through `setpriv` a program that can't be run shows only by its exit.
pub fn spawn_bound(program: impl AsRef<OsStr>, arrange: impl FnOnce(&mut Command)) -> io::Result<Child> {
    let mut command = Account::Own.command_that_dies_with_us(program);
    arrange(&mut command);
    launcher::spawn(command)
}

/// A command with a process group of its own and without Postgres' variables.
pub(crate) fn clean(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    command.env("LC_ALL", "C").stdin(Stdio::null()).process_group(0);
    command
}

/// Whether `setpriv` exists and knows the option (busybox has one that doesn't).
fn setpriv_works() -> bool {
    static WORKS: OnceLock<bool> = OnceLock::new();
    *WORKS.get_or_init(|| {
        let mut probe = Command::new("setpriv");
        probe.args(["--pdeathsig", "QUIT", "--", "true"]);
        probe.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        probe.status().is_ok_and(|status| status.success())
    })
}

/// The account of that name in the text of an /etc/passwd.
fn lookup(passwd: &str, name: &str) -> Option<Account> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (user, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        (user == name).then_some(Account::Other { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_looked_up_by_its_whole_name() {
        let passwd =
            "root:x:0:0::/root:/bin/sh\npostgres2:x:7:7::/:\npostgres:x:101:104:PG,,,:/var:/bin/bash\n";
        assert_eq!(lookup(passwd, "postgres"), Some(Account::Other { uid: 101, gid: 104 }));
        assert_eq!(lookup(passwd, "nobody"), None);
        assert_eq!(lookup("postgres:x:many:104::", "postgres"), None);
    }
}
