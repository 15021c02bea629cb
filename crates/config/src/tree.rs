//! A configuration file as a tree in which every key and value knows its line and column: what YAML and
//! pgbouncer.ini are read into, before any key has a meaning.

/// Index of a node in its tree.
pub(crate) type NodeId = usize;

/// A whole file.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    nodes: Vec<Node>,
    /// The outermost value; `None` for an empty file.
    pub(crate) root: Option<NodeId>,
}

/// A value.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) value: Value,
}

#[derive(Debug)]
pub(crate) enum Value {
    Scalar {
        text: String,
        style: Style,
    },
    List(Vec<NodeId>),
    Map(Vec<Entry>),
    /// What is wrong with it was reported already.
    Broken,
}

/// How a scalar was written; it says which types it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes: null, a number, a truth value or text.
    Plain,
    /// In quotes or as a block: text.
    Quoted,
    /// Made with a variable of the environment: whatever is asked for, and never to be shown.
    Environment,
}

/// A key and its value.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// The path to show for it instead of its own, for what was made from another format.
    pub(crate) label: Option<String>,
    pub(crate) value: NodeId,
}

impl Tree {
    pub(crate) fn add(&mut self, line: usize, column: usize, value: Value) -> NodeId {
        self.nodes.push(Node { line, column, value });
        self.nodes.len() - 1
    }

    pub(crate) fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id]
    }

    pub(crate) fn is_null(&self, id: NodeId) -> bool {
        match &self.node(id).value {
            Value::Scalar { text, style: Style::Plain } => {
                matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL")
            }
            _ => false,
        }
    }

    /// What a value is, in words, without its content.
    pub(crate) fn kind(&self, id: NodeId) -> &'static str {
        match &self.node(id).value {
            _ if self.is_null(id) => "null",
            Value::Scalar { text, style: Style::Plain } => plain_kind(text),
            Value::Scalar { .. } => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Broken => "nothing",
        }
    }
}

/// What a scalar without quotes is, in words (YAML 1.2 core schema).
pub(crate) fn plain_kind(text: &str) -> &'static str {
    match text {
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => "a truth value",
        _ if text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '+' | '-' | '.'))
            && (text.parse::<f64>().is_ok() || text.starts_with("0x") || text.starts_with("0o")) =>
        {
            "a number"
        }
        _ => "text",
    }
}
