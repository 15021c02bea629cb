//! SQL text to facts: lexer, shape cache and parser, without I/O.

pub mod facts;

mod analyzer;
mod literal;

pub use analyzer::{Analysis, Analyzer, LexSettings};
pub use literal::literal_text;
