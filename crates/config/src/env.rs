//! `${VAR}` and `${VAR:-default}` in values. In the user and password of a URL a variable's value stands for itself:
//! it is percent-encoded.

/// The text with its variables filled in; `None` if it has none. An error names the variable, never a value.
pub(crate) fn interpolate(
    text: &str,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<(String, bool)>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut filled = false;
    let in_url = text.starts_with("postgres://") || text.starts_with("postgresql://");
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            // `$${`: a literal `${`.
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let after = &rest[at + 2..];
        let end = after.find('}').ok_or_else(|| {
            "`${` without its `}`; expected ${VARIABLE} or ${VARIABLE:-default} (write $${ for a literal ${)"
                .to_owned()
        })?;
        let value = value(&after[..end], env)?;
        // A password may hold what a URL gives a meaning; a host list may hold what encoding would spoil.
        if in_url && after[end..].contains('@') {
            out.push_str(&percent_encode(&value));
        } else {
            out.push_str(&value);
        }
        filled = true;
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(Some((out, filled)))
}

fn value(inner: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (name, default) = match inner.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inner, None),
    };
    let valid = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !valid {
        return Err(
            "`${…}` does not hold the name of a variable; expected ${VARIABLE} or ${VARIABLE:-default} \
                    (write $${ for a literal ${)"
                .to_owned(),
        );
    }
    match (env(name), default) {
        (Some(value), Some(default)) if value.is_empty() => Ok(default.to_owned()),
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!(
            "the environment variable `{name}` is not set; expected it, or a default: ${{{name}:-…}}"
        )),
    }
}

/// Everything but RFC 3986's unreserved characters as `%XX`.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(text: &str) -> Result<Option<(String, bool)>, String> {
        interpolate(text, &|name| match name {
            "A" => Some("one".into()),
            "EMPTY" => Some(String::new()),
            _ => None,
        })
    }

    #[test]
    fn variables_defaults_and_escapes() {
        assert_eq!(fill("x$y{z}"), Ok(None));
        assert_eq!(
            fill("<${A}|${B:-two}|${EMPTY:-three}|${EMPTY}>"),
            Ok(Some(("<one|two|three|>".into(), true)))
        );
        assert_eq!(fill("a$${A}b"), Ok(Some(("a${A}b".into(), false))));
        let url = interpolate("postgres://a:${P}@${H}/d", &|name| {
            Some(if name == "P" { "p@/%" } else { "x,y" }.into())
        });
        assert_eq!(url, Ok(Some(("postgres://a:p%40%2F%25@x,y/d".into(), true))));
        assert!(fill("${B}").unwrap_err().contains("`B` is not set"));
        assert!(fill("${A").is_err());
        assert!(fill("${A B}").is_err());
    }
}
