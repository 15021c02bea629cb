//! Key values that are proved from the tree: equality AND-ed at the only query level, and the rows of INSERT … VALUES.

use sqlparser::ast::{
    self, BinaryOperator, CastKind, DataType, Expr, FromTable, JoinConstraint, JoinOperator, SetExpr,
    TableFactor, TableWithJoins, UpdateTableFromKind,
};

use crate::facts::{KeyEquality, Keys, Name, Value};
use crate::lexer::TokenKind;
use crate::tokens::{Cursor, bytes, is_word};
use crate::walk::{Walk, parts};

/// What is known of key values in this statement.
pub(crate) fn keys(tree: &ast::Statement, walk: &Walk, text: Cursor<'_>) -> Keys {
    match tree {
        ast::Statement::Insert(insert) => rows(insert, walk),
        _ => equal(tree, walk, text).filter(|found| !found.is_empty()).map_or(Keys::None, Keys::Equal),
    }
}

/// A table in FROM: what columns are qualified with, and its relation if it is one.
struct Factor {
    name: Name,
    schema: Option<Name>,
    relation: Option<usize>,
}

fn equal(tree: &ast::Statement, walk: &Walk, text: Cursor<'_>) -> Option<Vec<KeyEquality>> {
    let mut factors = Vec::new();
    let mut conditions = Vec::new();
    match tree {
        ast::Statement::Query(query) => {
            let SetExpr::Select(select) = &*query.body else { return None };
            if query.with.is_some() || walk.queries != 1 {
                return None;
            }
            from(&select.from, walk, &mut factors, &mut conditions)?;
            conditions.extend(&select.selection);
        }
        ast::Statement::Update(update) if walk.queries == 0 => {
            from(std::slice::from_ref(&update.table), walk, &mut factors, &mut conditions)?;
            if let Some(UpdateTableFromKind::AfterSet(tables)) = &update.from {
                from(tables, walk, &mut factors, &mut conditions)?;
            }
            conditions.extend(&update.selection);
        }
        ast::Statement::Delete(delete) if walk.queries == 0 => {
            let FromTable::WithFromKeyword(tables) = &delete.from else { return None };
            from(tables, walk, &mut factors, &mut conditions)?;
            from(delete.using.as_deref().unwrap_or_default(), walk, &mut factors, &mut conditions)?;
            conditions.extend(&delete.selection);
        }
        _ => return None,
    }
    let ambiguous =
        factors.iter().enumerate().any(|(at, one)| factors[..at].iter().any(|other| other.name == one.name));
    if ambiguous {
        return None;
    }
    let mut found = Vec::new();
    while let Some(condition) = conditions.pop() {
        match condition {
            Expr::Nested(inner) => conditions.push(inner),
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                conditions.push(left);
                conditions.push(right);
            }
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => {
                found.extend(equality(left, right, &factors, text));
                found.extend(equality(right, left, &factors, text));
            }
            _ => {}
        }
    }
    Some(found)
}

/// Adds the tables of a FROM and the conditions of its inner joins; `None` if it has anything else in it.
fn from<'a>(
    tables: &'a [TableWithJoins],
    walk: &Walk,
    factors: &mut Vec<Factor>,
    conditions: &mut Vec<&'a Expr>,
) -> Option<()> {
    for table in tables {
        factors.push(factor(&table.relation, walk)?);
        for join in &table.joins {
            factors.push(factor(&join.relation, walk)?);
            match &join.join_operator {
                JoinOperator::Join(JoinConstraint::On(on)) | JoinOperator::Inner(JoinConstraint::On(on)) => {
                    conditions.push(on);
                }
                JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => {}
                _ => return None,
            }
        }
    }
    Some(())
}

fn factor(table: &TableFactor, walk: &Walk) -> Option<Factor> {
    let TableFactor::Table { name, alias, args, .. } = table else { return None };
    let mut written = parts(name)?;
    let own = written.pop()?;
    // Column names of an alias hide the table's own.
    let (name_seen, schema) = match alias {
        Some(alias) if alias.columns.is_empty() => (alias.name.value.as_str().into(), None),
        Some(_) => return None,
        None => (own, written.pop()),
    };
    let relation = if args.is_none() { Some(walk.place(name)?) } else { None };
    Some(Factor { name: name_seen, schema, relation })
}

/// `column = value`, in this order.
fn equality(column: &Expr, value: &Expr, factors: &[Factor], text: Cursor<'_>) -> Option<KeyEquality> {
    let (relation, column) = resolve(column, factors)?;
    let value = constant(value, Some(text))?;
    Some(KeyEquality { relation, column, value })
}

