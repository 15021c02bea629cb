//! What a test is told when there is no pgweir, or one that doesn't start.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use pgweir_testkit::{Error, Pgweir, Setup};

/// A program that stands in for pgweir.
fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("stand-in");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn one_that_ends_shows_its_log_and_got_its_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let binary = script(folder.path(), "echo \"$1 $2\"; cat \"$3\"; echo no >&2; exit 7");
    let error = Pgweir::start_binary(&binary, &Setup::bare().pool_size(12)).await.unwrap_err();
    let Error::Pgweir { what, log } = error else { panic!("{error}") };
    assert!(what.contains("exit status: 7"), "{what}");
    assert!(log.starts_with("run -c\n") && log.contains("\"size\": 12\n") && log.ends_with("no\n"), "{log}");
}
