//! The home of the analyzer: one per core, it turns a text into facts, from its cache of shapes where it can.

use std::sync::Arc;

use crate::facts::{Access, Facts, Literal, Statement};

/// What the server's settings mean for the lexer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexSettings {
    /// `standard_conforming_strings`: a backslash in a plain string is only a backslash.
    pub standard_conforming_strings: bool,
    /// The client encoding never has a quote or backslash as a trailing byte; if not, all is `Unknown`.
    pub safe_encoding: bool,
}

impl Default for LexSettings {
    /// Postgres' defaults: conforming strings, UTF-8.
    fn default() -> Self {
        Self { standard_conforming_strings: true, safe_encoding: true }
    }
}

/// What is known of a text.
#[derive(Debug, Clone, Copy)]
pub struct Analysis<'a> {
    /// The facts of its shape.
    pub facts: &'a Arc<Facts>,
    /// The literals that were left out of the shape, in the order of the text; `Value::Literal` is an index into them.
    pub literals: &'a [Literal],
}

/// Text to facts, with a cache of shapes. One per core.
#[derive(Debug)]
pub struct Analyzer {
    current: Arc<Facts>,
    literals: Vec<Literal>,
}

impl Analyzer {
    /// An analyzer that remembers at most this many shapes.
    #[must_use]
    pub fn new(_capacity_shapes: usize) -> Self {
        Self { current: Arc::default(), literals: Vec::new() }
    }

    /// The facts of this text.
    pub fn analyze<'a>(&'a mut self, _sql: &[u8], _settings: LexSettings) -> Analysis<'a> {
        let unknown = Statement::unknown("not analyzed");
        self.current =
            Arc::new(Facts { statements: vec![unknown], access: Access::Unknown, ..Facts::default() });
        Analysis { facts: &self.current, literals: &self.literals }
    }

    /// How many shapes are cached.
    #[must_use]
    pub fn shapes(&self) -> usize {
        0
    }

    /// How many texts were answered from the cache.
    #[must_use]
    pub fn hits(&self) -> u64 {
        0
    }

    /// How many texts were not.
    #[must_use]
    pub fn misses(&self) -> u64 {
        0
    }
}
