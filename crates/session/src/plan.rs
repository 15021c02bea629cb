//! From a request in hand to its plan: what its texts are, where it goes, and why, or what is answered without a server.

use std::rc::Rc;
use std::sync::Arc;

use config::{PoolMode, RoleSetting, Transactions};
use route::consistency::Slots;
use route::{
    Catalog, DatabaseMap, Decision, ParameterValue, Parameters, Reason, Request as RouteRequest, RoleReason,
    SessionRouting, Target, TargetRole,
};
use sql::facts::{Access, Begin, Facts, Isolation, Kind, Statement};
use sql::hidden::Currval;
use wire::frame::{self, Head};
use wire::frontend::{Bind, BindHead, Describe, Parse, Query, Target as Named};
use wire::{ErrorReport, SqlState, tag};

use crate::book::{Book, LastRoute};
use crate::core::Core;
use crate::expect::Text;
use crate::learned::Ran;
use crate::own;
use crate::until_write::{self, Seen};
use crate::work::{Planned, Work};

/// The beginning of a statement that is kept for `SHOW pgweir.route`, in bytes.
const STATEMENT_KEPT: usize = 200;

/// What is found out of a request, message by message.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    decision: Option<Decision>,
    /// A BEGIN came earlier in the same pipeline.
    pub(crate) begin: Option<sql::facts::Begin>,
    /// The first statement, where a transaction is open that reads until it writes.
    pub(crate) first: Option<Kind>,
    /// A portal with a name is opened, or a statement says something by another's name: it can't be done again
    /// elsewhere.
    pub(crate) holds: bool,
    /// Statements that would have to be said again elsewhere.
    pub(crate) says: u32,
    /// Messages that concern statements that pgweir answers itself, and others.
    own: u32,
    others: u32,
}

/// A message that can't be read.
#[derive(Debug)]
pub(crate) struct Malformed {
    /// Where it begins in the request.
    pub(crate) at: usize,
    pub(crate) report: ErrorReport,
}

/// What becomes of a request.
#[derive(Debug)]
pub(crate) enum Plan {
    /// It goes there.
    Go(Target),
    /// All of it is answered here.
    Own,
    /// It is refused.
    Refuse(Box<ErrorReport>),
}

impl Book {
    /// Plans one request of `total` bytes while no transaction binds the session: where it would go, and why.
    /// `whole`: nothing follows it that has to go the same way.
    pub(crate) fn plan(
        &mut self,
        core: &Core,
        map: &DatabaseMap,
        work: &mut Work,
        total: usize,
        whole: bool,
    ) -> Result<Plan, Malformed> {
        let mut verdict = Verdict::default();
        self.ran = Ran::Nothing;
        self.seen = Seen::default();
        self.follow_defaults();
        (self.reads, self.hinted, self.asks_position) = (Slots::NONE, None, false);
        let mut at = 0;
        while at < total {
            let Some(head) = frame::peek(&work.up.pending()[at..], frame::MAX_BODY)
                .map_err(|error| Malformed { at, report: error.into() })?
            else {
                break;
            };
            self.consider(core, map, work, at, head, None, &mut verdict)
                .map_err(|report| Malformed { at, report })?;
            at += head.total;
        }
        if !whole {
            expect_writes(&mut verdict);
        }
        if self.routing.transactions != Transactions::Primary || self.until_write.is_some() {
            self.look_at(&mut verdict);
        }
        self.remember_whole(&verdict);
        Ok(self.conclude(map, verdict, None))
    }

    /// Plans one message inside a transaction, which stays where it began; `bound` is where.
    pub(crate) fn plan_bound(
        &mut self,
        core: &Core,
        map: &DatabaseMap,
        work: &mut Work,
        head: Head,
        bound: Target,
    ) -> Result<Plan, ErrorReport> {
        let mut verdict = Verdict::default();
        self.consider(core, map, work, 0, head, Some(bound), &mut verdict)?;
        Ok(self.conclude(map, verdict, Some(bound)))
    }

