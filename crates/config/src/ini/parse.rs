//! The lines of a pgbouncer.ini and of its connection strings, with their places.

use crate::error::Sink;
use crate::ini::Spot;

/// A section's name and its settings, in the order of the file. A setting said twice counts the last time, as in
/// PgBouncer, but two databases or users of one name are refused.
#[derive(Debug)]
pub(crate) struct Section {
    pub(crate) name: Spot<String>,
    pub(crate) settings: Vec<Setting>,
}

/// `key = value`
#[derive(Debug, Clone)]
pub(crate) struct Setting {
    pub(crate) key: Spot<String>,
    pub(crate) value: Spot<String>,
}

/// Splits text into sections; what is wrong goes to `sink`.
pub(crate) fn parse(text: &str, sink: &Sink) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, raw) in text.lines().enumerate() {
        let line = index + 1;
        let trimmed = raw.trim();
        let column = raw.chars().take_while(|c| c.is_whitespace()).count() + 1;
        if trimmed.is_empty() || trimmed.starts_with([';', '#']) {
            continue;
        }
        if trimmed.starts_with("%include") {
            sink.error_at(
                line,
                column,
                "",
                "%include is not supported by this version; expected its lines here",
            );
        } else if let Some(name) = trimmed.strip_prefix('[') {
            match name.strip_suffix(']') {
                Some(name) => sections.push(Section {
                    name: Spot { line, column, text: name.trim().to_owned() },
                    settings: Vec::new(),
                }),
                None => sink.error_at(
                    line,
                    column,
                    "",
                    "`[` without its `]`; expected [databases], [users] or [pgbouncer]",
                ),
            }
        } else {
            match (sections.last_mut(), setting(raw, line)) {
                (_, None) => sink.error_at(line, column, "", "not a setting; expected name = value"),
                (None, _) => sink.error_at(
                    line,
                    column,
                    "",
                    "a setting before any section; expected [databases] first",
                ),
                (Some(section), Some(setting)) => section.settings.push(setting),
            }
        }
    }
    sections
}

/// `name = value` or `"na""me" = value`.
fn setting(raw: &str, line: usize) -> Option<Setting> {
    let (key, at) = name(raw)?;
    let rest = raw[at..].trim_start().strip_prefix('=')?;
    let value = rest.trim();
    let start = raw.len() - rest.trim_start().len();
    let spot = |byte: usize, text: String| Spot { line, column: raw[..byte].chars().count() + 1, text };
    Some(Setting { key: spot(raw.len() - raw.trim_start().len(), key), value: spot(start, value.to_owned()) })
}

/// The name that a line begins with, and where it ends.
fn name(raw: &str) -> Option<(String, usize)> {
    let start = raw.len() - raw.trim_start().len();
    let text = &raw[start..];
    if !text.starts_with('"') {
        let end = text.find('=')?;
        let name = text[..end].trim_end();
        return (!name.is_empty()).then(|| (name.to_owned(), start + end));
    }
    let mut out = String::new();
    let mut at = 1;
    loop {
        let end = at + text[at..].find('"')?;
        out.push_str(&text[at..end]);
        at = end + 1;
        if !text[at..].starts_with('"') {
            return (!out.is_empty()).then_some((out, start + at));
        }
        out.push('"');
        at += 1;
    }
}

/// `key=value key='va''lue'` to its pairs; `Err` is the place where it went wrong.
pub(crate) fn pairs(value: &Spot<String>) -> Result<Vec<Setting>, Spot<()>> {
    let text = value.text.as_str();
    let spot_at = |byte: usize| value.column + text[..byte].chars().count();
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        at += text[at..].len() - text[at..].trim_start().len();
        if at >= text.len() {
            return Ok(out);
        }
        let wrong = Spot { line: value.line, column: spot_at(at), text: () };
        let Some(equals) = text[at..].find('=') else { return Err(wrong) };
        let key = text[at..at + equals].trim_end();
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(wrong);
        }
        let key = Spot { line: value.line, column: spot_at(at), text: key.to_owned() };
        let mut start = at + equals + 1;
        start += text[start..].len() - text[start..].trim_start().len();
        let (content, end) = pair_value(text, start).ok_or(wrong)?;
        out.push(Setting { key, value: Spot { line: value.line, column: spot_at(start), text: content } });
        at = end;
    }
}

/// A value and where it ends.
fn pair_value(text: &str, start: usize) -> Option<(String, usize)> {
    let Some(quoted) = text[start..].strip_prefix('\'') else {
        let end = text[start..].find(char::is_whitespace).map_or(text.len(), |end| start + end);
        return Some((text[start..end].to_owned(), end));
    };
    let mut out = String::new();
    let mut rest = quoted;
    loop {
        let end = rest.find('\'')?;
        out.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                out.push('\'');
                rest = after;
            }
            None => return Some((out, text.len() - rest.len())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_strings() {
        let value = Spot { line: 3, column: 7, text: "host=a  port = 5 password='it''s é' x=".to_owned() };
        let pairs: Vec<_> =
            pairs(&value).unwrap().into_iter().map(|s| (s.key.text, s.value.column, s.value.text)).collect();
        let expected = [("host", 12, "a"), ("port", 22, "5"), ("password", 33, "it's é"), ("x", 45, "")];
        assert_eq!(pairs, expected.map(|(key, column, text)| (key.to_owned(), column, text.to_owned())));
        for wrong in ["host", "a b=c", "x='y", "=5"] {
            let value = Spot { line: 1, column: 1, text: wrong.to_owned() };
            assert!(super::pairs(&value).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_may_be_quoted() {
        let setting = setting("  \"a \"\"b\" =  x y ", 1).unwrap();
        assert_eq!((setting.key.text.as_str(), setting.value.text.as_str()), ("a \"b", "x y"));
        assert_eq!((setting.key.column, setting.value.column), (3, 14));
    }
}
