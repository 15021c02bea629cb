//! Names and texts that are written with escapes: `U&"s\\0065tseed"` is `setseed`.

use std::borrow::Cow;

/// A text with the names in it as they are, where they are written as `U&"…"`. The quotes stay. A name that says what
/// stands for a backslash (UESCAPE) can't be read so.
pub(super) fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.as_bytes().windows(3).any(|part| part.eq_ignore_ascii_case(b"u&\"")) {
        return Cow::Borrowed(text);
    }
    let mut read = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("&\"").filter(|_| !rest.is_empty()) {
        let (before, name) = rest.split_at(at + 2);
        let end = name.find('"').map_or(name.len(), |end| end + 1);
        match before.strip_suffix("U&\"").or_else(|| before.strip_suffix("u&\"")) {
            Some(before) => {
                read.push_str(before);
                read.push('"');
                read.push_str(&decoded(&name[..end]));
                rest = &name[end..];
            }
            // Something is combined with a name by an operator.
            None => {
                read.push_str(before);
                rest = name;
            }
        }
    }
    read.push_str(rest);
    Cow::Owned(read)
}

/// With the characters for which their numbers stand: `\0073`, `\+000073`.
fn decoded(name: &str) -> String {
    let mut read = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(at) = rest.find('\\') {
        read.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        let (from, to) = if rest.starts_with('+') { (1, 7) } else { (0, 4) };
        let number = rest.get(from..to).and_then(|digits| u32::from_str_radix(digits, 16).ok());
        match number.and_then(char::from_u32) {
            Some(character) => {
                read.push(character);
                rest = &rest[to..];
            }
            None => read.push('\\'),
        }
    }
    read.push_str(rest);
    read
}

/// Whether the body of a DO, in a text in lower case, is a string in which backslashes stand for characters: the words in
/// it can't be read then.
pub(super) fn escapes_its_body(text: &str) -> bool {
    let bodies = || text.match_indices("do").map(|(at, word)| body(&text[at + word.len()..]));
    text.contains('\\') && bodies().any(|body| body.starts_with("e'") || body.starts_with("u&'"))
}

/// What follows DO, but for its language.
fn body(rest: &str) -> &str {
    let rest = rest.trim_start();
    let Some(language) = rest.strip_prefix("language").map(str::trim_start) else { return rest };
    let end = language.find(char::is_whitespace).unwrap_or(language.len());
    language[end..].trim_start()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are() {
        for (text, read) in [
            ("select 1", "select 1"),
            ("select U&\"s\\0065tseed\"(0.5)", "select \"setseed\"(0.5)"),
            ("u&\"\\+000073et\" = 'é' || u&\"a\"", "\"set\" = 'é' || \"a\""),
            ("a &\"b\", U&\"\\0063\"", "a &\"b\", \"c\""),
            ("U&\"\\zz\\\\é\\00", "\"\\zz\\\\é\\00"),
            ("u&\"", "\""),
        ] {
            assert_eq!(unescaped(text), read, "{text}");
        }
    }

    #[test]
    fn a_body_with_escapes_is_known() {
        assert!(escapes_its_body(r"do e'begin perform \163etseed(0.5); end'"));
        assert!(escapes_its_body(r"do language plpgsql u&'\0062egin end'"));
        assert!(!escapes_its_body(r"do $$begin perform regexp_replace(a, '\s', ''); end$$"));
        assert!(!escapes_its_body("do e'begin end'"));
        assert!(!escapes_its_body(r"do $$begin execute e'set a.b = \'\\\''; end$$"));
        assert!(!escapes_its_body(r"do language plpgsql $$begin a := e'\\'; end$$"));
    }
}