    /// A Query too long to look at, or one of another kind that says nothing of itself.
    #[cold]
    pub(crate) fn plan_unknown(
        &mut self,
        map: &DatabaseMap,
        work: &mut Work,
        what: &str,
        bound: Option<Target>,
    ) -> Plan {
        let facts = unknown_facts(what);
        (self.reads, self.hinted) = (Slots::ANY, None);
        let routing = self.routing_now(map, bound, None);
        let request = RouteRequest {
            facts: &facts,
            sql: b"",
            literals: &[],
            parameters: None,
            lex: self.lex,
            catalogs: &[],
        };
        let decision = route::decide(map, &routing, &request);
        self.remember(what.as_bytes(), &decision, bound);
        work.planned.push_back(Planned::Query(facts));
        self.conclude(map, Verdict { decision: Some(decision), others: 1, ..Verdict::default() }, bound)
    }

    /// What was found out, as a plan.
    fn conclude(&mut self, map: &DatabaseMap, verdict: Verdict, bound: Option<Target>) -> Plan {
        if verdict.own > 0 && verdict.others == 0 {
            return Plan::Own;
        }
        match verdict.decision {
            Some(Decision::Refuse(refusal)) => Plan::Refuse(Box::new(report(*refusal))),
            Some(Decision::Go { target, .. }) => Plan::Go(bound.unwrap_or(target)),
            // Nothing that asks for a place: closing a statement, a Bind of an unknown name, a Sync.
            None => Plan::Go(
                bound.unwrap_or(Target { shard: self.shard_of_nothing(map), role: self.role_of_nothing() }),
            ),
        }
    }

    fn role_of_nothing(&self) -> TargetRole {
        if let Some(until) = &self.until_write {
            return until.target().role;
        }
        match self.routing.role {
            RoleSetting::Replica => TargetRole::Replica,
            RoleSetting::Auto | RoleSetting::Primary | RoleSetting::Observe => TargetRole::Primary,
        }
    }

    fn shard_of_nothing(&self, map: &DatabaseMap) -> route::ShardIndex {
        self.until_write.as_ref().map_or_else(|| map.nearest(), |until| until.target().shard)
    }

    /// What a BEGIN means follows the session's settings, and what its server says of the user's and the database's.
    #[inline]
    fn follow_defaults(&mut self) {
        let (settings, parameters) = &self.defaults_of;
        if !Rc::ptr_eq(settings, &self.wanted) || !Rc::ptr_eq(parameters, &self.told) {
            self.read_defaults();
        }
    }

    #[cold]
    fn read_defaults(&mut self) {
        let isolation = self.wanted.get("default_transaction_isolation").and_then(Isolation::named);
        let reads = self.told.get("default_transaction_read_only").map(|said| said == "on");
        let reads =
            reads.unwrap_or_else(|| self.wanted.get("default_transaction_read_only").is_some_and(says_on));
        self.routing.defaults = Begin { read_only: reads.then_some(true), isolation };
        self.defaults_of = (Rc::clone(&self.wanted), Rc::clone(&self.told));
    }

    /// The routing of a statement sent now.
    pub(crate) fn routing_now(
        &self,
        map: &DatabaseMap,
        bound: Option<Target>,
        begin: Option<sql::facts::Begin>,
    ) -> SessionRouting {
        let mut routing = self.routing;
        routing.transaction = bound;
        routing.begin = begin;
        if let (None, Some(begun)) = (bound, &self.begun) {
            routing.begin = Some(begun.begin);
            routing = routing.with_begin_hint(map, &begun.hint);
        }
        if routing.transactions != Transactions::Primary {
            self.routing_until_write(&mut routing);
        }
        if let (None, Some(until)) = (bound, &self.until_write) {
            routing.transaction = Some(until.target());
            routing.begin = Some(until.begun().begin);
            routing.until_write = Some(until.phase());
        }
        routing
    }

    /// A session that keeps its connection keeps it where it can write; a transaction that has left a replica doesn't
    /// go back to one.
    #[cold]
    fn routing_until_write(&self, routing: &mut SessionRouting) {
        let left = !self.learning && self.begun.as_ref().is_some_and(|begun| begun.said.is_some());
        if self.is_tied() || self.listening.is_some() || left || self.mode != PoolMode::Transaction {
            routing.transactions = Transactions::Primary;
        }
    }

