//! SQL text to facts: lexer, shape cache and parser, without I/O.
//!
//! The way of a text: [`Analyzer::analyze`] looks it up (`cache`) by its spelling (`spelling`, a scan that knows no
//! tokens), or else by its shape (`shape`, on top of `lexer`). A new shape is split into statements (`text`), each looked at by who knows its first keyword (`statement`). Queries
//! go to the parser (`query`, `convert`) and its tree is walked for facts (`walk`, `keys`).

pub mod facts;
pub mod prepared;

mod analyzer;
mod builtins;
mod cache;
mod convert;
mod cursor;
mod functions;
pub mod hidden;
mod hint;
mod keys;
mod lexer;
mod literal;
mod nested;
mod outline;
mod query;
mod rows;
mod scan;
mod set_config;
mod setting;
mod shape;
mod spelling;
mod statement;
mod tally;
mod text;
mod tokens;
mod transaction;
mod utility;
mod walk;

pub use analyzer::{Analysis, Analyzer, LexSettings};
pub use functions::{Verdict, built_in, is_primary_relation};
pub use literal::literal_text;
pub use outline::{outline, outline_of_shape};
