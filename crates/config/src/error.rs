//! What can be wrong with a configuration: where, under which key, and what was expected.

use std::cell::{Cell, RefCell};
use std::fmt;

/// One thing that is wrong, with its place. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// File name, as it was given.
    pub source: String,
    /// Line, from 1; 0 where the whole source is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Path of the key, such as `clusters.us.nodes.us-1.port`; empty where no key is meant.
    pub path: String,
    /// What is wrong, then `; expected …` where that can be said.
    pub message: String,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that is wrong with a source; `Display` prints a line for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(Vec<Diagnostic>);

impl Errors {
    pub(crate) fn one(source: &str, message: impl Into<String>) -> Self {
        Errors(vec![Diagnostic {
            source: source.to_owned(),
            line: 0,
            column: 0,
            path: String::new(),
            message: message.into(),
        }])
    }
}

impl std::ops::Deref for Errors {
    type Target = [Diagnostic];
    fn deref(&self) -> &[Diagnostic] {
        &self.0
    }
}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            diagnostic.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Errors {}

/// Handle of a place that a value was read from, kept by the `Sink` that gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place(pub(crate) u32);

#[derive(Debug, Clone)]
struct PlaceInfo {
    line: usize,
    column: usize,
    path: String,
}

/// Collects what is wrong with one source, so that all of it is reported at once.
#[derive(Debug)]
pub(crate) struct Sink {
    source: String,
    places: RefCell<Vec<PlaceInfo>>,
    errors: RefCell<Vec<Diagnostic>>,
    warnings: RefCell<Vec<String>>,
    visits: Cell<usize>,
}

/// A file is read in at most so many steps: aliases of aliases can ask for more than memory holds.
const MAX_VISITS: usize = 1_000_000;

impl Sink {
    pub(crate) fn new(source: &str) -> Self {
        Sink {
            source: source.to_owned(),
            places: RefCell::default(),
            errors: RefCell::default(),
            warnings: RefCell::default(),
            visits: Cell::new(0),
        }
    }

    /// Registers a place and gives its handle.
    pub(crate) fn place(&self, line: usize, column: usize, path: &str) -> Place {
        let mut places = self.places.borrow_mut();
        places.push(PlaceInfo { line, column, path: path.to_owned() });
        Place(u32::try_from(places.len() - 1).unwrap_or(u32::MAX))
    }

    /// Counts a step of reading; false once there were too many.
    pub(crate) fn may_visit(&self) -> bool {
        self.visits.set(self.visits.get() + 1);
        self.visits.get() <= MAX_VISITS
    }

    pub(crate) fn error_at(&self, line: usize, column: usize, path: &str, message: impl Into<String>) {
        self.foreign_error(&self.source, line, column, path, message);
    }

    /// An error in another file that this source names.
    pub(crate) fn foreign_error(
        &self,
        source: &str,
        line: usize,
        column: usize,
        path: &str,
        message: impl Into<String>,
    ) {
        let diagnostic = Diagnostic {
            source: source.to_owned(),
            line,
            column,
            path: path.to_owned(),
            message: message.into(),
        };
        let mut errors = self.errors.borrow_mut();
        if !errors.contains(&diagnostic) {
            errors.push(diagnostic);
        }
    }

    pub(crate) fn error(&self, place: Place, message: impl Into<String>) {
        let info = self.info(place);
        self.error_at(info.line, info.column, &info.path, message);
    }

    /// An error without a place in the source.
    pub(crate) fn error_of_whole(&self, path: &str, message: impl Into<String>) {
        self.error_at(0, 0, path, message);
    }

    pub(crate) fn warn(&self, place: Place, message: impl Into<String>) {
        let info = self.info(place);
        let message = message.into();
        let text = if info.line == 0 {
            format!("{}: {}: {message}", self.source, info.path)
        } else {
            format!("{}:{}:{}: {}: {message}", self.source, info.line, info.column, info.path)
        };
        self.warn_of_whole(text);
    }

    pub(crate) fn warn_of_whole(&self, text: String) {
        self.warnings.borrow_mut().push(text);
    }

    /// `file:line:column`, to point at another place in a message.
    pub(crate) fn describe(&self, place: Place) -> String {
        let info = self.info(place);
        format!("line {}, column {}", info.line, info.column)
    }

    fn info(&self, place: Place) -> PlaceInfo {
        let places = self.places.borrow();
        usize::try_from(place.0).ok().and_then(|index| places.get(index).cloned()).unwrap_or(PlaceInfo {
            line: 0,
            column: 0,
            path: String::new(),
        })
    }

    #[cfg(test)]
    pub(crate) fn has_errors(&self) -> bool {
        !self.errors.borrow().is_empty()
    }

    /// The value and the warnings if nothing was wrong, else all errors in the order of the file.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<(T, Vec<String>), Errors> {
        let mut errors = self.errors.into_inner();
        errors.sort_by(|a, b| {
            (a.source != self.source, a.line, a.column).cmp(&(b.source != self.source, b.line, b.column))
        });
        match value {
            Some(value) if errors.is_empty() => Ok((value, self.warnings.into_inner())),
            _ if errors.is_empty() => Err(Errors::one(&self.source, "cannot be read")),
            _ => Err(Errors(errors)),
        }
    }
}

/// ` (did you mean …?)` if one of `known` is near `word`, else nothing.
pub(crate) fn suggestion<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let length = word.chars().count();
    let limit = if length < 2 { 0 } else { (length / 3).clamp(1, 3) };
    known
        .into_iter()
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| format!("; did you mean `{candidate}`?"))
        .unwrap_or_default()
}

/// Levenshtein distance in characters, with a swap of neighbours counted once.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_suggested_and_far_ones_are_not() {
        assert_eq!(suggestion("pol", ["pool", "route"]), "; did you mean `pool`?");
        assert_eq!(suggestion("tranasction", ["transaction"]), "; did you mean `transaction`?");
        assert_eq!(suggestion("banana", ["pool", "route"]), "");
    }
}
