//! Our facts beside those of Postgres' own grammar: the same, or ours say that they don't know.
//!
//! libpg_query comes as a Python package (pglast), which `scripts/drivers` installs with the drivers: built from source
//! by cargo it would cost every build a C compiler, libclang and minutes. The statements are those of the table of
//! `classification`, and of Postgres' regression suite where `scripts/regress` has fetched it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sql::facts::{Access, Facts, Kind, Statement};
use sql::{Analyzer, LexSettings};

const TABLE: &str = include_str!("classification/statements.txt");
/// Disagreements that are told, of all that there are.
const TOLD: usize = 40;

#[test]
fn postgres_grammar_agrees_or_ours_says_unknown() {
    let Some(python) = python() else { return };
    let texts: String = TABLE
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .filter_map(|line| line.split_once(" | "))
        .map(|(_, sql)| format!("{sql}\0"))
        .collect();
    let suite = suite();
    let answers = ask(&python, &texts, &suite);
    let mut analyzer = Analyzer::new(1000);
    let mut compared = 0;
    let mut wrong = Vec::new();
    for line in answers.lines() {
        let theirs: Value = serde_json::from_str(line).expect("a line of JSON");
        let sql = theirs["sql"].as_str().expect("the text");
        let Some(statements) = theirs["statements"].as_array() else { continue };
        compared += 1;
        let analysis = analyzer.analyze(sql.as_bytes(), LexSettings::default());
        if let Err(why) = compare(analysis.facts, statements) {
            wrong.push(format!("{why}: {}", sql.split_whitespace().collect::<Vec<_>>().join(" ")));
        }
    }
    let expected = if suite.is_empty() { 300 } else { 30_000 };
    assert!(compared > expected, "only {compared} texts were compared");
    let count = wrong.len();
    wrong.truncate(TOLD);
    assert!(wrong.is_empty(), "of {compared} texts {count} are judged otherwise:\n{}", wrong.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_path_buf()
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A Python that has pglast; without one nothing can be compared, which CI doesn't take.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("PGLAST_PYTHON")
        .map_or_else(|| target().join("drivers").join("venv").join("bin").join("python"), PathBuf::from);
    let has_it = Command::new(&python).args(["-c", "import pglast"]).output();
    let has_it = has_it.is_ok_and(|output| output.status.success());
    assert!(has_it || std::env::var("CI").as_deref() != Ok("true"), "no pglast: run scripts/drivers");
    has_it.then_some(python)
}

/// The SQL files of the regression suite.
fn suite() -> Vec<PathBuf> {
    let folders = |folder: &Path| -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let sources = folders(&target().join("regress"));
    let trees = sources
        .iter()
        .filter(|path| path.to_string_lossy().contains("source-"))
        .flat_map(|path| folders(path));
    let files = trees.flat_map(|tree| folders(&tree.join("src/test/regress/sql")));
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "sql")).collect();
    files.sort();
    files
}

