//! What a database is asked for its catalog, and its answers as rows.
//!
//! What views and policies call is found in their rules as `pg_rewrite` and `pg_policy` keep them, node trees in which
//! each call has its function's oid: `pg_depend` says nothing of built-in functions.

use route::{CalledRow, CatalogRows, FunctionRow, OperatorRow, RelationKind, RelationRow, TableRow};
use thiserror::Error;
use tokio_postgres::{Client, Row};

/// More rows of one kind than this are not taken: nothing is known of that catalog then.
const MOST_ROWS: usize = 100_000;

/// All looks see one state of the catalog, by names that no search_path bends, and don't take for ever.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
     SET LOCAL search_path = pg_catalog; SET LOCAL statement_timeout = '10s'; SET LOCAL jit = off";

/// Changes whenever a row is made, changed or dropped that the catalog is made of: each has the id of the transaction
/// that made it.
const FINGERPRINT: &str = "\
SELECT concat_ws(' ', \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_namespace), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_proc WHERE oid >= 16384), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_class \
    WHERE oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND relpersistence <> 't'), \
  (SELECT count(*) || ':' || coalesce(sum(r.xmin::text::int8), 0) FROM pg_rewrite r WHERE oid >= 16384), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_policy), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_inherits), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_operator WHERE oid >= 16384), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_cast WHERE oid >= 16384), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_trigger WHERE NOT tgisinternal), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_attrdef), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_index \
    WHERE indexprs IS NOT NULL OR indpred IS NOT NULL), \
  (SELECT count(*) || ':' || coalesce(sum(xmin::text::int8), 0) FROM pg_constraint \
    WHERE contypid <> 0 OR contype IN ('c', 'f')))";

/// An aggregate is as volatile as the functions that it is made of.
const FUNCTIONS: &str = "\
SELECT n.nspname::text, p.proname::text, bool_or(p.provolatile = 'v' OR EXISTS ( \
         SELECT FROM pg_aggregate a JOIN pg_proc t \
             ON t.oid IN (a.aggtransfn, a.aggfinalfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) \
          WHERE p.prokind = 'a' AND a.aggfnoid = p.oid AND t.provolatile = 'v')), \
       bool_or(p.oid >= 16384 AND NOT EXISTS (SELECT FROM pg_language l \
          WHERE l.oid = p.prolang AND l.lanname IN ('c', 'internal'))) \
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace \
 WHERE p.prokind <> 'p' AND (p.oid >= 16384 OR n.nspname = 'pg_catalog') \
 GROUP BY 1, 2";

/// System views too, where the database's own read them.
const RELATIONS: &str = "\
SELECT c.oid, n.nspname::text, c.relname::text, c.relkind::text, c.relpersistence::text, c.oid < 16384 \
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
 WHERE c.relpersistence <> 't' AND (c.relkind IN ('v', 'S', 'f') OR c.relrowsecurity OR c.relhassubclass \
    OR (c.relpersistence = 'u' AND c.relkind IN ('r', 'p', 'm')))";

/// Children that may be guarded, and their parents.
const CHILDREN: &str = "\
SELECT i.inhparent, i.inhrelid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid \
 WHERE c.relkind = 'f' OR c.relhassubclass OR (c.relpersistence = 'u' AND c.relkind IN ('r', 'p'))";

/// Tables and views, and whether a write to one runs code that may touch another: a trigger, a rule, a function of the
/// database's own in a default, a check, an index or a column's domain. (One written in C is taken not to: `uuid_generate_v4()` and its like.)
const TABLES: &str = "\
SELECT c.oid, c.relname::text, \
       EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND NOT t.tgisinternal) \
    OR (c.relhasrules AND EXISTS (SELECT FROM pg_rewrite r WHERE r.ev_class = c.oid AND r.ev_type <> '1')) \
    OR c.oid IN (SELECT x.relation \
         FROM (SELECT adrelid AS relation, adbin::text AS tree FROM pg_attrdef \
               UNION ALL SELECT conrelid, conbin::text FROM pg_constraint WHERE contype = 'c' \
               UNION ALL SELECT indrelid, concat(indexprs::text, indpred::text) FROM pg_index WHERE indexrelid >= 16384 \
               UNION ALL SELECT a.attrelid, k.conbin::text FROM pg_constraint k JOIN pg_attribute a ON a.atttypid = k.contypid \
                          WHERE k.contypid <> 0) x, \
              regexp_matches(x.tree, ':(?:funcid|opfuncid) (\\d+)', 'g') m \
         JOIN pg_proc p ON p.oid = m[1]::oid JOIN pg_language l ON l.oid = p.prolang \
        WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')) \
  FROM pg_class c WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.relpersistence <> 't'";

const INHERITS: &str = "SELECT inhparent, inhrelid FROM pg_inherits";

/// Foreign keys that change the rows that refer to a row, with the row.
const CASCADES: &str = "\
SELECT DISTINCT confrelid, conrelid FROM pg_constraint \
 WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))";

