//! What is known of the values in a statement: literals that were left out of its shape, and shard keys.

use super::Name;

/// What is known of shard keys: equality that surely holds for every row that the statement touches.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Keys {
    /// Nothing known.
    #[default]
    None,
    /// AND-ed at the top level of the only query level: `column = value`. `relation` is an index into
    /// `Statement::relations`; unqualified columns are only listed where a single relation is named.
    Equal(Vec<KeyEquality>),
    /// INSERT … VALUES: the target's columns (`None`: not listed) and, for each row, each column's value.
    Rows {
        /// The column list, if there was one.
        columns: Option<Vec<Name>>,
        /// A value for each column of each row; `None`: an expression, DEFAULT.
        rows: Vec<Vec<Option<Value>>>,
    },
}

/// `relation.column = value`, AND-ed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyEquality {
    /// Index into `Statement::relations`.
    pub relation: usize,
    /// Column name.
    pub column: Name,
    /// What it equals.
    pub value: Value,
}

/// Where a value is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// The literal of this index in `Analysis::literals`.
    Literal(u32),
    /// Parameter `$n` of Bind, 1-based.
    Parameter(u16),
}

/// A literal left out of the shape, found in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Literal {
    /// Byte range in the text, quotes and prefix included, a leading minus not.
    pub start: u32,
    /// End of the range, exclusive.
    pub end: u32,
    /// A string (plain, escape, dollar, U&) or a number.
    pub string: bool,
}
