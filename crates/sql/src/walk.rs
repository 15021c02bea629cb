//! From the parser's tree to facts: relations with WITH's names taken out, functions, locks, what is written.
//!
//! Whatever Postgres' grammar doesn't have (the parser knows other databases' too) makes the statement not understood.

use std::ops::ControlFlow;
use std::ptr;

use sqlparser::ast::{
    self, Expr, FromTable, FunctionArguments, Insert, JoinOperator, ObjectName, ObjectNamePart,
    OnConflictAction, OnInsert, Query, Select, SelectFlavor, SetExpr, TableFactor, TableObject,
    TableWithJoins, UpdateTableFromKind, Visit, Visitor,
};

use crate::facts::{Access, Because, Call, Kind, Name, Relation, Statement};
use crate::functions::{self, Verdict};
use crate::keys;
use crate::statement::{judge_relation, relation_parts};
use crate::tokens::Cursor;

/// The facts of a tree; or what of it isn't Postgres'.
pub(crate) fn facts(tree: &ast::Statement, text: Cursor<'_>) -> Result<Statement, &'static str> {
    let (kind, main) = main(tree)?;
    let mut walk = Walk {
        statement: Statement::read(kind),
        main,
        scopes: Vec::new(),
        written: Vec::new(),
        called: Vec::new(),
        places: Vec::new(),
        queries: 0,
    };
    if let ControlFlow::Break(why) = tree.visit(&mut walk) {
        return Err(why);
    }
    walk.statement.keys = keys::keys(tree, &walk, text);
    Ok(walk.statement)
}

/// What a statement is in the main, behind its WITH.
fn main(tree: &ast::Statement) -> Result<(Kind, *const ast::Statement), &'static str> {
    let mut statement = tree;
    if let ast::Statement::Query(query) = tree {
        match &*query.body {
            SetExpr::Insert(inner)
            | SetExpr::Update(inner)
            | SetExpr::Delete(inner)
            | SetExpr::Merge(inner) => statement = inner,
            _ => return Ok((Kind::Select, ptr::from_ref(tree))),
        }
    }
    let kind = match statement {
        ast::Statement::Insert(_) => Kind::Insert,
        ast::Statement::Update(_) => Kind::Update,
        ast::Statement::Delete(_) => Kind::Delete,
        ast::Statement::Merge(_) => Kind::Merge,
        _ => return Err("a statement of another kind than its first word says"),
    };
    Ok((kind, ptr::from_ref(statement)))
}

/// The names of one query's WITH that can be seen now.
#[derive(Debug)]
struct Scope {
    names: Vec<String>,
    /// Not yet seen: they become so when their own query is left.
    coming: Vec<(*const Query, String)>,
}

/// Collects facts while the tree is walked.
#[derive(Debug)]
pub(crate) struct Walk {
    statement: Statement,
    main: *const ast::Statement,
    scopes: Vec<Scope>,
    /// Names that are the target of an INSERT, UPDATE, DELETE or MERGE.
    written: Vec<*const ObjectName>,
    /// Names in FROM that are functions.
    called: Vec<*const ObjectName>,
    /// Which relation each name became.
    places: Vec<(*const ObjectName, usize)>,
    /// How many queries there are, subqueries included.
    pub(crate) queries: usize,
}

type Flow = ControlFlow<&'static str>;

const GO_ON: Flow = ControlFlow::Continue(());

/// Breaks if something that Postgres doesn't have is there.
fn no(foreign: bool) -> Flow {
    if foreign { ControlFlow::Break("syntax of another database") } else { GO_ON }
}

impl Walk {
    /// The index of the relation that this very name became.
    pub(crate) fn place(&self, name: &ObjectName) -> Option<usize> {
        self.places.iter().find(|(place, _)| ptr::eq(*place, name)).map(|(_, index)| *index)
    }

    fn is_with_name(&self, name: &str) -> bool {
        self.scopes.iter().any(|scope| scope.names.iter().any(|known| known == name))
    }

    fn function(&mut self, name: &ObjectName) -> Flow {
        let Some(parts) = parts(name) else { return no(true) };
        let quoted = matches!(name.0.as_slice(),
            [ObjectNamePart::Identifier(only)] if only.quote_style.is_some());
        let Some((schema, name)) = relation_parts(parts) else { return no(true) };
        let verdict = functions::verdict(schema.as_deref(), &name, quoted);
        let reads = matches!(verdict, Verdict::Reads | Verdict::ReadsUnknownTables);
        let call = Call { schema, name: name.clone(), reads };
        if !self.statement.calls.functions.contains(&call) {
            self.statement.calls.functions.push(call);
        }
        match verdict {
            Verdict::Reads => {}
            Verdict::ReadsUnknownTables => self.statement.relations_complete = false,
            Verdict::Primary => {
                self.statement.relations_complete &= !functions::reads_unknown_tables(&name);
                self.statement.worsen(Access::Write, Because::Function(name));
            }
            Verdict::Unknown => {
                self.statement.relations_complete = false;
                self.statement.runs_code = true;
                self.statement.worsen(Access::Unknown, Because::UnknownFunction(name));
            }
        }
        GO_ON
    }

