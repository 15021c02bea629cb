//! What a command comes to: rows, or nothing but its tag; and how commands are run.

use std::sync::Arc;

use ::wire::{ErrorReport, SqlState};

use super::commands::{Action, Row as Entry, TABLE};
use crate::admin::Admin;
use crate::snapshot::Detail;
use crate::value::{Column, Row};

/// What a command comes to.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The tag of its CommandComplete.
    pub(super) tag: &'static str,
    /// What to tell besides.
    pub(super) notices: Vec<ErrorReport>,
    /// Its rows, in the columns of [`Action::columns`].
    pub(super) rows: Vec<Row>,
}

/// Runs a command of the table for who may run it.
pub(super) async fn run(admin: &Arc<Admin>, entry: &Entry) -> Result<Outcome, ErrorReport> {
    match entry.action {
        Action::Show { detail, rows, .. } => {
            let mut snapshot = admin.snapshot(detail).await;
            if detail == Detail::Everything {
                snapshot.each_client.extend(admin.visitors.all());
            }
            let notices = silence(&snapshot.silent());
            Ok(Outcome { tag: "SHOW", notices, rows: rows(&snapshot) })
        }
        Action::Help => Ok(Outcome { tag: "SHOW", rows: help(), ..Outcome::default() }),
        Action::Reload => reload(admin).await,
        Action::Shutdown => {
            (admin.hooks.shutdown)();
            Ok(Outcome { tag: "SHUTDOWN", ..Outcome::default() })
        }
        Action::Nothing(tag) | Action::Begin(tag) | Action::End(tag) => {
            Ok(Outcome { tag, ..Outcome::default() })
        }
        Action::NotYet => Err(ErrorReport::error(
            SqlState::FEATURE_NOT_SUPPORTED,
            format!("{} is not in this version of pgweir", entry.name),
        )
        .with_hint("SHOW HELP lists the commands that are.")),
    }
}

/// Reads files and talks to no server; on a thread of its own, because files may be slow.
async fn reload(admin: &Arc<Admin>) -> Result<Outcome, ErrorReport> {
    let hook = Arc::clone(&admin.hooks.reload);
    let reloaded = tokio::task::spawn_blocking(move || hook()).await;
    match reloaded {
        Ok(Ok(notes)) => {
            let notices = notes.into_iter().map(ErrorReport::notice).collect();
            Ok(Outcome { tag: "RELOAD", notices, ..Outcome::default() })
        }
        Ok(Err(why)) => {
            Err(ErrorReport::error(SqlState::CONFIG_FILE_ERROR, "the configuration was not reloaded")
                .with_detail(why)
                .with_hint("Nothing was changed."))
        }
        Err(_) => Err(ErrorReport::error(SqlState::INTERNAL_ERROR, "the reload panicked")),
    }
}

/// A row for each command that there is.
fn help() -> Vec<Row> {
    let told = TABLE.iter().filter(|entry| !entry.what.is_empty());
    told.map(|entry| vec![entry.name.into(), entry.may.as_str().into(), entry.what.into()]).collect()
}

fn silence(silent: &[usize]) -> Vec<ErrorReport> {
    let warning = |core: &usize| {
        let message = format!("core {core} did not answer within a second: its share is missing here");
        ErrorReport::warning(SqlState::WARNING, message)
    };
    silent.iter().map(warning).collect()
}

impl Action {
    /// The columns of its result; `None`: it has no rows.
    pub(super) fn columns(&self) -> Option<&'static [Column]> {
        match self {
            Self::Show { columns, .. } => Some(columns),
            Self::Help => Some(super::commands::HELP),
            Self::Reload | Self::Shutdown | Self::NotYet => None,
            Self::Nothing(_) | Self::Begin(_) | Self::End(_) => None,
        }
    }
}