    /// Looks at one message at `at` of what is pending. Messages that carry no text and name none add nothing.
    #[allow(clippy::too_many_arguments, reason = "one message with all that it is judged by")]
    fn consider(
        &mut self,
        core: &Core,
        map: &DatabaseMap,
        work: &mut Work,
        at: usize,
        head: Head,
        bound: Option<Target>,
        verdict: &mut Verdict,
    ) -> Result<(), ErrorReport> {
        let pending = &work.up.pending()[at..];
        let body = frame::body(&pending[..head.total.min(pending.len())]);
        match head.tag {
            tag::QUERY => {
                let sql = Query::parse(body)?.sql;
                self.unnamed = None; // a simple Query drops it
                let mut analyzer = core.analyzer.borrow_mut();
                let analysis = analyzer.analyze(sql, self.lex);
                let facts = Arc::clone(analysis.facts);
                self.refuse_block(&facts)?;
                if self.until_write.is_some() && verdict.first.is_none() {
                    verdict.first = facts.statements.first().map(|statement| statement.kind);
                }
                if facts.names_prepared {
                    drop(analyzer);
                    return self.consider_names(core, map, work, (at, head), &facts, bound, verdict);
                }
                if own::is_own(&facts) {
                    verdict.own += 1;
                    self.asks_position |= own::asks_position(&facts);
                } else {
                    let routing = self.routing_now(map, bound, verdict.begin);
                    let literals = analysis.literals;
                    let request = RouteRequest {
                        facts: &facts,
                        sql,
                        literals,
                        parameters: None,
                        lex: self.lex,
                        catalogs: self.catalogs(),
                    };
                    let decision = self.learned(core, &facts, route::decide(map, &routing, &request), true);
                    self.asks_currval |= facts.hidden.currval != Currval::No;
                    self.remember(sql, &decision, bound);
                    verdict.add(map, decision);
                }
                work.planned.push_back(Planned::Query(facts));
            }
            tag::FUNCTION_CALL => {
                let plan = self.plan_unknown(map, work, "a function call by oid", bound);
                verdict.others += 1;
                if let Plan::Refuse(refused) = plan {
                    return Err(*refused);
                }
                verdict.decision = self.last.as_ref().map(|last| Decision::Go {
                    target: last.target,
                    reason: last.reason.clone(),
                    would: None,
                });
            }
            tag::PARSE => {
                let parse = Parse::parse(body)?;
                let mut text = self.read(core, parse.sql, parse.types);
                self.refuse_block(&text.facts)?;
                if text.facts.names_prepared {
                    text = self.read_named(core, work, text);
                }
                if own::is_own(&text.facts) {
                    verdict.own += 1;
                } else {
                    let routing = self.routing_now(map, bound, verdict.begin);
                    let decision =
                        route::describe(map, &routing, &text.request(self.lex, None, self.catalogs()));
                    let decision = self.learned(core, &text.facts, decision, false);
                    self.remember(text.statement.query(), &decision, bound);
                    verdict.add(map, decision);
                }
                let name = parse.name.into();
                work.planned.push_back(Planned::Parse { name, text });
            }
            tag::BIND => self.consider_bind(core, map, work, at, head, bound, verdict)?,
            tag::DESCRIBE => {
                let describe = Describe::parse(body)?;
                if describe.target == Named::Statement {
                    let text = self.text_named(core, work, describe.name);
                    verdict.count(text.as_deref());
                    if let Some(text) = text.filter(|text| !own::is_own(&text.facts)) {
                        let routing = self.routing_now(map, bound, verdict.begin);
                        let decision =
                            route::describe(map, &routing, &text.request(self.lex, None, self.catalogs()));
                        verdict.add(map, decision);
                    }
                }
            }
            tag::CLOSE => {
                wire::frontend::Close::parse(body)?;
            }
            tag::EXECUTE => {
                wire::frontend::Execute::parse(body)?;
            }
            tag::SYNC | tag::FLUSH if head.body() > 0 => return Err(wire::MessageError::Trailing.into()),
            _ => {}
        }
        Ok(())
    }

