//! YAML text to a tree with positions; duplicate keys, tags, merge keys and deep nesting are refused here.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::env::interpolate;
use crate::error::Sink;
use crate::tree::{Entry, NodeId, Style, Tree, Value};

/// Nesting past this is nonsense, and would be recursion for what reads the tree.
const MAX_DEPTH: usize = 32;

/// Reads `text`; what is wrong goes to `sink`. `None` where nothing can be read on from.
pub(crate) fn read(text: &str, sink: &Sink, env: &dyn Fn(&str) -> Option<String>) -> Option<Tree> {
    let mut builder = Builder { tree: Tree::default(), open: Vec::new(), anchors: HashMap::new(), sink, env };
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = error.marker();
                sink.error_at(at.line(), at.col() + 1, "", format!("not valid YAML: {}", error.info()));
                return None;
            }
        };
        if let Event::DocumentStart(_) = event {
            documents += 1;
            if documents > 1 {
                builder.refuse(span, "a second document begins; expected one document in the file");
                return None;
            }
        }
        builder.take(event, span)?;
    }
    Some(builder.tree)
}

struct Builder<'a> {
    tree: Tree,
    open: Vec<Open>,
    /// Complete nodes that have an anchor.
    anchors: HashMap<usize, NodeId>,
    sink: &'a Sink,
    env: &'a dyn Fn(&str) -> Option<String>,
}

/// A list or mapping that is being read.
enum Open {
    List { at: (usize, usize), anchor: usize, items: Vec<NodeId> },
    Map { at: (usize, usize), anchor: usize, entries: Vec<Entry>, key: Option<Key> },
}

struct Key {
    text: String,
    line: usize,
    column: usize,
}

impl Builder<'_> {
    /// `None`: reading cannot go on.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = (span.start.line(), span.start.col() + 1);
        match event {
            Event::Scalar(_, _, _, Some(_))
            | Event::SequenceStart(_, Some(_))
            | Event::MappingStart(_, Some(_)) => {
                self.refuse(span, "a tag (`!…`); expected a plain value");
                None
            }
            Event::Scalar(text, style, anchor, None) => self.scalar(&text, style, anchor, at),
            Event::SequenceStart(anchor, None) => {
                self.push(Open::List { at, anchor, items: Vec::new() }, span)
            }
            Event::MappingStart(anchor, None) => {
                self.push(Open::Map { at, anchor, entries: Vec::new(), key: None }, span)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).copied() else {
                    self.refuse(span, "an alias to a value that is not complete; expected one from before");
                    return None;
                };
                if self.wants_key() {
                    self.refuse(span, "an alias as a key; expected text");
                    return None;
                }
                self.put(node);
                Some(())
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Some(()),
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, anchor: usize, at: (usize, usize)) -> Option<()> {
        let (line, column) = at;
        if self.wants_key() {
            if let Some(Open::Map { key, .. }) = self.open.last_mut() {
                *key = Some(Key { text: text.to_owned(), line, column });
            }
            if text == "<<" && style == ScalarStyle::Plain {
                self.sink.error_at(
                    line,
                    column,
                    &self.path(),
                    "merge keys (`<<`) are not supported; expected a key",
                );
            }
            return Some(());
        }
        let style = if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted };
        let value = match interpolate(text, self.env) {
            Ok(None) => Value::Scalar { text: text.to_owned(), style },
            // `region: ${REGION:-}`: an empty variable without quotes leaves the setting unsaid.
            Ok(Some((text, true))) if text.is_empty() && style == Style::Plain => {
                Value::Scalar { text, style }
            }
            Ok(Some((text, true))) => Value::Scalar { text, style: Style::Environment },
            Ok(Some((text, false))) => Value::Scalar { text, style },
            Err(message) => {
                self.sink.error_at(line, column, &self.path(), message);
                Value::Broken
            }
        };
        let node = self.tree.add(line, column, value);
        self.finish(node, anchor);
        Some(())
    }

    fn push(&mut self, open: Open, span: Span) -> Option<()> {
        if self.wants_key() {
            self.refuse(span, "a list or mapping as a key; expected text");
            return None;
        }
        if self.open.len() >= MAX_DEPTH {
            self.refuse(span, "nested too deep");
            return None;
        }
        self.open.push(open);
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let (at, anchor, value) = match self.open.pop()? {
            Open::List { at, anchor, items } => (at, anchor, Value::List(items)),
            Open::Map { at, anchor, entries, .. } => (at, anchor, Value::Map(entries)),
        };
        let node = self.tree.add(at.0, at.1, value);
        self.finish(node, anchor);
        Some(())
    }

    fn finish(&mut self, node: NodeId, anchor: usize) {
        if anchor != 0 {
            self.anchors.insert(anchor, node);
        }
        self.put(node);
    }

    /// Puts a complete value where it belongs.
    fn put(&mut self, node: NodeId) {
        let path = self.path();
        match self.open.last_mut() {
            None => self.tree.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, .. }) => {
                let Some(Key { text, line, column }) = key.take() else { return };
                if let Some(first) = entries.iter().find(|entry| entry.key == text) {
                    let message = format!("the key `{text}` is here twice (first in line {})", first.line);
                    self.sink.error_at(line, column, &path, message);
                } else {
                    entries.push(Entry { key: text, line, column, label: None, value: node });
                }
            }
        }
    }

    fn wants_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    /// Path of the value that is being read.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::List { items, .. } => path.push_str(&format!("[{}]", items.len())),
                Open::Map { key: Some(key), .. } => path = join(&path, &key.text),
                Open::Map { key: None, .. } => {}
            }
        }
        path
    }

    fn refuse(&self, span: Span, message: &str) {
        self.sink.error_at(span.start.line(), span.start.col() + 1, &self.path(), message);
    }
}

/// `path.key`
pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(text: &str) -> String {
        let sink = Sink::new("f.yaml");
        let tree = read(text, &sink, &|_| None);
        sink.finish(tree).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn what_cannot_be_a_configuration_is_refused_with_its_place() {
        assert_eq!(
            errors("a: 1\nb:\n  c: 2\n  c: 3\n"),
            "f.yaml:4:3: b.c: the key `c` is here twice (first in line 3)"
        );
        assert!(errors("a: {x: 1, y: 2, x: 3}").starts_with("f.yaml:1:17: a.x: the key `x` is here twice"));
        assert!(errors("a: [1\n").starts_with("f.yaml:2:1: not valid YAML"), "{}", errors("a: [1\n"));
        assert!(errors("a: !!str x").starts_with("f.yaml:1:4: a: a tag"), "{}", errors("a: !!str x"));
        assert!(errors("a: 1\n---\nb: 2\n").contains("second document"));
        assert!(errors("a:\n- 1\n- ${NO}\n").starts_with("f.yaml:3:3: a[1]: the environment variable `NO`"));
        assert!(errors(&"[".repeat(40)).contains("nested too deep"));
        assert!(!errors(&"[".repeat(100_000)).is_empty());
        assert!(errors("a: &x {b: 1}\nc: {<<: *x}").starts_with("f.yaml:2:5: c.<<: merge keys"));
    }

    #[test]
    fn comments_may_hold_anything() {
        let sink = Sink::new("f.yaml");
        assert!(read("a: 1 # ${NOT_SET}\n# ${NOR_THIS\n", &sink, &|_| None).is_some());
        assert!(!sink.has_errors());
    }
}
