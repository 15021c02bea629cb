//! INSERT of many rows: the plain ones are read here, so that the parser needn't.
//!
//! The parser takes microseconds for a value, and a plain value tells it nothing that matters.

use crate::facts::{Keys, Value};
use crate::lexer::TokenKind;
use crate::tokens::{Cursor, Tok, bytes, is_word};

/// Which rows were taken out of an INSERT, and what they hold.
#[derive(Debug)]
pub(crate) struct Pruned {
    /// Tokens that were taken out, as ranges in order.
    removed: Vec<(usize, usize)>,
    /// Each row in order; `None`: left for the parser.
    rows: Vec<Option<Vec<Option<Value>>>>,
}

impl Pruned {
    /// Whether the token at this place is left.
    pub(crate) fn keeps(&self, at: usize) -> bool {
        let after = self.removed.partition_point(|(_, end)| *end <= at);
        self.removed.get(after).is_none_or(|(start, _)| at < *start)
    }

    /// Puts the rows that were taken out back where they belong.
    pub(crate) fn fill(self, keys: &mut Keys) {
        let Keys::Rows { rows, .. } = keys else { return };
        let mut parsed = std::mem::take(rows).into_iter();
        *rows = self.rows.into_iter().filter_map(|row| row.or_else(|| parsed.next())).collect();
    }
}

/// Finds the plain rows of `INSERT … VALUES (…), (…)`; the first row is always left. `None` if that isn't it.
pub(crate) fn prune(text: Cursor<'_>) -> Option<Pruned> {
    let mut rest = text;
    // Only the plain form: INSERT INTO name [AS alias] [(columns)] VALUES.
    if !rest.eat_all(&["insert", "into"]) {
        return None;
    }
    rest.dotted()?;
    if rest.eat("as") {
        rest.name()?;
    }
    rest.parenthesised();
    if !rest.eat("values") {
        return None;
    }
    let mut pruned = Pruned { removed: Vec::new(), rows: Vec::new() };
    loop {
        let start = text.rest.len() - rest.rest.len();
        if !pruned.rows.is_empty() && !rest.eat_char(b',') {
            return Some(pruned);
        }
        let row = rest.parenthesised()?;
        let end = text.rest.len() - rest.rest.len();
        let plain = if pruned.rows.is_empty() { None } else { plain_row(row) };
        if plain.is_some() {
            pruned.removed.push((start, end));
        }
        pruned.rows.push(plain);
    }
}

/// The values of a row of nothing but literals, parameters and the words NULL, TRUE, FALSE and DEFAULT.
fn plain_row(row: Cursor<'_>) -> Option<Vec<Option<Value>>> {
    row.rest
        .split(|token| token.kind == TokenKind::Punctuation(b','))
        .map(|value| plain_value(row, value))
        .collect()
}

/// A plain value: `Some(None)` if it is plain but no key can be read from it.
fn plain_value(row: Cursor<'_>, value: &[Tok]) -> Option<Option<Value>> {
    let word =
        |token: &Tok| ["null", "true", "false", "default"].iter().any(|word| is_word(row.sql, token, word));
    match value {
        [one] => match one.kind {
            TokenKind::String | TokenKind::Number => Some(one.literal.map(Value::Literal)),
            TokenKind::Bits | TokenKind::National => Some(None),
            TokenKind::Param => {
                let number = std::str::from_utf8(bytes(row.sql, one)).ok()?.strip_prefix('$')?;
                Some(Some(Value::Parameter(number.parse().ok().filter(|&number| number > 0)?)))
            }
            _ => word(one).then_some(None),
        },
        [sign, number] if number.kind == TokenKind::Number => {
            matches!(bytes(row.sql, sign), b"-" | b"+").then_some(None)
        }
        _ => None,
    }
}
