//! SQL text to facts: lexer, shape cache and parser, without I/O.

pub mod facts;
