//! A tree of settings as YAML text.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A mapping; leaves are YAML in flow style, as the test wrote them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tree(BTreeMap<String, Value>);

#[derive(Debug, Clone)]
enum Value {
    Leaf(String),
    Branch(Tree),
}

impl Tree {
    /// Sets a leaf; a branch or leaf in its way is replaced.
    pub(crate) fn set(&mut self, path: &[&str], value: &str) {
        let Some((first, rest)) = path.split_first() else { return };
        if rest.is_empty() {
            self.0.insert((*first).to_owned(), Value::Leaf(value.to_owned()));
            return;
        }
        let entry = self.0.entry((*first).to_owned()).or_insert_with(|| Value::Branch(Tree::default()));
        if let Value::Leaf(_) = entry {
            *entry = Value::Branch(Tree::default());
        }
        if let Value::Branch(tree) = entry {
            tree.set(rest, value);
        }
    }

    pub(crate) fn has(&self, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return true };
        match self.0.get(*first) {
            Some(Value::Branch(tree)) => tree.has(rest),
            Some(Value::Leaf(_)) => rest.is_empty(),
            None => false,
        }
    }

    pub(crate) fn to_text(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0);
        text
    }

    fn write(&self, text: &mut String, depth: usize) {
        for (key, value) in &self.0 {
            let indent = "  ".repeat(depth);
            // Writing to a String doesn't fail.
            match value {
                Value::Leaf(leaf) => {
                    let _ = writeln!(text, "{indent}{}: {leaf}", quoted(key));
                }
                Value::Branch(tree) => {
                    let _ = writeln!(text, "{indent}{}:", quoted(key));
                    tree.write(text, depth + 1);
                }
            }
        }
    }
}

/// A YAML double-quoted scalar.
pub(crate) fn quoted(text: &str) -> String {
    let escaped = text.chars().fold(String::new(), |mut escaped, character| {
        match character {
            '"' | '\\' => escaped.extend(['\\', character]),
            control if control.is_control() => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(control));
            }
            other => escaped.push(other),
        }
        escaped
    });
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_and_branches() {
        let mut tree = Tree::default();
        tree.set(&["pool", "size"], "10");
        tree.set(&["pool", "mode"], "session");
        tree.set(&["*"], "{cluster: a}");
        assert_eq!(tree.to_text(), "\"*\": {cluster: a}\n\"pool\":\n  \"mode\": session\n  \"size\": 10\n");
        tree.set(&["pool"], "{}");
        tree.set(&["pool", "size"], "3");
        assert_eq!(tree.to_text(), "\"*\": {cluster: a}\n\"pool\":\n  \"size\": 3\n");
        assert!(tree.has(&["pool", "size"]) && tree.has(&["pool"]) && !tree.has(&["pool", "size", "x"]));
        assert_eq!(quoted("a\"\\\n"), "\"a\\\"\\\\\\u000a\"");
    }
}