    fn target(&mut self, table: &TableFactor) -> Flow {
        let TableFactor::Table { name, args: None, .. } = table else { return no(true) };
        self.written.push(ptr::from_ref(name));
        GO_ON
    }

    fn assign(&mut self, assignments: &[ast::Assignment]) -> Flow {
        for assignment in assignments {
            let columns = match &assignment.target {
                ast::AssignmentTarget::ColumnName(column) => std::slice::from_ref(column),
                ast::AssignmentTarget::Tuple(columns) => columns,
            };
            for column in columns {
                // `SET c.field = …` and `SET c[1] = …` change c: its name comes first.
                let Some(column) = column.0.first().and_then(ObjectNamePart::as_ident) else {
                    return no(true);
                };
                let column: Name = column.value.as_str().into();
                if !self.statement.assigned.contains(&column) {
                    self.statement.assigned.push(column);
                }
            }
        }
        GO_ON
    }

    fn insert(&mut self, insert: &Insert) -> Flow {
        let TableObject::TableName(name) = &insert.table else { return no(true) };
        self.written.push(ptr::from_ref(name));
        no(insert.or.is_some()
            || insert.ignore
            || !insert.into
            || insert.overwrite
            || insert.replace_into
            || insert.has_table_keyword
            || !insert.assignments.is_empty()
            || insert.partitioned.is_some()
            || !insert.after_columns.is_empty()
            || insert.priority.is_some()
            || insert.insert_alias.is_some()
            || insert.settings.is_some()
            || insert.format_clause.is_some()
            || insert.multi_table_insert_type.is_some()
            || insert.output.is_some())?;
        match &insert.on {
            None => GO_ON,
            Some(OnInsert::OnConflict(conflict)) => match &conflict.action {
                OnConflictAction::DoNothing => GO_ON,
                OnConflictAction::DoUpdate(update) => self.assign(&update.assignments),
            },
            Some(_) => no(true),
        }
    }

    fn update(&mut self, update: &ast::Update) -> Flow {
        self.target(&update.table.relation)?;
        self.assign(&update.assignments)?;
        no(update.or.is_some()
            || update.output.is_some()
            || !update.order_by.is_empty()
            || update.limit.is_some()
            || !update.table.joins.is_empty())?;
        match &update.from {
            None => GO_ON,
            Some(UpdateTableFromKind::AfterSet(from)) => joins(from),
            Some(UpdateTableFromKind::BeforeSet(_)) => no(true),
        }
    }

    fn delete(&mut self, delete: &ast::Delete) -> Flow {
        let FromTable::WithFromKeyword(from) = &delete.from else { return no(true) };
        let [TableWithJoins { relation, joins: none }] = from.as_slice() else { return no(true) };
        self.target(relation)?;
        no(!none.is_empty()
            || !delete.tables.is_empty()
            || delete.output.is_some()
            || !delete.order_by.is_empty()
            || delete.limit.is_some())?;
        joins(delete.using.as_deref().unwrap_or_default())
    }

    fn merge(&mut self, merge: &ast::Merge) -> Flow {
        self.target(&merge.table)?;
        no(!merge.into || merge.output.is_some())?;
        for clause in &merge.clauses {
            if let ast::MergeAction::Update(update) = &clause.action {
                let ast::MergeUpdateKind::Set(assignments) = &update.kind else { return no(true) };
                no(update.update_predicate.is_some() || update.delete_predicate.is_some())?;
                self.assign(assignments)?;
            }
        }
        GO_ON
    }
}

/// A name's parts, unquoted; `None` for what isn't plain.
pub(crate) fn parts(name: &ObjectName) -> Option<Vec<Name>> {
    name.0.iter().map(|part| part.as_ident().map(|ident| ident.value.as_str().into())).collect()
}

fn joins(from: &[TableWithJoins]) -> Flow {
    for join in from.iter().flat_map(|table| &table.joins) {
        let ours = matches!(
            join.join_operator,
            JoinOperator::Join(_)
                | JoinOperator::Inner(_)
                | JoinOperator::Left(_)
                | JoinOperator::LeftOuter(_)
                | JoinOperator::Right(_)
                | JoinOperator::RightOuter(_)
                | JoinOperator::FullOuter(_)
                | JoinOperator::CrossJoin(_)
        );
        no(!ours || join.global)?;
    }
    GO_ON
}

impl Visitor for Walk {
    type Break = &'static str;

