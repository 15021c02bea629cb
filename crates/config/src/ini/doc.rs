//! A document under construction: YAML's nesting, filled by dotted paths, each value with its place in the .ini.

use crate::tree::{Entry, NodeId, Style, Tree, Value};

/// A value of the document.
#[derive(Debug, Clone)]
pub(crate) enum Doc {
    Map(Vec<Item>),
    List(Vec<Doc>),
    /// A number, word or null without quotes.
    Plain(String),
    /// Text.
    Text(String),
}

/// A key, its value, and where it comes from.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    pub(crate) key: String,
    pub(crate) value: Doc,
    pub(crate) from: From,
}

/// Where a value comes from: what a message shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct From {
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Such as `pgbouncer.pool_mode`.
    pub(crate) label: String,
}

impl Doc {
    pub(crate) fn new() -> Self {
        Doc::Map(Vec::new())
    }

    pub(crate) fn texts(items: impl IntoIterator<Item = String>) -> Self {
        Doc::List(items.into_iter().map(Doc::Text).collect())
    }

    /// Sets the value at a path; what was there is replaced.
    pub(crate) fn set(&mut self, path: &[&str], value: Doc, from: &From) {
        let (Doc::Map(items), Some((key, rest))) = (self, path.split_first()) else { return };
        let index = items.iter().position(|item| item.key == *key).unwrap_or_else(|| {
            items.push(Item { key: (*key).to_owned(), value: Doc::new(), from: from.clone() });
            items.len() - 1
        });
        if rest.is_empty() {
            items[index].value = value;
            items[index].from = from.clone();
        } else {
            items[index].value.set(rest, value, from);
        }
    }

    /// Sets the value at a path unless there is one.
    pub(crate) fn set_default(&mut self, path: &[&str], value: Doc) {
        if self.get(path).is_none() {
            self.set(path, value, &From::default());
        }
    }

    pub(crate) fn get(&self, path: &[&str]) -> Option<&Doc> {
        let Some((key, rest)) = path.split_first() else { return Some(self) };
        let Doc::Map(items) = self else { return None };
        items.iter().find(|item| item.key == *key)?.value.get(rest)
    }

    /// The number at a path.
    pub(crate) fn number(&self, path: &[&str]) -> Option<usize> {
        match self.get(path)? {
            Doc::Plain(text) => text.parse().ok(),
            _ => None,
        }
    }
}

/// The tree that reading the document as YAML would give.
pub(crate) fn tree(doc: &Doc) -> Tree {
    let mut tree = Tree::default();
    let root = add(doc, &From::default(), &mut tree);
    tree.root = Some(root);
    tree
}

fn add(doc: &Doc, from: &From, tree: &mut Tree) -> NodeId {
    let value = match doc {
        Doc::Plain(text) => Value::Scalar { text: text.clone(), style: Style::Plain },
        Doc::Text(text) => Value::Scalar { text: text.clone(), style: Style::Quoted },
        Doc::List(items) => Value::List(items.iter().map(|item| add(item, from, tree)).collect()),
        Doc::Map(items) => Value::Map(
            items
                .iter()
                .map(|item| Entry {
                    key: item.key.clone(),
                    line: item.from.line,
                    column: item.from.column,
                    label: (!item.from.label.is_empty()).then(|| item.from.label.clone()),
                    value: add(&item.value, &item.from, tree),
                })
                .collect(),
        ),
    };
    tree.add(from.line, from.column, value)
}
