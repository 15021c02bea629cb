//! SELECT, INSERT, UPDATE, DELETE, MERGE and their kind: the parser's tree behind the guards of the tokens.

use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use crate::convert::convert;
use crate::facts::{Access, Because, Call, Calls, Effect, Keys, Kind, Name, PinReason, Statement};
use crate::functions::{self, Verdict};
use crate::lexer::TokenKind;
use crate::rows::{self, Pruned};
use crate::scan::{Scan, scan};
use crate::set_config;
use crate::tokens::{Cursor, bytes, identifier, is_word};
use crate::walk;

/// Deeper parentheses are not given to the parser.
const MAX_DEPTH: usize = 100;
/// Nor are more tokens than this.
const MAX_PARSED: usize = 50_000;
/// Nor more that could make one expression deep: all but literals, parameters, commas and parentheses. A chain of
/// operators is a tree as deep as the chain is long.
const MAX_CHAIN: usize = 6_000;
/// From so many tokens on an INSERT's plain rows are read here, not by the parser.
const PRUNED_FROM: usize = 200;

/// The facts of a query.
pub(crate) fn facts(text: Cursor<'_>) -> Statement {
    let guards = scan(text);
    let kind = kind(text);
    let pruned = if kind == Kind::Insert && text.rest.len() > PRUNED_FROM { rows::prune(text) } else { None };
    let parsed = parse(text, pruned.as_ref()).and_then(|tree| walk::facts(&tree, text));
    let mut statement = match parsed {
        Ok(mut statement) => {
            if let Some(pruned) = pruned {
                pruned.fill(&mut statement.keys);
            }
            statement
        }
        Err(why) => by_tokens(kind, why),
    };
    apply(&guards, &mut statement);
    if guards.effects.contains(&Effect::Pin(PinReason::Setting))
        && let Some(read) = set_config::effects(text)
    {
        let of_calls =
            |effect: &Effect| matches!(effect, Effect::Pin(PinReason::Setting) | Effect::SetLocal(_));
        statement.effects.retain(|effect| !of_calls(effect));
        statement.effects.extend(read);
    }
    statement.sets_local = sets_local(&statement, text);
    if statement.access == Access::Write {
        statement.calls = Calls::default();
    } else {
        statement.calls.operators = operators(text);
        add_hidden_calls(text, &mut statement.calls.functions);
        statement.calls.casts |= has_typed_literal(text);
    }
    statement
}

/// `SELECT set_config('app.tenant', $1, true)` and its like: nothing else keeps it from being a read.
fn sets_local(statement: &Statement, text: Cursor<'_>) -> bool {
    let is_set_config = |name: &str| name == "set_config";
    matches!(&statement.because, Some(Because::Function(name)) if is_set_config(name))
        && statement.kind == Kind::Select
        && statement.relations.is_empty()
        && statement.relations_complete
        && statement.effects.iter().all(|effect| matches!(effect, Effect::SetLocal(_)))
        && statement.calls.functions.iter().all(|call| call.reads || is_set_config(&call.name))
        && set_config::effects(text).is_some()
}

/// Adds calls of built-in functions that the parser has syntax of its own for (`substr(…)`, `unnest(…)`): a database
/// may have overloads of them.
fn add_hidden_calls(text: Cursor<'_>, functions: &mut Vec<Call>) {
    for (at, pair) in text.rest.windows(2).enumerate() {
        let opens = pair[1].kind == TokenKind::Punctuation(b'(');
        let qualified = at > 0 && text.rest[at - 1].kind == TokenKind::Punctuation(b'.');
        if !opens || qualified || !matches!(pair[0].kind, TokenKind::Word | TokenKind::Quoted) {
            continue;
        }
        let Some(name) = identifier(text.sql, &pair[0]) else { continue };
        let reads = matches!(functions::built_in(&name), Verdict::Reads | Verdict::ReadsUnknownTables);
        if reads && !functions.iter().any(|call| call.name == name) {
            functions.push(Call { schema: None, name, reads });
        }
    }
}

/// Whether a string may have its type in front of it (`mood 'sad'`), which the parser takes for an alias.
fn has_typed_literal(text: Cursor<'_>) -> bool {
    const OTHERS: [&str; 12] =
        ["select", "as", "and", "or", "like", "ilike", "then", "else", "when", "escape", "is", "not"];
    text.rest.windows(2).any(|pair| {
        let type_ends =
            matches!(pair[0].kind, TokenKind::Word | TokenKind::Quoted | TokenKind::Punctuation(b')'));
        let keyword = OTHERS.iter().any(|word| is_word(text.sql, &pair[0], word));
        pair[1].kind == TokenKind::String && type_ends && !keyword
    })
}

