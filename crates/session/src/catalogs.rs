//! The catalogs that a session plans by: those last published for its database, one for each shard.

use std::sync::Arc;

use route::Catalog;
use sql::facts::{Because, Effect, Facts, PinReason, Statement};

use crate::book::Book;

/// What a session last saw of its database's catalogs; all sessions share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalogs {
    /// What `Group::catalogs_version` was; 0 is never a version.
    pub(crate) version: u64,
    by_shard: Option<Arc<[Arc<Catalog>]>>,
}

impl Book {
    /// The catalogs to plan by.
    #[inline]
    pub(crate) fn catalogs(&self) -> &[Arc<Catalog>] {
        self.catalogs.by_shard.as_deref().unwrap_or_default()
    }

    /// Takes over what was published since the last request.
    #[inline]
    pub(crate) fn follow_catalogs(&mut self, group: &backend::Group) {
        let version = group.catalogs_version();
        if self.catalogs.version != version {
            self.take_catalogs(group, version);
        }
    }

    #[cold]
    fn take_catalogs(&mut self, group: &backend::Group, version: u64) {
        // What is read may be newer than the version: then it is read once more.
        self.catalogs = Catalogs { version, by_shard: Some(group.catalogs()) };
    }

    /// The session's database may be another one from here on.
    pub(crate) fn forget_catalogs(&mut self) {
        self.catalogs = Catalogs::default();
    }
}

/// Whether a text changes what a catalog is made of: functions, views, policies, what a relation is. Not where it
/// makes something temporary, which nobody else sees.
pub(crate) fn changes_catalog(facts: &Facts) -> bool {
    let changes = |statement: &Statement| {
        matches!(
            statement.because,
            Some(Because::Command("CREATE" | "ALTER" | "DROP" | "IMPORT FOREIGN SCHEMA"))
        ) && !statement.effects.contains(&Effect::Pin(PinReason::TemporaryTable))
    };
    facts.statements.iter().any(changes)
}
