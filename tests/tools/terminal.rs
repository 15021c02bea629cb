//! psql on a terminal.

use std::process::Stdio;

use pgweir_tests::eventually;
use testkit::{Client, Cluster, SUPERUSER};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Command;

use crate::{LIMIT, To};

/// Ctrl-C ends the statement, on the server too, and the session goes on.
pub(crate) async fn interrupt(through: To, cluster: &Cluster) {
    let mut watcher =
        Client::to(cluster.primary()).user(SUPERUSER, cluster.superuser_password()).connect().await.unwrap();
    let psql = through.tool("psql");
    let mut command = Command::new("script");
    command.args(["--quiet", "--return", "--command"]);
    // In the shell's place: some shells end by the Ctrl-C that they have seen, whatever psql made of it.
    command.arg(format!("exec '{}' -X -n -P pager=off", psql.as_std().get_program().to_string_lossy()));
    command.arg("/dev/null").envs(psql.as_std().get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut terminal = command.spawn().expect("util-linux has `script`");
    let mut keyboard = terminal.stdin.take().unwrap();
    let mut screen = terminal.stdout.take().unwrap();

    keyboard.write_all(b"/* pgweir: role=primary */ select pg_sleep(600);\n").await.unwrap();
    let sleeping = "select count(*) from pg_stat_activity where usename = 'app' and wait_event = 'PgSleep'";
    let mut sleepers = async || watcher.value(sleeping).await.unwrap();
    eventually("it sleeps", &mut sleepers, |count| count == "1").await.unwrap();
    keyboard.write_all(b"\x03").await.unwrap();
    eventually("it sleeps no more", &mut sleepers, |count| count == "0").await.unwrap();
    keyboard.write_all(b"select 'still ' || 'here';\n\\q\n").await.unwrap();

    let mut shown = String::new();
    tokio::time::timeout(LIMIT, screen.read_to_string(&mut shown)).await.expect("psql ends").unwrap();
    assert!(shown.contains("canceling statement due to user request"), "{shown}");
    assert!(shown.contains("still here"), "{shown}");
    assert!(terminal.wait().await.unwrap().success(), "{shown}");
}