fn resolve(column: &Expr, factors: &[Factor]) -> Option<(usize, Name)> {
    match column {
        Expr::Nested(inner) => resolve(inner, factors),
        Expr::Identifier(column) => match factors {
            [only] => Some((only.relation?, column.value.as_str().into())),
            _ => None,
        },
        Expr::CompoundIdentifier(parts) => {
            let (schema, table, column) = match parts.as_slice() {
                [table, column] => (None, table, column),
                [schema, table, column] => (Some(schema.value.as_str()), table, column),
                _ => return None,
            };
            let factor = factors.iter().find(|factor| *factor.name == *table.value)?;
            let same_schema = schema.is_none() || schema == factor.schema.as_deref();
            if !same_schema {
                return None;
            }
            Some((factor.relation?, column.value.as_str().into()))
        }
        _ => None,
    }
}

/// A literal that was left out of the shape, or a parameter; with a cast that can't change what it identifies.
///
/// With the statement's tokens given, those around the value are looked at too: no tree is a proof by itself.
fn constant(value: &Expr, text: Option<Cursor<'_>>) -> Option<Value> {
    match value {
        Expr::Nested(inner) => constant(inner, text),
        Expr::Value(value) => {
            if let Some(text) = text {
                stands_alone(text, usize::try_from(value.span.start.line).ok()?.checked_sub(1)?)?;
            }
            match &value.value {
                ast::Value::Placeholder(name) => {
                    let number = name.strip_prefix('$')?.parse::<u16>().ok().filter(|&number| number > 0)?;
                    Some(Value::Parameter(number))
                }
                ast::Value::SingleQuotedString(_) | ast::Value::Number(_, _) => {
                    let literal = u32::try_from(value.span.start.column).ok()?.checked_sub(1)?;
                    Some(Value::Literal(literal))
                }
                _ => None,
            }
        }
        Expr::Cast { kind: CastKind::DoubleColon, expr, data_type, format: None } => {
            let Expr::Value(inner) = &**expr else { return None };
            let is_number = matches!(inner.value, ast::Value::Number(_, _));
            keeps_identity(data_type, is_number).then(|| constant(expr, text))?
        }
        _ => None,
    }
}

/// Whether a value of this type is the same key as before the cast. (A cast to text takes `007` to `7`.)
fn keeps_identity(data_type: &DataType, is_number: bool) -> bool {
    match data_type {
        DataType::SmallInt(None)
        | DataType::Int2(None)
        | DataType::Int(None)
        | DataType::Int4(None)
        | DataType::Integer(None)
        | DataType::BigInt(None)
        | DataType::Int8(None) => true,
        DataType::Text | DataType::Varchar(None) | DataType::CharacterVarying(None) | DataType::Uuid => {
            !is_number
        }
        _ => false,
    }
}

/// The tokens beside a value are such that it is the whole side of its equality.
fn stands_alone(text: Cursor<'_>, at: usize) -> Option<()> {
    let word = |token, words: &[&str]| words.iter().any(|word| is_word(text.sql, token, word));
    let before = text.rest.get(at.checked_sub(1)?)?;
    let begins = before.kind == TokenKind::Punctuation(b'(')
        || bytes(text.sql, before) == b"="
        || word(before, &["where", "and", "on"]);
    let ends = text.rest.get(at + 1).is_none_or(|after| match after.kind {
        TokenKind::Punctuation(b')' | b',') | TokenKind::Cast => true,
        TokenKind::Operator => bytes(text.sql, after) == b"=",
        TokenKind::Word => word(
            after,
            &[
                "and",
                "where",
                "group",
                "order",
                "having",
                "limit",
                "offset",
                "fetch",
                "for",
                "window",
                "returning",
                "join",
                "inner",
                "cross",
                "natural",
            ],
        ),
        _ => false,
    });
    (begins && ends).then_some(())
}

/// The rows of INSERT … VALUES.
fn rows(insert: &ast::Insert, walk: &Walk) -> Keys {
    let Some(source) = &insert.source else { return Keys::None };
    let SetExpr::Values(values) = &*source.body else { return Keys::None };
    // VALUES is a query too; with any other the rows may depend on a table.
    if walk.queries != 1 || source.with.is_some() || source.limit_clause.is_some() || source.fetch.is_some() {
        return Keys::None;
    }
    let columns = if insert.columns.is_empty() {
        None
    } else {
        let names = insert.columns.iter().map(|column| match parts(column)?.as_mut_slice() {
            [only] => Some(std::mem::take(only)),
            _ => None,
        });
        match names.collect::<Option<Vec<Name>>>() {
            Some(names) => Some(names),
            None => return Keys::None,
        }
    };
    let rows = values.rows.iter();
    let rows = rows.map(|row| row.content.iter().map(|value| constant(value, None)).collect()).collect();
    Keys::Rows { columns, rows }
}
