//! The home of the analyzer: one per core, it turns a text into facts, from its cache of shapes where it can.

use std::sync::Arc;

use crate::cache::Cache;
use crate::facts::{Facts, Literal};
use crate::shape::Shape;
use crate::spelling::Spelling;
use crate::text;

/// Longer texts are analyzed each time: their shapes would fill the cache.
const MAX_CACHED_TEXT: usize = 64 << 10;
/// Scratch space that a long text needed is given back above this.
const MAX_KEPT_LITERALS: usize = 64 << 10;

/// How many spellings that came once are kept in mind, at least: more than an application has texts that it runs in turn.
const LATELY: usize = 1 << 14;

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
///
/// A text whose spelling is known costs no look at its tokens; one whose shape is known costs no allocation, but when
/// its spelling comes for the second time and is remembered.
#[derive(Debug)]
pub struct Analyzer {
    /// By spelling: the short way to what `cache` has by shape.
    spellings: Cache,
    spelling: Spelling,
    /// Hashes of spellings that came lately: one that comes a second time is worth remembering.
    lately: Box<[u64]>,
    cache: Cache,
    shape: Shape,
    /// The facts of the last text whose spelling wasn't known.
    fresh: Arc<Facts>,
    hits: u64,
    misses: u64,
}

impl Analyzer {
    /// An analyzer that remembers at most this many shapes, and as many spellings of them.
    #[must_use]
    pub fn new(capacity_shapes: usize) -> Self {
        Self {
            spellings: Cache::new(capacity_shapes),
            spelling: Spelling::default(),
            lately: vec![0; LATELY.max(capacity_shapes)].into(),
            cache: Cache::new(capacity_shapes),
            shape: Shape::default(),
            fresh: Arc::default(),
            hits: 0,
            misses: 0,
        }
    }

    /// The facts of this text, which ends where it ends: no terminating NUL.
    pub fn analyze<'a>(&'a mut self, sql: &[u8], settings: LexSettings) -> Analysis<'a> {
        if !settings.safe_encoding || u32::try_from(sql.len()).is_err() {
            return self.not_understood(if settings.safe_encoding {
                "the text is too long"
            } else {
                "the client encoding may hide quotes"
            });
        }
        let conforming = settings.standard_conforming_strings;
        if sql.len() > MAX_CACHED_TEXT {
            return self.analyze_long(sql, conforming);
        }
        let spelled = self.spelling.read(sql, conforming).then(|| self.spellings.hash(&self.spelling.text));
        if let Some(hash) = spelled
            && let Some(place) = self.spellings.find(hash, &self.spelling.text)
        {
            self.hits += 1;
            let facts = self.spellings.facts(place).unwrap_or(&self.fresh);
            return Analysis { facts, literals: &self.spelling.literals };
        }
        self.fresh = self.by_shape(sql, conforming);
        if let Some(hash) = spelled {
            self.remember_spelling(hash);
        }
        Analysis { facts: &self.fresh, literals: &self.shape.literals }
    }

    /// The facts of the text's shape, known or new.
    fn by_shape(&mut self, sql: &[u8], conforming: bool) -> Arc<Facts> {
        self.shape.read(sql, conforming, true);
        let hash = self.cache.hash(&self.shape.text);
        let known = self.cache.find(hash, &self.shape.text);
        if let Some(facts) = known.and_then(|place| self.cache.facts(place)) {
            self.hits += 1;
            return Arc::clone(facts);
        }
        self.misses += 1;
        let mut facts = text::facts(sql, conforming, &self.shape.literals);
        facts.shrink_to_fit();
        let facts = Arc::new(facts);
        self.cache.insert(hash, &self.shape.text, Arc::clone(&facts));
        facts
    }

    /// Remembers the spelling of the text whose shape was read last, if it came before and the lexer confirms it.
    fn remember_spelling(&mut self, hash: u64) {
        let [low, mid, high, ..] = hash.to_le_bytes();
        let place = u32::from_le_bytes([low, mid, high, 0]) as usize;
        let came = &mut self.lately[place % self.lately.len()];
        if *came != hash {
            *came = hash;
        } else if self.spelling.confirmed_by(&self.shape.literals) {
            self.spellings.insert(hash, &self.spelling.text, Arc::clone(&self.fresh));
        }
    }

    fn analyze_long(&mut self, sql: &[u8], conforming: bool) -> Analysis<'_> {
        self.misses += 1;
        if self.shape.literals.capacity() > MAX_KEPT_LITERALS {
            self.shape.literals = Vec::new();
        }
        self.shape.read(sql, conforming, false);
        self.fresh = Arc::new(text::facts(sql, conforming, &self.shape.literals));
        Analysis { facts: &self.fresh, literals: &self.shape.literals }
    }

    fn not_understood(&mut self, why: &str) -> Analysis<'_> {
        self.misses += 1;
        self.shape.literals.clear();
        self.fresh = Arc::new(text::not_understood(why));
        Analysis { facts: &self.fresh, literals: &self.shape.literals }
    }

    /// The facts at this address, if a shape that is cached has them.
    #[must_use]
    pub fn facts_at(&self, address: usize) -> Option<Arc<Facts>> {
        let all = self.cache.all().chain([&self.fresh]);
        all.into_iter().find(|facts| Arc::as_ptr(facts).addr() == address).cloned()
    }

    /// All shapes that are cached, with their facts. [`crate::outline_of_shape`] makes one readable.
    pub fn all_shapes(&self) -> impl Iterator<Item = (&[u8], &Arc<Facts>)> {
        self.cache.shapes()
    }

    /// How many shapes are cached.
    #[must_use]
    pub fn shapes(&self) -> usize {
        self.cache.len()
    }

    /// How many texts were answered from the cache.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits
    }

    /// How many texts were not.
    #[must_use]
    pub fn misses(&self) -> u64 {
        self.misses
    }
}