    #[allow(clippy::too_many_arguments, reason = "one message with all that it is judged by")]
    fn consider_bind(
        &mut self,
        core: &Core,
        map: &DatabaseMap,
        work: &mut Work,
        at: usize,
        head: Head,
        bound: Option<Target>,
        verdict: &mut Verdict,
    ) -> Result<(), ErrorReport> {
        let pending = &work.up.pending()[at..];
        let whole = pending.len() >= head.total;
        let body = frame::body(&pending[..head.total.min(pending.len())]);
        let Some(names) = BindHead::parse(body, head.body())? else { return Ok(()) };
        let Some(text) = self.text_named(core, work, names.statement) else {
            verdict.others += 1; // an unknown name: the server is made to say so
            return Ok(());
        };
        verdict.count(Some(&text));
        if own::is_own(&text.facts) {
            self.asks_position |= own::asks_position(&text.facts);
            return Ok(());
        }
        let bind = if whole { Some(names.and_values(body)?) } else { None };
        let values = bind.map(|bind| BoundValues { bind, types: &text.statement.types });
        let values = values.as_ref().map(|values| values as &dyn Parameters);
        let routing = self.routing_now(map, bound, verdict.begin);
        let decision = route::decide(map, &routing, &text.request(self.lex, values, self.catalogs()));
        let decision = self.learned(core, &text.facts, decision, true);
        self.asks_currval |= text.facts.hidden.currval != Currval::No;
        self.remember(text.statement.query(), &decision, bound);
        match text.facts.statements[..] {
            [Statement { kind: Kind::Begin(begin), .. }] => {
                verdict.begin = Some(begin.or(self.routing.defaults));
            }
            [Statement { kind: Kind::Commit | Kind::Rollback, .. }] => verdict.begin = None,
            _ => {}
        }
        if self.routing.transactions != Transactions::Primary {
            let says = until_write::says(&text.facts);
            verdict.says += u32::from(says);
            verdict.holds |= !names.portal.is_empty() || (says && text.named.is_some());
        }
        if self.until_write.is_some() && verdict.first.is_none() {
            verdict.first = text.facts.statements.first().map(|statement| statement.kind);
        }
        verdict.add(map, decision);
        Ok(())
    }

    /// The text that a name stands for, by what is in hand or what was prepared before.
    fn text_named(&mut self, core: &Core, work: &Work, name: &[u8]) -> Option<Rc<Text>> {
        let in_hand = work.planned.iter().rev().find_map(|planned| match planned {
            Planned::Parse { name: given, text } if **given == *name => Some(Rc::clone(text)),
            _ => None,
        });
        in_hand.or_else(|| self.text_read_now(core, work, name))
    }

    /// In statement mode each statement is its own transaction: nothing may begin a longer one.
    #[inline]
    fn refuse_block(&self, facts: &Facts) -> Result<(), ErrorReport> {
        let begins = |statement: &Statement| matches!(statement.kind, Kind::Begin(_));
        if self.mode != PoolMode::Statement || !facts.statements.iter().any(begins) {
            return Ok(());
        }
        let message = "transaction blocks are not allowed in pool.mode: statement";
        Err(ErrorReport::error(SqlState::FEATURE_NOT_SUPPORTED, message)
            .with_hint("Use pool.mode: transaction for this database or user."))
    }

    /// What a replica refused once goes to the primary.
    /// While a request is planned again that a replica refused, the first of its texts that is run (`runs`; the others
    /// are only prepared) is the one that it refused: had it answered that one, nothing could be run again.
    pub(crate) fn learned(
        &mut self,
        core: &Core,
        facts: &Arc<Facts>,
        decision: Decision,
        runs: bool,
    ) -> Decision {
        let learning = runs && std::mem::take(&mut self.learning);
        if runs {
            self.ran.add(facts);
            self.note_reads(facts, &decision);
        }
        match decision {
            Decision::Go {
                target,
                reason: Reason { role: RoleReason::Reads | RoleReason::UntilWrite, shard },
                would,
            } if learning || core.learned.knows(facts, self.catalogs.version) => {
                if learning {
                    core.learned.learn(facts, self.catalogs.version);
                }
                let target = Target { role: TargetRole::Primary, ..target };
                Decision::Go { target, reason: Reason { role: RoleReason::Learned, shard }, would }
            }
            other => other,
        }
    }

    /// Keeps what was decided, for `SHOW pgweir.route`.
    pub(crate) fn remember(&mut self, sql: &[u8], decision: &Decision, bound: Option<Target>) {
        let Decision::Go { target, reason, would } = decision else { return };
        let statement = &sql[..sql.len().min(STATEMENT_KEPT)];
        match &mut self.last {
            Some(last) => {
                last.target = *target;
                last.reason.clone_from(reason);
                last.would = *would;
                if bound.is_none() {
                    last.node = None;
                }
                last.statement.clear();
                last.statement.extend_from_slice(statement);
            }
            None => {
                self.last = Some(Box::new(LastRoute {
                    target: *target,
                    reason: reason.clone(),
                    would: *would,
                    node: None,
                    statement: statement.to_vec(),
                }));
            }
        }
    }

