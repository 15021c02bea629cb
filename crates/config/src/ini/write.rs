//! A document as YAML text.

use crate::ini::doc::Doc;

/// Appends a document whose outermost value is a mapping.
pub(crate) fn write(doc: &Doc, out: &mut String) {
    map(doc, 0, out);
}

fn map(doc: &Doc, depth: usize, out: &mut String) {
    let Doc::Map(items) = doc else { return };
    for item in items {
        out.push_str(&"  ".repeat(depth));
        out.push_str(&key(&item.key));
        out.push(':');
        match &item.value {
            Doc::Map(inner) if !inner.is_empty() => {
                out.push('\n');
                map(&item.value, depth + 1, out);
            }
            value => {
                out.push(' ');
                out.push_str(&flow(value));
                out.push('\n');
            }
        }
    }
}

fn flow(doc: &Doc) -> String {
    match doc {
        Doc::Plain(text) => text.clone(),
        Doc::Text(text) if is_simple(text) => text.clone(),
        Doc::Text(text) => quoted(&text.replace("${", "$${")),
        Doc::List(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Doc::Map(items) => {
            let items: Vec<String> =
                items.iter().map(|item| format!("{}: {}", key(&item.key), flow(&item.value))).collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}

fn key(text: &str) -> String {
    if is_simple(text) { text.to_owned() } else { quoted(text) }
}

/// Whether text without quotes is still text.
fn is_simple(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        && !matches!(
            text.to_ascii_lowercase().as_str(),
            "null" | "true" | "false" | "yes" | "no" | "on" | "off"
        )
}

/// In double quotes: JSON's escapes are YAML's too.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
