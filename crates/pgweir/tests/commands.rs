//! The commands that need no server, run as a person runs them: what they print, and their exit codes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

const CONFIG: &str = "\
users:
  app: {password: sesame}
clusters:
  us: {nodes: {us-1: {host: 10.0.1.1}, us-2: {host: 10.0.1.2}}}
  eu: {nodes: {eu-1: {host: 10.0.2.1}}}
databases:
  app: {cluster: us, dbname: app_production}
  saas:
    shards: {us: {cluster: us}, eu: {cluster: eu}}
    sharding:
      schemes:
        by_region: {type: list, of: text, values: {us: [US], eu: [DE]}}
      tables:
        customers: {key: region, scheme: by_region}
";

/// A folder with the configuration.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        let folder = Folder(tempfile::tempdir().unwrap());
        folder.write("pgweir.yaml", CONFIG);
        folder
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.run_with_input(arguments, "")
    }

    fn run_with_input(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_pgweir"))
            .args(arguments)
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn check_says_what_a_file_means_but_no_secret() {
    let output = Folder::new().run(&["check", "-c", "pgweir.yaml"]);
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    let text = out(&output);
    for part in ["us-1", "10.0.1.2", "app_production", "region"] {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
    assert!(!text.contains("sesame"));
}

#[test]
fn check_says_where_a_file_is_wrong() {
    let folder = Folder::new();
    folder.write("wrong.yaml", "databases:\n  app: {clusters: us}\n");
    let output = folder.run(&["check", "-c", "wrong.yaml"]);
    assert_eq!(code(&output), Some(1));
    assert!(err(&output).contains("wrong.yaml:2:"), "{}", err(&output));
}

#[test]
fn what_is_asked_of_a_file_that_is_not_there_fails() {
    for command in ["run", "check"] {
        let output = Folder::new().run(&[command, "-c", "nowhere.yaml"]);
        assert_eq!(code(&output), Some(1), "{command}");
        assert!(err(&output).contains("nowhere.yaml"), "{}", err(&output));
    }
}

#[test]
fn bad_usage_has_a_code_of_its_own() {
    let folder = Folder::new();
    for arguments in [&["run"][..], &["explain", "-c", "pgweir.yaml", "-d", "app"], &["fly"], &[]] {
        assert_eq!(code(&folder.run(arguments)), Some(2), "{arguments:?}");
    }
    assert_eq!(code(&folder.run(&["--help"])), Some(0));
    assert_eq!(code(&folder.run(&["--version"])), Some(0));
}

#[test]
fn explain_tells_target_role_and_reason() {
    let folder = Folder::new();
    let explain = |database: &str, sql: &str| {
        let output = folder.run(&["explain", "-c", "pgweir.yaml", "-d", database, sql]);
        assert_eq!(code(&output), Some(0), "{sql}: {}", err(&output));
        out(&output)
    };
    let read = explain("app", "SELECT 1");
    assert!(read.starts_with("target: cluster us, database app_production\nreplica: "), "{read}");
    let write = explain("app", "INSERT INTO t VALUES (1)");
    assert!(write.contains("\nprimary: INSERT writes"), "{write}");
    let keyed = explain("saas", "SELECT * FROM customers WHERE region = 'DE'");
    assert!(keyed.contains("cluster eu") && keyed.contains("shard eu, replica: "), "{keyed}");
    let refused = explain("saas", "SELECT * FROM customers");
    assert!(refused.contains("0A000") && refused.contains("HINT"), "{refused}");
}

#[test]
fn explain_of_an_unknown_database_fails() {
    let output = Folder::new().run(&["explain", "-c", "pgweir.yaml", "-d", "nope", "SELECT 1"]);
    assert_eq!(code(&output), Some(1));
    assert!(err(&output).contains("\"nope\""), "{}", err(&output));
}

#[test]
fn explain_of_a_file_keeps_transactions_together_and_adds_up() {
    let script = "SELECT 1;\nBEGIN;\nSELECT 2;\nCOMMIT;\nBEGIN READ ONLY;\nSELECT 3;\nCOMMIT;\n\
                  SET pgweir.role = primary; SELECT 4;\n";
    let folder = Folder::new();
    let output = folder.run_with_input(&["explain", "-c", "pgweir.yaml", "-d", "app", "-f", "-"], script);
    assert_eq!(code(&output), Some(0), "{}", err(&output));
    let text = out(&output);
    let role_of = |statement: &str| {
        let mut lines = text.lines().skip_while(|line| !line.ends_with(statement));
        lines.nth(1).and_then(|line| line.trim().split(':').next()).unwrap_or_default().to_owned()
    };
    let roles = ["SELECT 1", "SELECT 2", "SELECT 3", "SELECT 4"].map(role_of);
    assert_eq!(roles, ["replica", "primary", "replica", "primary"], "{text}");
    assert!(text.contains("\n9 statements\n"), "{text}");
}

#[test]
fn a_pgbouncer_ini_becomes_yaml_that_check_takes() {
    let folder = Folder::new();
    folder.write(
        "pgbouncer.ini",
        "[databases]\napp = host=10.0.0.1 dbname=app\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
         listen_port = 6432\nauth_type = trust\npool_mode = transaction\n",
    );
    let imported = folder.run(&["import", "pgbouncer.ini"]);
    assert_eq!(code(&imported), Some(0), "{}", err(&imported));
    folder.write("imported.yaml", &out(&imported));
    let checked = folder.run(&["check", "-c", "imported.yaml"]);
    assert_eq!(code(&checked), Some(0), "{}\n{}", err(&checked), out(&imported));
}

#[test]
fn the_schema_is_json_with_the_sections() {
    let output = Folder::new().run(&["schema"]);
    assert_eq!(code(&output), Some(0));
    let text = out(&output);
    assert!(text.starts_with('{') && text.trim_end().ends_with('}'), "{text}");
    for section in ["\"clusters\"", "\"databases\"", "\"pool\""] {
        assert!(text.contains(section), "no {section}");
    }
}