    fn pre_visit_statement(&mut self, statement: &ast::Statement) -> Flow {
        let command = match statement {
            ast::Statement::Query(_) => return GO_ON,
            ast::Statement::Insert(insert) => {
                self.insert(insert)?;
                "INSERT"
            }
            ast::Statement::Update(update) => {
                self.update(update)?;
                "UPDATE"
            }
            ast::Statement::Delete(delete) => {
                self.delete(delete)?;
                "DELETE"
            }
            ast::Statement::Merge(merge) => {
                self.merge(merge)?;
                "MERGE"
            }
            _ => return no(true),
        };
        let is_main = ptr::eq(statement, self.main);
        let because = if is_main { Because::Command(command) } else { Because::WritingWith };
        self.statement.worsen(Access::Write, because);
        GO_ON
    }

    fn pre_visit_query(&mut self, query: &Query) -> Flow {
        no(query.for_clause.is_some()
            || query.settings.is_some()
            || query.format_clause.is_some()
            || !query.pipe_operators.is_empty())?;
        self.queries += 1;
        if !query.locks.is_empty() {
            self.statement.worsen(Access::Write, Because::Locking);
        }
        let mut scope = Scope { names: Vec::new(), coming: Vec::new() };
        if let Some(with) = &query.with {
            for cte in &with.cte_tables {
                no(cte.from.is_some())?;
                let name = cte.alias.name.value.clone();
                if with.recursive {
                    scope.names.push(name);
                } else {
                    scope.coming.push((ptr::from_ref(&*cte.query), name));
                }
            }
        }
        self.scopes.push(scope);
        GO_ON
    }

    fn post_visit_query(&mut self, query: &Query) -> Flow {
        self.scopes.pop();
        if let Some(outer) = self.scopes.last_mut()
            && let Some(at) = outer.coming.iter().position(|(coming, _)| ptr::eq(*coming, query))
        {
            let (_, name) = outer.coming.remove(at);
            outer.names.push(name);
        }
        GO_ON
    }

    fn pre_visit_select(&mut self, select: &Select) -> Flow {
        no(select.top.is_some()
            || select.select_modifiers.is_some()
            || select.exclude.is_some()
            || !select.lateral_views.is_empty()
            || select.prewhere.is_some()
            || !select.connect_by.is_empty()
            || !select.cluster_by.is_empty()
            || !select.distribute_by.is_empty()
            || !select.sort_by.is_empty()
            || select.qualify.is_some()
            || select.value_table_mode.is_some()
            || select.flavor != SelectFlavor::Standard)?;
        if select.into.is_some() {
            self.statement.worsen(Access::Write, Because::Into);
            self.statement.relations_complete = false;
        }
        joins(&select.from)
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> Flow {
        match factor {
            TableFactor::Table {
                name,
                args,
                with_hints,
                version,
                partitions,
                json_path,
                index_hints,
                ..
            } => {
                no(!with_hints.is_empty()
                    || version.is_some()
                    || !partitions.is_empty()
                    || json_path.is_some()
                    || !index_hints.is_empty())?;
                if args.is_some() {
                    self.called.push(ptr::from_ref(name));
                    return self.function(name);
                }
                GO_ON
            }
            TableFactor::Function { name, .. } => {
                self.called.push(ptr::from_ref(name));
                self.function(name)
            }
            TableFactor::NestedJoin { table_with_joins, .. } => joins(std::slice::from_ref(table_with_joins)),
            TableFactor::UNNEST { with_offset, .. } => no(*with_offset),
            TableFactor::Derived { .. } | TableFactor::XmlTable { .. } => GO_ON,
            _ => no(true),
        }
    }

    fn pre_visit_relation(&mut self, name: &ObjectName) -> Flow {
        if self.called.iter().any(|called| ptr::eq(*called, name)) {
            return GO_ON;
        }
        let written = self.written.iter().any(|target| ptr::eq(*target, name));
        let Some((schema, relation)) = parts(name).and_then(relation_parts) else { return no(true) };
        if schema.is_none() && !written && self.is_with_name(&relation) {
            return GO_ON;
        }
        judge_relation(&mut self.statement, schema.as_deref(), &relation);
        self.places.push((ptr::from_ref(name), self.statement.relations.len()));
        self.statement.relations.push(Relation { schema, name: relation, written });
        GO_ON
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> Flow {
        match expr {
            Expr::Function(function) => {
                no(function.uses_odbc_syntax || function.parameters != FunctionArguments::None)?;
                self.function(&function.name)
            }
            Expr::Cast { .. } | Expr::TypedString(_) => {
                self.statement.calls.casts = true;
                GO_ON
            }
            Expr::JsonAccess { .. }
            | Expr::InUnnest { .. }
            | Expr::RLike { .. }
            | Expr::Convert { .. }
            | Expr::Prefixed { .. }
            | Expr::Struct { .. }
            | Expr::Named { .. }
            | Expr::Dictionary(_)
            | Expr::Map(_)
            | Expr::MatchAgainst { .. }
            | Expr::OuterJoin(_)
            | Expr::Prior(_)
            | Expr::Lambda(_)
            | Expr::MemberOf(_) => no(true),
            _ => GO_ON,
        }
    }
}