/// The operators of a text, each once.
fn operators(text: Cursor<'_>) -> Vec<Name> {
    let mut found: Vec<Name> = Vec::new();
    for token in text.rest.iter().filter(|token| token.kind == TokenKind::Operator) {
        if let Ok(name) = std::str::from_utf8(bytes(text.sql, token))
            && !found.iter().any(|known| **known == *name)
        {
            found.push(name.into());
        }
    }
    found
}

/// Parses what is left of a statement after pruning.
fn parse(text: Cursor<'_>, pruned: Option<&Pruned>) -> Result<sqlparser::ast::Statement, &'static str> {
    let keep = |at: usize| pruned.is_none_or(|pruned| pruned.keeps(at));
    let mut depth = 0_usize;
    let mut tokens = 0_usize;
    let mut chain = 0_usize;
    for (at, token) in text.rest.iter().enumerate() {
        if !keep(at) {
            continue;
        }
        tokens += 1;
        match token.kind {
            TokenKind::Punctuation(b'(' | b'[') => depth += 1,
            TokenKind::Punctuation(b')' | b']') => depth = depth.saturating_sub(1),
            TokenKind::Punctuation(b',') | TokenKind::String | TokenKind::Number | TokenKind::Param => {}
            _ => chain += 1,
        }
        if depth > MAX_DEPTH || tokens > MAX_PARSED || chain > MAX_CHAIN {
            return Err("the statement is too large or too deep");
        }
    }
    let tokens = convert(text, keep).ok_or("a token that only the server can read")?;
    let dialect = PostgreSqlDialect {};
    let mut parser =
        Parser::new(&dialect).with_recursion_limit(2 * MAX_DEPTH).with_tokens_with_locations(tokens);
    let tree = parser.parse_statement().map_err(|_| "syntax that the parser doesn't know")?;
    if parser.peek_token_ref().token != sqlparser::tokenizer::Token::EOF {
        return Err("syntax that the parser doesn't know");
    }
    Ok(tree)
}

/// The kind by tokens: the first keyword, or after WITH the one that follows its queries.
fn kind(text: Cursor<'_>) -> Kind {
    let mut depth = 0_usize;
    let mut in_with = false;
    for (at, token) in text.rest.iter().enumerate() {
        match token.kind {
            TokenKind::Punctuation(b'(') => depth += 1,
            TokenKind::Punctuation(b')') => depth = depth.saturating_sub(1),
            TokenKind::Word if depth == 0 => {
                let here = text.with(&text.rest[at..]);
                if at == 0 && here.is("with") {
                    in_with = true;
                    continue;
                }
                let after_query = at > 0 && text.rest[at - 1].kind == TokenKind::Punctuation(b')');
                if in_with && !after_query {
                    continue;
                }
                for (word, kind) in [
                    ("insert", Kind::Insert),
                    ("update", Kind::Update),
                    ("delete", Kind::Delete),
                    ("merge", Kind::Merge),
                    ("select", Kind::Select),
                    ("values", Kind::Select),
                    ("table", Kind::Select),
                ] {
                    if here.is(word) {
                        return kind;
                    }
                }
                if !in_with {
                    return Kind::Select;
                }
            }
            _ => {}
        }
    }
    Kind::Select
}

/// What is known of a statement that has no tree.
fn by_tokens(kind: Kind, why: &str) -> Statement {
    let mut statement = Statement::unknown(why);
    // It can only touch the session by what the guards find.
    statement.effects.clear();
    statement.kind = kind;
    let command = match kind {
        Kind::Insert => "INSERT",
        Kind::Update => "UPDATE",
        Kind::Delete => "DELETE",
        Kind::Merge => "MERGE",
        _ => return statement,
    };
    statement.worsen(Access::Write, Because::Command(command));
    statement
}

/// Adds what the tokens say: they see what a tree may hide.
fn apply(guards: &Scan, statement: &mut Statement) {
    // Whatever changes rows may have triggers.
    let changes_rows = matches!(statement.kind, Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
    statement.runs_code |= changes_rows || guards.writing_with;
    if guards.writing_with {
        statement.worsen(Access::Write, Because::WritingWith);
    }
    if guards.locking {
        statement.worsen(Access::Write, Because::Locking);
    }
    if guards.into && statement.access != Access::Write {
        statement.worsen(Access::Write, Because::Into);
        statement.relations_complete = false;
    }
    if let Some(function) = &guards.function {
        statement.worsen(Access::Write, Because::Function(function.clone()));
    }
    statement.effects.extend(guards.effects.iter().cloned());
    if guards.unreadable {
        statement.worsen(Access::Unknown, Because::NotUnderstood("a name in U&\"…\"".into()));
        statement.relations_complete = false;
        statement.calls.complete = false;
        statement.keys = Keys::None;
    }
}
