//! What the words of a source say that it may do.

use super::Traits;

/// What the words of a source say that it may do. Strings in it count too: they may be run.
pub(super) fn traits_of_words(source: &str) -> Traits {
    let mut traits = Traits::NONE;
    // Whether a statement may begin here, as far as one can tell: behind a comment too.
    let (mut starts, mut comment) = (true, false);
    let mut rest = source;
    while let Some(part) = next_part(&mut rest) {
        let word = match part {
            Part::Word(word) => word,
            Part::Sign(sign) => {
                comment |= sign == '-' && rest.starts_with('-');
                starts = match sign {
                    ';' | '\'' | '$' | '>' => true,
                    '*' => rest.starts_with('/'),
                    '/' => starts,
                    '\n' => std::mem::take(&mut comment) || starts,
                    _ => false,
                };
                continue;
            }
        };
        traits = traits.and(match word {
            "set" if starts && is_of_seed(rest) => Traits::SEEDS,
            "set_config" if says_seed(rest) => Traits::SEEDS,
            "set" | "reset" if starts && !ends_with_transaction(rest) => Traits::LEAVES,
            "set_config" if sets_for_transaction(rest) => Traits::NONE,
            "set_config" if says_its_name(rest) => Traits::LEAVES,
            "set_config" => Traits::LEAVES.and(Traits::NAMES_SETTINGS),
            "execute" => Traits::DYNAMIC,
            "prepare" | "deallocate" => Traits::PREPARES,
            "listen" | "unlisten" if starts => Traits::LISTENS,
            "load" if starts && names_a_library(rest) => Traits::LOADS,
            "discard" if starts => Traits::LEAVES,
            // What search_path begins with decides whether it is temporary.
            "create" if starts => Traits::DYNAMIC,
            "setseed" => Traits::SEEDS,
            // What a name is that is put in otherwise can't be read.
            "uescape" => Traits::ALL,
            "pg_settings" | "pg_temp" | "temp" | "temporary" | "hold" | "dblink_connect" => Traits::LEAVES,
            "drop" | "close" if starts => Traits::ENDS,
            word if word.starts_with("pg_advisory_unlock") => Traits::ENDS,
            word if word.starts_with("pg_advisory_lock") || word.starts_with("pg_try_advisory_lock") => {
                Traits::LEAVES
            }
            _ => Traits::NONE,
        });
        starts = ["begin", "then", "else", "loop", "as", "atomic"].contains(&word);
    }
    traits
}

/// All words of a text, keywords and names, those in strings and quotes too.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            if let Part::Word(word) = next_part(&mut rest)? {
                return Some(word);
            }
        }
    })
}

enum Part<'a> {
    Word(&'a str),
    Sign(char),
}

/// The next word or sign. The end of a line is a sign; other spaces are passed over.
fn next_part<'a>(rest: &mut &'a str) -> Option<Part<'a>> {
    *rest = rest.trim_start_matches(|c: char| c != '\n' && c.is_whitespace());
    let first = rest.chars().next()?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii();
    if !is_part(first) {
        *rest = &rest[first.len_utf8()..];
        return Some(Part::Sign(first));
    }
    let (word, after) = rest.split_at(rest.find(|c| !is_part(c)).unwrap_or(rest.len()));
    *rest = after;
    Some(Part::Word(word))
}

/// Whether the first of the arguments that follow set_config is one literal.
fn says_its_name(rest: &str) -> bool {
    let argument = rest.trim_start().strip_prefix('(').map(str::trim_start);
    let Some(quoted) = argument.filter(|argument| argument.starts_with('\'')) else { return false };
    let inside = quoted.trim_start_matches('\'');
    let behind = inside.find('\'').map(|end| inside[end..].trim_start_matches('\'').trim_start());
    behind.is_some_and(|behind| behind.starts_with(','))
}

/// Whether a string follows LOAD, as far as one can tell: SQL that is put together may have it anywhere.
fn names_a_library(rest: &str) -> bool {
    let rest = rest.trim_start();
    rest.starts_with(['\'', '$', '%', '/', '-']) || rest.starts_with("e'") || rest.starts_with("u&'")
}

/// SET SEED, which is `setseed` in other words; LOCAL changes nothing in that.
fn is_of_seed(mut rest: &str) -> bool {
    let mut next = || loop {
        if let Part::Word(word) = next_part(&mut rest)? {
            return Some(word);
        }
    };
    match next() {
        Some("session" | "local") => next() == Some("seed"),
        word => word == Some("seed"),
    }
}

