//! A connection at rest is asked what is on it, and its answer compared with what is known of it.

use std::sync::Arc;

use backend::{Server, Setting};
use sql::facts::{Effect, PinReason};
use wire::ErrorReport;

use super::Watch;
use super::code::{CodeMap, SOURCES};
use crate::core::Core;
use crate::witness::{self, Found};

/// What a connection has answered.
pub(super) struct Answer {
    pub(super) found: Found,
    /// How its settings differ from what is known of it.
    pub(super) changed: Vec<Effect>,
    /// A text may have left something that can't be asked for.
    pub(super) keeps: Option<PinReason>,
}

/// Asks a connection for all that is on it. The inner error is the server's.
pub(super) async fn examine(
    core: &Core,
    server: &mut Server,
    watch: &mut Watch,
    out: &mut Vec<u8>,
    listens: bool,
) -> std::io::Result<Result<Answer, ErrorReport>> {
    let pool = Arc::clone(&server.handle.pool);
    let epoch = core.context.code_epoch();
    let known = core.learned_code.borrow().map(&pool, epoch).is_some();
    if !known {
        let rows = match witness::ask(server, SOURCES, out, listens).await? {
            Ok(rows) => rows,
            Err(report) if is_for_good(&report) => {
                tracing::debug!(%report, "the code of a database can't be read");
                CodeMap::unread()
            }
            Err(report) => return Ok(Err(report)),
        };
        if core.learned_code.borrow_mut().read_map(&pool, epoch, &rows) {
            core.reads_run_code.set(true);
        }
    }
    let keeps = core.learned_code.borrow().map(&pool, epoch).and_then(|map| {
        if map.calls_currval() {
            pool.sequences.note();
        }
        watch.judge(map);
        let library = watch.texts.iter().any(|watched| map.keeps_something(&watched.facts));
        if library { Some(PinReason::Load) } else { watch.traits.keeps() }
    });
    let question = {
        let learned = core.learned_code.borrow();
        witness::question(&learned.names, server.applied.iter().map(|setting| &*setting.name))
    };
    let found = match witness::ask(server, &question, out, listens).await? {
        Ok(rows) => Found::from_rows(rows),
        Err(report) => return Ok(Err(report)),
    };
    learn_spellings(core, server, &found, out, listens).await?;
    let changed = differences(core, server, &found);
    Ok(Ok(Answer { found, changed, keeps }))
}

/// Whether a question will fail the same way the next time: for lack of a right, or of what it names.
fn is_for_good(report: &ErrorReport) -> bool {
    ["42", "0A"].contains(&report.code.class())
}

/// How the server spells what clients have said: only it knows that `65536` is `64MB`.
async fn learn_spellings(
    core: &Core,
    server: &mut Server,
    found: &Found,
    out: &mut Vec<u8>,
    listens: bool,
) -> std::io::Result<()> {
    let odd: Vec<Setting> = {
        let learned = core.learned_code.borrow();
        let said = found.settings.iter().filter_map(|(name, now)| {
            let said = server.applied.find(name)?;
            let known = same(said, now) || learned.spelling(said).is_some();
            let role = ["role", "session_authorization"].contains(&name.as_str());
            (!known && !said.raw && !role).then(|| said.clone())
        });
        said.collect()
    };
    for said in odd {
        let mut sql = String::from("SELECT 'spelled', NULL, pg_catalog.set_config(");
        backend::settings::write_literal(&mut sql, &said.name);
        sql.push(',');
        backend::settings::write_literal(&mut sql, &said.value);
        sql.push_str(", true)");
        // What the server doesn't take any more is spelled otherwise, whatever it is.
        if let Ok(rows) = witness::ask(server, &sql, out, listens).await?
            && let Some([_, _, Some(spelled)]) = rows.into_iter().next()
        {
            core.learned_code.borrow_mut().note_spelling(said, spelled);
        }
    }
    Ok(())
}

/// The SETs and RESETs that lead from what is known of a connection to what it says.
fn differences(core: &Core, server: &Server, found: &Found) -> Vec<Effect> {
    let learned = core.learned_code.borrow();
    let is = |said: &Setting, now: &str| same(said, now) || learned.spelling(said) == Some(now);
    let set = |name: &str, now: &str| {
        let Setting { name, value, raw, .. } = Setting::from_startup(name, now);
        Effect::Set { name, value, raw }
    };
    let mut changed = Vec::new();
    for (name, now) in &found.settings {
        let said = server.applied.find(name);
        let own = match &**name {
            "role" => "none",
            "session_authorization" => &*server.handle.pool.login.user,
            name if name.starts_with("transaction_") || name == "is_superuser" => continue,
            _ => "",
        };
        match said {
            Some(said) if is(said, now) => {}
            None if !own.is_empty() && own == now => {}
            Some(_) if !own.is_empty() && own == now => changed.push(Effect::Reset(name.as_str().into())),
            _ => changed.push(set(name, now)),
        }
    }
    for (name, now) in &found.named {
        let listed = found.settings.iter().any(|(listed, _)| listed == name);
        let said = server.applied.find(name);
        match (said, now.as_deref()) {
            _ if listed => {}
            (Some(said), Some(now)) if is(said, now) || now == "unavailable" => {}
            // It was there for a transaction that is over.
            (None, None | Some("")) => {}
            (Some(_), Some(now)) if name.contains('.') => changed.push(set(name, now)),
            (Some(_), _) => changed.push(Effect::Reset(name.as_str().into())),
            // What the server's own configuration says of it is asked for as if it was said.
            (None, Some(now)) => changed.push(set(name, now)),
        }
    }
    changed
}

/// Whether a value that was said is what the server says now, as far as that can be told without asking.
fn same(said: &Setting, now: &str) -> bool {
    if !said.raw {
        return *said.value == *now;
    }
    let listed = Setting::from_startup(&said.name, now);
    if listed.raw {
        // A list of names: a quote or a capital may make another one.
        return listed.value == said.value || *said.value == *now;
    }
    let parts = |list: &str| -> Vec<String> {
        list.split(',').map(|part| part.trim().trim_matches('\'').to_ascii_lowercase()).collect()
    };
    parts(&said.value) == parts(now)
}