    /// The last route is that of the whole request, not of its last message.
    fn remember_whole(&mut self, verdict: &Verdict) {
        let (Some(Decision::Go { target, reason, .. }), Some(last)) = (&verdict.decision, &mut self.last)
        else {
            return;
        };
        if last.target != *target {
            last.target = *target;
            last.reason.clone_from(reason);
        }
    }

    /// Whether the session stays with its server connection.
    pub(crate) fn is_tied(&self) -> bool {
        self.pin.is_some() || self.mode == PoolMode::Session
    }

    /// Whether a BEGIN by simple Query may be answered at once.
    pub(crate) fn defers_begin(&self) -> bool {
        self.mode == PoolMode::Transaction && self.begun.is_none() && self.until_write.is_none()
    }
}

impl Verdict {
    pub(crate) fn add(&mut self, map: &DatabaseMap, decision: Decision) {
        self.others += 1;
        self.decision = Some(match self.decision.take() {
            None => decision,
            Some(first) => route::combine(map, first, decision),
        });
    }

    /// Where it goes, and why; `None`: it is refused, or asks for no place.
    pub(crate) fn goes(&mut self) -> Option<(&mut Target, &mut RoleReason)> {
        match &mut self.decision {
            Some(Decision::Go { target, reason, .. }) => Some((target, &mut reason.role)),
            Some(Decision::Refuse(_)) | None => None,
        }
    }

    fn count(&mut self, text: Option<&Text>) {
        match text {
            Some(text) if own::is_own(&text.facts) => self.own += 1,
            _ => self.others += 1,
        }
    }
}

impl Text {
    pub(crate) fn request<'a>(
        &'a self,
        lex: sql::LexSettings,
        parameters: Option<&'a dyn Parameters>,
        catalogs: &'a [Arc<Catalog>],
    ) -> RouteRequest<'a> {
        RouteRequest {
            facts: &self.facts,
            sql: self.statement.query(),
            literals: &self.literals,
            parameters,
            lex,
            catalogs,
        }
    }
}

/// What goes on before its Sync is judged by what may still come: the primary, where nobody asked for a replica.
fn expect_writes(verdict: &mut Verdict) {
    if let Some(Decision::Go { target, reason, .. }) = &mut verdict.decision
        && matches!(
            reason.role,
            RoleReason::Reads | RoleReason::PipelineReads | RoleReason::Empty | RoleReason::UntilWrite
        )
    {
        target.role = TargetRole::Primary;
        reason.role = RoleReason::PipelineGoesOn;
    }
}

/// Whether a boolean setting's value is yes, as Postgres reads it.
fn says_on(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str| !value.is_empty() && word.starts_with(&*value);
    begins("true") || begins("yes") || value == "on" || value == "1"
}

/// Bind's values, with the types that Parse gave.
struct BoundValues<'a> {
    bind: Bind<'a>,
    types: &'a [u8],
}

impl Parameters for BoundValues<'_> {
    fn value(&self, number: u16) -> Option<ParameterValue<'_>> {
        let index = usize::from(number).checked_sub(1)?;
        let (format, bytes) = self.bind.parameter(index)?;
        let oid = self.types.get(index * 4..index * 4 + 4).and_then(|oid| <[u8; 4]>::try_from(oid).ok());
        Some(ParameterValue { bytes, binary: format == 1, type_oid: oid.map_or(0, u32::from_be_bytes) })
    }
}

/// The facts of something that says nothing of itself.
fn unknown_facts(what: &str) -> Arc<Facts> {
    let statements = vec![Statement::unknown(what)];
    let hidden = sql::facts::Hidden::of(&statements);
    Arc::new(Facts { statements, access: Access::Unknown, hidden, ..Facts::default() })
}

#[cold]
fn report(refusal: route::Refusal) -> ErrorReport {
    let code = SqlState::from_bytes(refusal.sqlstate.as_bytes()).unwrap_or(SqlState::FEATURE_NOT_SUPPORTED);
    let mut report = ErrorReport::error(code, refusal.message);
    report.detail = refusal.detail.map(Into::into);
    report.hint = refusal.hint.map(Into::into);
    report
}
