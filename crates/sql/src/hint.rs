//! Hints: `/* pgweir: role=replica shard=eu key=DE */` as the first thing of a text.

use crate::facts::{Hint, HintConsistency, HintRole};

/// The hint comment that a text begins with, comment signs included.
pub(crate) fn comment(sql: &[u8]) -> Option<&[u8]> {
    let blank = sql.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let rest = &sql[blank..];
    let after = rest.strip_prefix(b"/*")?;
    let word = after.iter().position(|byte| !byte.is_ascii_whitespace())?;
    after[word..].strip_prefix(b"pgweir:")?;
    let end = memchr::memmem::find(after, b"*/")?;
    Some(&rest[..end + 4])
}

/// What the hint of this text says; nothing if it has none.
pub(crate) fn parse(sql: &[u8]) -> Hint {
    let mut hint = Hint::default();
    let Some(comment) = comment(sql) else { return hint };
    let Ok(text) = std::str::from_utf8(comment) else {
        hint.invalid = Some("not UTF-8".into());
        return hint;
    };
    let body = text.trim_start_matches("/*").trim_end_matches("*/").trim();
    let body = body.strip_prefix("pgweir:").unwrap_or(body);
    for pair in body.split_ascii_whitespace() {
        if !set(&mut hint, pair) && hint.invalid.is_none() {
            hint.invalid = Some(pair.into());
        }
    }
    hint
}

/// Takes one `key=value`; false if it isn't known, or says again what was said.
fn set(hint: &mut Hint, pair: &str) -> bool {
    let Some((key, value)) = pair.split_once('=') else { return false };
    match (key, value) {
        (_, "") => false,
        ("role", "primary") => hint.role.replace(HintRole::Primary).is_none(),
        ("role", "replica") => hint.role.replace(HintRole::Replica).is_none(),
        ("shard", name) => hint.shard.replace(name.into()).is_none(),
        ("key", key) => hint.key.replace(key.into()).is_none(),
        ("consistency", word) => match consistency(word) {
            Some(said) => hint.consistency.replace(said).is_none(),
            None => false,
        },
        _ => false,
    }
}

fn consistency(word: &str) -> Option<HintConsistency> {
    match word {
        "database" => Some(HintConsistency::Database),
        "session" => Some(HintConsistency::Session),
        "strong" => Some(HintConsistency::Strong),
        "eventual" => Some(HintConsistency::Eventual),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_read_and_the_unknown_is_named() {
        let hint = parse(b"  /* pgweir: role=replica shard=eu key=DE */ SELECT 1");
        assert_eq!(hint.role, Some(HintRole::Replica));
        assert_eq!(hint.shard.as_deref(), Some("eu"));
        assert_eq!(hint.key.as_deref(), Some("DE"));
        assert_eq!(hint.invalid, None);
        let hint = parse(b"/* pgweir: consistency=strong */ SELECT 1");
        assert_eq!((hint.consistency, hint.invalid), (Some(HintConsistency::Strong), None));
        for wrong in [
            "role=standby",
            "consistency=weak",
            "consistency=strong consistency=strong",
            "rule=primary",
            "shard=",
            "role=primary role=replica",
            "x",
        ] {
            let text = format!("/*pgweir: {wrong}*/ SELECT 1");
            assert!(parse(text.as_bytes()).invalid.is_some(), "{wrong}");
        }
    }

    #[test]
    fn only_the_first_comment_is_a_hint() {
        for none in
            ["SELECT 1 /* pgweir: role=primary */", "/* pgweir role=primary */", "/* pgweir: ", "", "/*"]
        {
            assert_eq!(parse(none.as_bytes()), Hint::default(), "{none}");
        }
    }
}