/// What the trees of rules and policies name: relations (`r`), functions (`f`), or a locking clause (`l`).
const NAMED: &str = "\
SELECT DISTINCT o.relation, \
       CASE WHEN m[1] = 'relid' THEN 'r' WHEN m[1] IS NULL THEN 'l' ELSE 'f' END, coalesce(m[2], '0')::oid \
  FROM (SELECT r.ev_class AS relation, r.ev_action::text AS tree \
          FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class \
         WHERE c.relkind = 'v' AND c.oid >= 16384 AND r.ev_type = '1' \
        UNION ALL \
        SELECT p.polrelid, p.polqual::text FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid \
         WHERE c.relrowsecurity AND p.polcmd IN ('r', '*')) o, \
       regexp_matches(o.tree, ':(relid|funcid|opfuncid|aggfnoid|winfnoid) (\\d+)|\\{ROWMARKCLAUSE', 'g') m \
 WHERE m[2] IS DISTINCT FROM '0'";

const OPERATORS: &str = "\
SELECT o.oprname::text, bool_or(p.provolatile = 'v'), bool_or(l.lanname NOT IN ('c', 'internal')) \
  FROM pg_operator o JOIN pg_proc p ON p.oid = o.oprcode JOIN pg_language l ON l.oid = p.prolang \
 WHERE o.oid >= 16384 GROUP BY 1";

/// Functions of one row, which may be written as if they were columns of its table.
const ROW_FUNCTIONS: &str = "\
SELECT c.oid, bool_or(p.provolatile = 'v') \
  FROM pg_proc p JOIN pg_type t ON t.oid = p.proargtypes[0] JOIN pg_class c ON c.oid = t.typrelid \
  JOIN pg_language l ON l.oid = p.prolang \
 WHERE p.prokind = 'f' AND p.pronargs >= 1 AND p.pronargs - p.pronargdefaults <= 1 AND p.oid >= 16384 \
   AND l.lanname NOT IN ('c', 'internal') AND c.relkind IN ('r', 'p', 'v', 'm', 'f') GROUP BY 1";

/// Explicit casts and domains' checks; implicit casts.
const CASTS: &str = "\
SELECT EXISTS (SELECT FROM pg_cast k JOIN pg_proc p ON p.oid = k.castfunc \
                WHERE k.oid >= 16384 AND p.provolatile = 'v') \
    OR EXISTS (SELECT FROM pg_constraint c, regexp_matches(c.conbin::text, ':(?:funcid|opfuncid) (\\d+)', 'g') m \
                 JOIN pg_proc p ON p.oid = m[1]::oid WHERE c.contypid <> 0 AND p.provolatile = 'v'), \
       EXISTS (SELECT FROM pg_cast k JOIN pg_proc p ON p.oid = k.castfunc \
                WHERE k.oid >= 16384 AND p.provolatile = 'v' AND k.castcontext = 'i'), \
       EXISTS (SELECT FROM pg_cast k JOIN pg_proc p ON p.oid = k.castfunc JOIN pg_language l ON l.oid = p.prolang \
                WHERE k.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')) \
    OR EXISTS (SELECT FROM pg_constraint c, regexp_matches(c.conbin::text, ':(?:funcid|opfuncid) (\\d+)', 'g') m \
                 JOIN pg_proc p ON p.oid = m[1]::oid JOIN pg_language l ON l.oid = p.prolang \
                WHERE c.contypid <> 0 AND p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')), \
       EXISTS (SELECT FROM pg_cast k JOIN pg_proc p ON p.oid = k.castfunc JOIN pg_language l ON l.oid = p.prolang \
                WHERE k.oid >= 16384 AND l.lanname NOT IN ('c', 'internal') AND k.castcontext = 'i')";

/// What tells one state of a catalog from another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fingerprint(String);

