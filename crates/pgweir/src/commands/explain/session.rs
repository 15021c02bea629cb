//! As much of a session as a decision depends on: its transaction and what it SET of pgweir.

use std::sync::Arc;

use config::{Config, Database, RoleSetting};
use route::{DatabaseMap, Decision, Request, RoleSource, SessionRouting};
use sql::facts::{Effect, Facts, Kind};
use sql::{Analyzer, LexSettings};

/// A session that runs one statement after the other, all of them with success.
pub(super) struct Session<'a> {
    map: &'a DatabaseMap,
    analyzer: Analyzer,
    routing: SessionRouting,
    default_role: RoleSetting,
}

impl<'a> Session<'a> {
    pub(super) fn new(config: &Config, database: &Database, map: &'a DatabaseMap) -> Self {
        let default_role = config.route_settings(database, None).role;
        let routing =
            SessionRouting { role: default_role, role_from: RoleSource::Database, ..Default::default() };
        Session { map, analyzer: Analyzer::new(1024), routing, default_role }
    }

    /// The decision for the next statement, and whether data for COPY follows it.
    pub(super) fn decide(&mut self, sql: &[u8]) -> (Decision, bool) {
        let lex = LexSettings::default();
        let analysis = self.analyzer.analyze(sql, lex);
        let facts = Arc::clone(analysis.facts);
        let literals = analysis.literals;
        let request = Request { facts: &facts, sql, literals, parameters: None, lex, catalogs: &[] };
        let decision = route::decide(self.map, &self.routing, &request);
        let takes_data = facts.statements.last().is_some_and(|statement| statement.kind == Kind::CopyIn);
        if let Decision::Go { target, .. } = &decision {
            self.has_run(&facts, *target);
        }
        (decision, takes_data)
    }

    fn has_run(&mut self, facts: &Facts, target: route::Target) {
        // The first statement after BEGIN says where the transaction goes.
        if self.routing.begin.take().is_some() {
            self.routing.transaction = Some(target);
        }
        for statement in &facts.statements {
            match statement.kind {
                Kind::Begin(begin) if self.routing.transaction.is_none() => {
                    self.routing.begin = Some(begin);
                }
                Kind::Commit | Kind::Rollback => {
                    self.routing.transaction = None;
                    self.routing.begin = None;
                }
                _ => {}
            }
            statement.effects.iter().for_each(|effect| self.apply(effect));
        }
    }

    fn apply(&mut self, effect: &Effect) {
        match effect {
            Effect::Set { name, value, .. } if &**name == "pgweir.role" => {
                let role = match &**value {
                    "auto" => RoleSetting::Auto,
                    "primary" => RoleSetting::Primary,
                    "replica" => RoleSetting::Replica,
                    "observe" => RoleSetting::Observe,
                    _ => return,
                };
                (self.routing.role, self.routing.role_from) = (role, RoleSource::Set);
            }
            Effect::Set { name, value, .. } if &**name == "pgweir.shard" => {
                self.routing.shard = self.map.shard_named(value);
            }
            Effect::Reset(name) if &**name == "pgweir.role" => self.reset_role(),
            Effect::Reset(name) if &**name == "pgweir.shard" => self.routing.shard = None,
            Effect::ResetAll | Effect::DiscardAll => {
                self.reset_role();
                self.routing.shard = None;
            }
            _ => {}
        }
    }

    fn reset_role(&mut self) {
        (self.routing.role, self.routing.role_from) = (self.default_role, RoleSource::Database);
    }
}