/// Likewise by the arguments that follow set_config.
fn says_seed(rest: &str) -> bool {
    let argument = rest.trim_start().strip_prefix('(').map(str::trim_start).unwrap_or_default();
    argument.trim_start_matches('\'').strip_prefix("seed").is_some_and(|rest| rest.starts_with('\''))
}

/// SET LOCAL, SET CONSTRAINTS, SET TRANSACTION: behind SET.
fn ends_with_transaction(rest: &str) -> bool {
    let mut rest = rest.trim_start();
    matches!(next_part(&mut rest), Some(Part::Word("local" | "constraints" | "transaction")))
}

/// Whether the arguments that follow set_config end with `true`, and so its setting with the transaction.
fn sets_for_transaction(rest: &str) -> bool {
    let Some(arguments) = rest.trim_start().strip_prefix('(') else { return false };
    let (mut depth, mut quoted, mut last) = (0_u32, false, 0);
    for (at, c) in arguments.char_indices() {
        match c {
            '\'' => quoted = !quoted,
            _ if quoted => {}
            '(' | '[' => depth += 1,
            ')' if depth == 0 => return arguments[last..at].trim() == "true",
            ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => last = at + 1,
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(source: &str) -> Traits {
        traits_of_words(&source.to_lowercase())
    }

    #[test]
    fn plain_code_is_quiet() {
        for source in [
            "BEGIN UPDATE t SET a = 1 WHERE b; RETURN NEW; END",
            "begin insert into t values (1) on conflict (a) do update set a = 2; end",
            "BEGIN\n  UPDATE t\n  SET a = 1;\n  SET LOCAL work_mem = '1MB'; END",
            "begin perform set_config('app.x', f(a, 'b'), true); end",
            "begin perform pg_advisory_xact_lock(1), pg_try_advisory_xact_lock(2); end",
            "select * from loads where prepared and listen_count > 1 and settings = 'none'",
        ] {
            assert_eq!(judged(source), Traits::NONE, "{source}");
        }
    }

    #[test]
    fn code_that_may_leave_something_is_not() {
        for source in [
            "begin set work_mem = '1MB'; end",
            "begin -- first\n set search_path = a; end",
            "begin x := 1; /* then */ reset all; end",
            "begin if a then set role b; end if; end",
            "begin perform set_config('app.x', '1', false); end",
            "begin perform pg_catalog.set_config('app.x', '1', not true); end",
            "begin perform set_config('app.x', ', true)', l); end",
            "select pg_try_advisory_lock_shared(1)",
            "begin create temp table x (n int); end",
            "begin update pg_settings set setting = '1' where name = 'work_mem'; end",
        ] {
            assert!(judged(source).has(Traits::LEAVES), "{source}");
        }
        for source in [
            "begin perform setseed(0.5); end",
            "begin set seed = 0.5; end",
            "begin set local \"seed\" to 0.5; end",
            "begin perform set_config('seed', '0.5', true); end",
        ] {
            assert_eq!(judged(source), Traits::SEEDS, "{source}");
        }
        for source in ["begin load 'a'; end", "begin load $1; end", "begin execute format('load %L', a); end"]
        {
            assert!(judged(source).has(Traits::LOADS), "{source}");
        }
        for source in ["begin load := 1; end", "begin execute x; end", "begin set seeds = 1; end"] {
            assert!(judged(source).keeps().is_none(), "{source}");
        }
        for source in ["begin execute x; end", "begin for r in execute 'a' loop end loop; end"] {
            assert!(judged(source).has(Traits::DYNAMIC), "{source}");
        }
        assert!(judged("begin listen a; end").has(Traits::LISTENS));
        assert!(judged("prepare a as select 1").has(Traits::PREPARES));
        for source in
            ["set_config('app.' || x, '1', false)", "set_config(n, '1', false)", "set_config(e'a', b, c)"]
        {
            assert!(judged(source).has(Traits::NAMES_SETTINGS), "{source}");
        }
        assert!(!judged("set_config('app.x', '1', false)").has(Traits::NAMES_SETTINGS));
        assert!(!judged("execute 'select set_config(''app.x'', ''1'', false)'").has(Traits::NAMES_SETTINGS));
    }
}