/// Why the answers are no catalog.
#[derive(Debug, Error)]
pub(super) enum AnswerError {
    #[error("{0}")]
    Query(#[from] tokio_postgres::Error),
    #[error("there are more than {MOST_ROWS} of its {0}")]
    TooMany(&'static str),
}

/// Asks for all, unless the fingerprint is still the known one.
pub(super) async fn ask(
    client: &Client,
    known: Option<&Fingerprint>,
) -> Result<Option<(Fingerprint, CatalogRows)>, AnswerError> {
    client.batch_execute(BEGIN).await?;
    let fingerprint = Fingerprint(client.query_one(FINGERPRINT, &[]).await?.try_get(0)?);
    let rows = if known == Some(&fingerprint) { None } else { Some(rows(client).await?) };
    client.batch_execute("COMMIT").await?;
    Ok(rows.map(|rows| (fingerprint, rows)))
}

async fn rows(client: &Client) -> Result<CatalogRows, AnswerError> {
    let mut rows = CatalogRows {
        functions: each(client, "functions", FUNCTIONS, function).await?,
        relations: each(client, "relations", RELATIONS, relation).await?,
        reads: each(client, "children", CHILDREN, |row| Ok((row.try_get(0)?, row.try_get(1)?))).await?,
        operators: each(client, "operators", OPERATORS, operator).await?,
        ..CatalogRows::default()
    };
    let pair = |row: &Row| Ok((row.try_get(0)?, row.try_get(1)?));
    let tables = async {
        rows.inherits = each(client, "children", INHERITS, pair).await?;
        rows.cascades = each(client, "foreign keys", CASCADES, pair).await?;
        rows.row_functions =
            each(client, "functions of rows", ROW_FUNCTIONS, |row| Ok((row.try_get(0)?, row.try_get(1)?)))
                .await?;
        rows.tables = each(client, "tables", TABLES, table).await?;
        Ok(())
    };
    match tables.await {
        // Reads of what isn't known need what was written last to any table: slower, and right.
        Ok(()) | Err(AnswerError::TooMany(_)) => {}
        Err(error) => return Err(error),
    }
    let casts = client.query_one(CASTS, &[]).await?;
    (rows.volatile_casts, rows.volatile_implicit_casts) = (casts.try_get(0)?, casts.try_get(1)?);
    (rows.code_casts, rows.code_implicit_casts) = (casts.try_get(2)?, casts.try_get(3)?);
    let named = each(client, "rules", NAMED, named).await?;
    let mut called = Vec::new();
    for (relation, what, oid) in named {
        match what.as_str() {
            "r" => rows.reads.push((relation, oid)),
            "l" => rows.locks.push(relation),
            _ => called.push((relation, oid)),
        }
    }
    rows.calls = calls(client, &called).await?;
    Ok(rows)
}

/// The functions of these oids that are not immutable, by the relations that call them.
async fn calls(client: &Client, called: &[(u32, u32)]) -> Result<Vec<CalledRow>, AnswerError> {
    const CALLED: &str = "\
        SELECT c.relation, n.nspname::text, p.proname::text, p.provolatile = 'v' OR EXISTS ( \
                 SELECT FROM pg_aggregate a JOIN pg_proc t \
                     ON t.oid IN (a.aggtransfn, a.aggfinalfn, a.aggmtransfn, a.aggminvtransfn, a.aggmfinalfn) \
                  WHERE a.aggfnoid = p.oid AND t.provolatile = 'v') \
          FROM unnest($1::oid[], $2::oid[]) AS c (relation, function) \
          JOIN pg_proc p ON p.oid = c.function JOIN pg_namespace n ON n.oid = p.pronamespace \
         WHERE p.provolatile <> 'i' OR p.prokind = 'a'";
    let (relations, functions): (Vec<u32>, Vec<u32>) = called.iter().copied().unzip();
    let rows = client.query(CALLED, &[&relations, &functions]).await?;
    let call = |row: &Row| {
        Ok(CalledRow {
            relation: row.try_get(0)?,
            schema: row.try_get(1)?,
            name: row.try_get(2)?,
            volatile: row.try_get(3)?,
        })
    };
    rows.iter().map(call).collect()
}

/// All rows of a question, but no more than there may be.
async fn each<T>(
    client: &Client,
    what: &'static str,
    question: &str,
    row: impl Fn(&Row) -> Result<T, tokio_postgres::Error>,
) -> Result<Vec<T>, AnswerError> {
    let rows = client.query(&format!("{question} LIMIT {}", MOST_ROWS + 1), &[]).await?;
    if rows.len() > MOST_ROWS {
        return Err(AnswerError::TooMany(what));
    }
    Ok(rows.iter().map(row).collect::<Result<_, _>>()?)
}

fn function(row: &Row) -> Result<FunctionRow, tokio_postgres::Error> {
    Ok(FunctionRow {
        schema: row.try_get(0)?,
        name: row.try_get(1)?,
        volatile: row.try_get(2)?,
        code: row.try_get(3)?,
    })
}

fn operator(row: &Row) -> Result<OperatorRow, tokio_postgres::Error> {
    Ok(OperatorRow { name: row.try_get(0)?, volatile: row.try_get(1)?, code: row.try_get(2)? })
}

fn relation(row: &Row) -> Result<RelationRow, tokio_postgres::Error> {
    let (kind, persistence): (String, String) = (row.try_get(3)?, row.try_get(4)?);
    let kind = match (kind.as_str(), persistence.as_str(), row.try_get(5)?) {
        (_, _, true) => RelationKind::System,
        ("S", ..) => RelationKind::Sequence,
        ("f", ..) => RelationKind::Foreign,
        (_, "u", _) => RelationKind::Unlogged,
        _ => RelationKind::Plain,
    };
    Ok(RelationRow { oid: row.try_get(0)?, schema: row.try_get(1)?, name: row.try_get(2)?, kind })
}

fn table(row: &Row) -> Result<TableRow, tokio_postgres::Error> {
    Ok(TableRow { oid: row.try_get(0)?, name: row.try_get(1)?, code: row.try_get(2)? })
}

fn named(row: &Row) -> Result<(u32, String, u32), tokio_postgres::Error> {
    Ok((row.try_get(0)?, row.try_get(1)?, row.try_get(2)?))
}
