//! The error that a full pool causes: it names the pool, the wait, and who holds the connections.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use backend::local::LocalPool;
use wire::{ErrorReport, SqlState};

use crate::cell::Doing;
use crate::core::Core;

/// Holders by what they do and their application_name.
type Holders = BTreeMap<(&'static str, String), usize>;

/// The error for a client that waited this long.
pub(crate) async fn report(core: &Rc<Core>, pool: &LocalPool, waited: Duration) -> ErrorReport {
    let shared = &pool.shared;
    let mut holders = Holders::new();
    for index in &shared.homes {
        let Some(handle) = core.context.cores.get().and_then(|cores| cores.get(*index)) else { continue };
        let id = shared.id;
        if let Ok(part) = handle.ask(move |core| holders_on(core, id)).await {
            for (key, count) in part {
                *holders.entry(key).or_insert(0) += count;
            }
        }
    }
    let open = shared.open();
    let mut by_count: Vec<_> = holders.into_iter().collect();
    by_count.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words = by_count.iter().take(3).map(|((doing, application), count)| {
        let by = if application.is_empty() { String::new() } else { format!(" by \"{application}\"") };
        format!("{count} of {open} held {doing}{by}")
    });
    let words: Vec<_> = words.collect();
    let message = format!(
        "no server connection became free in {:.1} s: pool {}/{} on {} is full ({} of {})",
        waited.as_secs_f64(),
        shared.user,
        shared.database,
        shared.node.name,
        open,
        shared.size,
    );
    let mut detail =
        if words.is_empty() { "Nobody of this pool holds one.".to_owned() } else { words.join("; ") + "." };
    if let Some(failure) = shared.last_failure() {
        detail = format!("{detail} The last attempt to open one failed: {failure}.");
    } else if shared.node.budget.open() >= shared.node.budget.limit {
        detail = format!(
            "{detail} The budget of {} connections to this node is used up.",
            shared.node.budget.limit
        );
    }
    ErrorReport::error(SqlState::TOO_MANY_CONNECTIONS, message)
        .with_detail(detail)
        .with_hint("End idle transactions sooner, raise pool.size, or raise query_wait_timeout.")
}

fn holders_on(core: &Rc<Core>, pool: u64) -> Vec<((&'static str, String), usize)> {
    let mut holders = Holders::new();
    for cell in core.clients() {
        let holds = cell.holds.borrow().as_ref().is_some_and(|handle| handle.pool.id == pool);
        if holds {
            let doing = match cell.doing().0 {
                Doing::IdleInTransaction => "idle in transaction",
                Doing::Idle => "by a session that is tied to it",
                Doing::Active | Doing::Waiting => "active",
            };
            let application = cell.application.borrow().to_string();
            *holders.entry((doing, application)).or_insert(0) += 1;
        }
    }
    holders.into_iter().collect()
}