fn ask(python: &Path, texts: &str, files: &[PathBuf]) -> String {
    let mut given = tempfile::tempfile().expect("a file");
    std::io::Write::write_all(&mut given, texts.as_bytes()).expect("the texts");
    std::io::Seek::rewind(&mut given).expect("the file's beginning");
    let output = Command::new(python)
        .arg(root().join("tests/oracle/facts.py"))
        .args(files)
        .stdin(Stdio::from(given))
        .stderr(Stdio::inherit())
        .output()
        .expect("python");
    assert!(output.status.success(), "the oracle has failed");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Whether our facts say nothing that Postgres' grammar doesn't.
fn compare(ours: &Facts, theirs: &[Value]) -> Result<(), String> {
    let any_writes = theirs.iter().any(|statement| statement["writes"] == true);
    if any_writes && ours.access == Access::Read {
        return Err("it writes, and ours only reads".to_owned());
    }
    if ours.statements.len() != theirs.len() {
        let unknown = ours.statements.iter().any(|statement| statement.kind == Kind::Unknown);
        return if unknown {
            Ok(())
        } else {
            Err(format!("{} statements, not {}", ours.statements.len(), theirs.len()))
        };
    }
    ours.statements.iter().zip(theirs).try_for_each(|(ours, theirs)| compare_one(ours, theirs))
}

fn compare_one(ours: &Statement, theirs: &Value) -> Result<(), String> {
    if theirs["writes"] == true && ours.access == Access::Read {
        return Err("a statement writes that ours only reads".to_owned());
    }
    let kind = theirs["kind"].as_str().unwrap_or_default();
    if !agree(ours.kind, kind) {
        return Err(format!("{:?}, not {kind}", ours.kind));
    }
    if theirs["query"] != true && ours.kind != Kind::CopyOut {
        return Ok(());
    }
    let named: BTreeSet<(&str, &str)> =
        ours.relations.iter().map(|r| (r.schema.as_deref().unwrap_or_default(), &*r.name)).collect();
    let relations: BTreeSet<(&str, &str)> = theirs["relations"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|pair| (pair[0].as_str().unwrap_or_default(), pair[1].as_str().unwrap_or_default()))
        .collect();
    let sure = ours.relations_complete || ours.calls.complete;
    if sure && named != relations {
        return Err(format!("relations {named:?}, not {relations:?}"));
    }
    if ours.access != Access::Write && ours.calls.complete {
        let called: BTreeSet<&str> = ours.calls.functions.iter().map(|call| &*call.name).collect();
        let theirs = theirs["functions"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let missed: Vec<_> = theirs.filter(|name| !called.contains(name)).collect();
        if !missed.is_empty() {
            return Err(format!("calls {missed:?} too"));
        }
    }
    Ok(())
}

/// Whether a kind of ours is what the grammar's node says; `Unknown` claims nothing.
fn agree(ours: Kind, theirs: &str) -> bool {
    match ours {
        Kind::Unknown => true,
        Kind::Select => theirs == "SelectStmt",
        Kind::Insert => theirs == "InsertStmt",
        Kind::Update => theirs == "UpdateStmt",
        Kind::Delete => theirs == "DeleteStmt",
        Kind::Merge => theirs == "MergeStmt",
        Kind::Explain => theirs == "ExplainStmt",
        Kind::CopyIn | Kind::CopyOut | Kind::CopyServer => theirs == "CopyStmt",
        Kind::Begin(_)
        | Kind::Commit
        | Kind::Rollback
        | Kind::EndAndChain
        | Kind::Savepoint
        | Kind::Release
        | Kind::RollbackTo
        | Kind::TwoPhase => theirs == "TransactionStmt",
        Kind::Set => ["VariableSetStmt", "ConstraintsSetStmt"].contains(&theirs),
        Kind::Reset => theirs == "VariableSetStmt",
        Kind::Show => theirs == "VariableShowStmt",
        Kind::Discard => theirs == "DiscardStmt",
        Kind::Prepare => theirs == "PrepareStmt",
        Kind::Execute => theirs == "ExecuteStmt",
        Kind::Deallocate => theirs == "DeallocateStmt",
        Kind::Declare => theirs == "DeclareCursorStmt",
        Kind::Cursor => ["FetchStmt", "ClosePortalStmt"].contains(&theirs),
        Kind::Notify => ["ListenStmt", "UnlistenStmt", "NotifyStmt"].contains(&theirs),
        Kind::Procedure => ["DoStmt", "CallStmt"].contains(&theirs),
        Kind::Utility => ![
            "SelectStmt",
            "InsertStmt",
            "UpdateStmt",
            "DeleteStmt",
            "MergeStmt",
            "TransactionStmt",
            "VariableSetStmt",
            "VariableShowStmt",
            "CopyStmt",
            "ExplainStmt",
            "DoStmt",
            "CallStmt",
        ]
        .contains(&theirs),
    }
}
