//! What the code of a database may leave in a session: found in the sources of its functions, by name.
//!
//! Nobody can tell from a call what a function does, but what it can't do is in its source: one that has no word for
//! settings, temporary tables, locks, channels or prepared statements, and names nothing that has, leaves nothing
//! behind. All is judged by names, whatever their schema and arguments: that says too much, and never too little.

use std::collections::{HashMap, HashSet};

use sql::facts::{Call, Facts, Kind};

use crate::witness::{Names, Row};

/// What code may do to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traits(u8);

impl Traits {
    pub(crate) const NONE: Self = Self(0);
    /// It leaves something that the connection can be asked for: settings, locks, temporary tables, cursors.
    pub(crate) const LEAVES: Self = Self(1);
    /// It puts SQL together when it runs: it may do anything.
    pub(crate) const DYNAMIC: Self = Self(2);
    /// LISTEN or UNLISTEN.
    pub(crate) const LISTENS: Self = Self(4);
    /// PREPARE, EXECUTE or DEALLOCATE.
    pub(crate) const PREPARES: Self = Self(8);
    /// It sets settings of names that nobody can read in it.
    pub(crate) const NAMES_SETTINGS: Self = Self(16);
    /// It may end what ties a session: leaves nothing by itself.
    pub(crate) const ENDS: Self = Self(32);
    /// It calls a library that may keep something in its process.
    pub(crate) const LIBRARY: Self = Self(64);
    pub(crate) const ALL: Self = Self(127);

    pub(crate) fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) fn is_none(self) -> bool {
        self == Self::NONE
    }

    #[must_use]
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the code of one database may do.
#[derive(Debug, Default)]
pub(crate) struct CodeMap {
    /// Functions and relations that may leave something, by name.
    loud: HashMap<Box<str>, Traits>,
    /// What any statement may run unasked: operators, casts, domains.
    everywhere: Traits,
    /// All of them together.
    any: Traits,
    /// A view, a policy or an operator may: what only reads has to be judged too.
    by_reading: bool,
    /// Functions of libraries that may keep something in their process: name and schema.
    libraries: Vec<(String, String)>,
    /// Something may call currval or lastval that no text names.
    calls_currval: bool,
}

/// Built-in names that leave something wherever they are called, beside those that a source has as words.
const BUILT_IN: [(&str, Traits); 4] = [
    ("set_config", Traits::LEAVES),
    ("setseed", Traits::LEAVES),
    ("pg_settings", Traits::LEAVES),
    ("dblink_connect", Traits::LEAVES),
];

/// Stands for what any statement may run.
const EVERYWHERE: &str = "*";
/// Stands for what any utility command may run: event triggers.
const COMMANDS: &str = "!";

/// Asks for the sources of a database's functions, and for what calls them or reads what does; for functions of libraries
/// that may keep something in their process; whether anything calls currval or lastval. Rows of a kind, a name and a
/// text. Much more than anybody writes isn't read, nor is it waited for long. The client's planner settings would make it
/// slow; those of one Query's transaction end with it.
///
/// A library of an extension is taken to be made for pools, and a trigger's function only to read what others have set.
pub(crate) const SOURCES: &str = "\
    SET LOCAL statement_timeout = '2s'; SET LOCAL jit = off; SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = on; \
    SET LOCAL enable_bitmapscan = on; SET LOCAL enable_nestloop = on; SET LOCAL enable_hashjoin = on; \
    SET LOCAL enable_mergejoin = on; SET LOCAL enable_hashagg = on; SET LOCAL enable_sort = on; \
    SET LOCAL enable_material = on; WITH own AS (SELECT p.oid, p.proname, p.prosrc, l.lanname, pg_catalog.to_jsonb(p)->>'prosqlbody' AS body \
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
      WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')), \
    big AS (SELECT COALESCE(pg_catalog.sum(pg_catalog.length(prosrc)), 0) > 8000000 AS big FROM own), \
    calls AS (SELECT oid, proname FROM pg_catalog.pg_proc WHERE oid >= 16384), \
    loud AS (SELECT ':(?:funcid|opfuncid) (?:' || pg_catalog.string_agg(oid::pg_catalog.text, '|') || ') ' AS call \
      FROM pg_catalog.pg_proc WHERE oid < 16384 AND (proname IN ('set_config', 'setseed') \
      OR proname ~ '^pg_(try_)?advisory_lock')), \
    trees AS (SELECT ev_class AS rel, ev_action::pg_catalog.text AS tree FROM pg_catalog.pg_rewrite WHERE oid >= 16384 \
      UNION ALL SELECT polrelid, pg_catalog.concat(polqual, ' ', polwithcheck) FROM pg_catalog.pg_policy \
      UNION ALL SELECT adrelid, adbin::pg_catalog.text FROM pg_catalog.pg_attrdef \
      UNION ALL SELECT conrelid, conbin::pg_catalog.text FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL), \
    named AS (SELECT rel, 'set_config' AS what FROM trees, loud WHERE tree ~ call \
      UNION SELECT t.tgrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_trigger t JOIN calls p ON p.oid = t.tgfoid \
      UNION SELECT r.ev_class, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid WHERE d.refclassid = 1255 AND d.classid = 2618 \
      UNION SELECT r.ev_class, c.relname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c \
        ON c.oid = d.refobjid JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.ev_class <> c.oid \
        WHERE d.refclassid = 1259 AND d.classid = 2618 AND r.oid >= 16384 \
      UNION SELECT a.adrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid WHERE d.refclassid = 1255 AND d.classid = 2604 \
      UNION SELECT k.conrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_constraint k ON k.oid = d.objid WHERE d.refclassid = 1255 AND d.classid = 2606 \
      UNION SELECT o.polrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_policy o ON o.oid = d.objid WHERE d.refclassid = 1255 AND d.classid = 3256 \
      UNION SELECT i.indrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_index i ON i.indexrelid = d.objid WHERE d.refclassid = 1255 AND d.classid = 1259 \
      UNION SELECT h.inhparent, c.relname::pg_catalog.text FROM pg_catalog.pg_inherits h \
        JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid \
      UNION SELECT k.confrelid, c.relname::pg_catalog.text FROM pg_catalog.pg_constraint k \
        JOIN pg_catalog.pg_class c ON c.oid = k.conrelid WHERE k.contype = 'f'), \
    named_currval AS (SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.oid >= 16384 \
        AND (p.prosrc ~* '[[:<:]](currval|lastval)[[:>:]]' \
        OR p.prolang = 14 AND (pg_catalog.to_jsonb(p)->>'prosqlbody') ~ ':funcid (1575|2559) ')) \
      OR EXISTS (SELECT FROM trees WHERE tree ~ ':funcid (1575|2559) ') AS found) \
    SELECT 'big', NULL, NULL FROM big WHERE big \
    UNION ALL SELECT CASE WHEN lanname IN ('sql', 'plpgsql') THEN 'source' ELSE 'foreign' END, proname, prosrc \
      FROM own, big WHERE NOT big \
    UNION ALL SELECT 'names', c.relname, n.what FROM named n JOIN pg_catalog.pg_class c ON c.oid = n.rel \
    UNION ALL SELECT 'names', o.proname, 'set_config' FROM own o, loud WHERE o.body ~ call \
    UNION ALL SELECT 'names', o.proname, COALESCE(p.proname, c.relname) FROM own o \
      JOIN pg_catalog.pg_depend d ON d.objid = o.oid AND d.classid = 1255 \
      LEFT JOIN calls p ON d.refclassid = 1255 AND p.oid = d.refobjid \
      LEFT JOIN pg_catalog.pg_class c ON d.refclassid = 1259 AND c.oid = d.refobjid WHERE o.body IS NOT NULL \
    UNION ALL SELECT 'names', '*', p.proname FROM calls p WHERE p.oid IN ( \
      SELECT oprcode FROM pg_catalog.pg_operator WHERE oid >= 16384 \
      UNION SELECT castfunc FROM pg_catalog.pg_cast WHERE oid >= 16384 \
      UNION SELECT amproc FROM pg_catalog.pg_amproc WHERE oid >= 16384 \
      UNION SELECT d.refobjid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_constraint k ON k.oid = d.objid \
        WHERE d.refclassid = 1255 AND d.classid = 2606 AND k.contypid <> 0) \
    UNION ALL SELECT 'names', '!', p.proname FROM calls p JOIN pg_catalog.pg_event_trigger e ON e.evtfoid = p.oid \
    UNION ALL SELECT 'library', p.proname, n.nspname::pg_catalog.text FROM pg_catalog.pg_proc p \
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
      WHERE p.oid >= 16384 AND l.lanname = 'c' AND p.provolatile = 'v' AND p.prokind = 'f' \
      AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
      WHERE d.classid = 1255 AND d.objid = p.oid AND d.deptype = 'e') \
    UNION ALL SELECT 'reads', relname, NULL FROM pg_catalog.pg_class \
      WHERE oid >= 16384 AND (relkind = 'v' OR relrowsecurity) \
    UNION ALL SELECT 'currval', NULL, NULL FROM named_currval WHERE found \
    UNION ALL SELECT 'names', a.proname, p.proname FROM pg_catalog.pg_aggregate g \
      JOIN calls a ON a.oid = g.aggfnoid \
      JOIN calls p ON p.oid IN (g.aggtransfn, g.aggfinalfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn)";

impl CodeMap {
    /// What stands for an answer where there is none: any code may do anything.
    pub(crate) fn unread() -> Vec<Row> {
        vec![[Some("big".to_owned()), None, None]]
    }

    /// Of the answer to `SOURCES`. The names of settings in the sources go to `names`.
    pub(crate) fn of(rows: &[Row], names: &mut Names) -> Self {
        let mut own: HashMap<Box<str>, Traits> =
            BUILT_IN.iter().map(|(name, traits)| ((*name).into(), *traits)).collect();
        let mut named: HashMap<Box<str>, HashSet<Box<str>>> = HashMap::new();
        let mut map = Self::default();
        // Views, and tables with policies.
        let mut related: HashSet<Box<str>> = HashSet::new();
        let mut everywhere = Traits::NONE;
        for [kind, name, text] in rows {
            let name = name.as_deref().unwrap_or_default().to_lowercase();
            let text = text.as_deref().unwrap_or_default();
            match kind.as_deref().unwrap_or_default() {
                // So much code that nobody reads it all.
                "reads" => {
                    related.insert(name.into());
                }
                "big" => everywhere = everywhere.and(Traits::DYNAMIC),
                "currval" => map.calls_currval = true,
                "library" => {
                    own.insert(name.as_str().into(), Traits::LIBRARY);
                    map.libraries.push((name, text.to_owned()));
                }
                "names" => {
                    named.entry(name.into()).or_default().insert(text.to_lowercase().into());
                }
                language => {
                    names.take_from(text.as_bytes());
                    let text = text.to_lowercase();
                    let traits = match language {
                        "foreign" => Traits::DYNAMIC,
                        _ => traits_of_words(&text),
                    };
                    let entry = own.entry(name.as_str().into()).or_default();
                    *entry = entry.and(traits);
                    // What is built in was judged where it stands.
                    let others = words(&text).filter(|word| !is_built_in(word));
                    named.entry(name.into()).or_default().extend(others.map(Into::into));
                }
            }
        }
        let mut loud = own;
        spread(&mut loud, &named);
        loud.retain(|_, traits| !traits.is_none());
        everywhere = everywhere.and(loud.remove(EVERYWHERE).unwrap_or_default());
        let own = loud.iter().filter(|(name, _)| !is_built_in(name));
        let any = own.fold(everywhere, |all, (_, traits)| all.and(*traits));
        let by_reading = !everywhere.is_none() || related.iter().any(|name| loud.contains_key(name));
        Self { loud, everywhere, any, by_reading, ..map }
    }

    /// What any function of the database may do.
    pub(crate) fn any(&self) -> Traits {
        self.any
    }

    /// Whether what only reads may run code that leaves something.
    pub(crate) fn by_reading(&self) -> bool {
        self.by_reading
    }

    /// Whether something may call currval or lastval that no text names.
    pub(crate) fn calls_currval(&self) -> bool {
        self.calls_currval
    }

    /// Whether a text calls by its name what may keep something in its process.
    pub(crate) fn keeps_something(&self, facts: &Facts) -> bool {
        let is = |call: &Call| {
            self.libraries.iter().any(|(name, schema)| {
                name.as_str() == call.name.to_lowercase()
                    && call.schema.as_deref().is_none_or(|said| said == schema)
            })
        };
        !self.libraries.is_empty() && facts.statements.iter().any(|s| s.calls.functions.iter().any(is))
    }

    /// What a text may do by the code that it runs. `temporary`: what it creates may be temporary by its search_path.
    pub(crate) fn of_text(&self, facts: &Facts, sql: &[u8], temporary: bool) -> Traits {
        let Ok(text) = str::from_utf8(sql) else { return Traits::ALL };
        let text = text.to_lowercase();
        let mut traits = self.everywhere;
        for statement in &facts.statements {
            traits = traits.and(match statement.kind {
                Kind::Procedure => traits_of_words(&text),
                Kind::Utility if temporary => Traits::ALL,
                Kind::Utility => self.loud.get(COMMANDS).copied().unwrap_or_default(),
                Kind::Unknown => Traits::ALL,
                _ => Traits::NONE,
            });
        }
        if !facts.hidden.runs_code {
            // What is built in its facts tell.
            let of = |word: &str| self.loud.get(word).copied().unwrap_or_default();
            let others = words(&text).filter(|word| !is_built_in(word));
            return others.fold(traits, |all, word| all.and(of(word)));
        }
        traits = traits.and(self.of_words(&text));
        if text.contains("u&\"") || facts.statements.is_empty() {
            return Traits::ALL; // names that can't be read
        }
        traits
    }

    /// What a text may do by what it names.
    fn of_words(&self, text: &str) -> Traits {
        let of = |word: &str| self.loud.get(word).copied().unwrap_or_default();
        words(text).fold(Traits::NONE, |all, word| all.and(of(word)))
    }

    /// Whether a command that makes or changes a table, a view or an index may make it something that runs code.
    pub(crate) fn changes_by(&self, facts: &Facts, sql: &[u8]) -> bool {
        if facts.statements.iter().all(|statement| statement.kind != Kind::Utility) {
            return false;
        }
        let text = String::from_utf8_lossy(sql).to_lowercase();
        let asks = ["currval", "lastval"];
        !self.of_words(&text).is_none() || words(&text).any(|word| asks.contains(&word))
    }
}

/// Whoever names what is loud is as loud, until nothing changes any more.
fn spread(loud: &mut HashMap<Box<str>, Traits>, named: &HashMap<Box<str>, HashSet<Box<str>>>) {
    loop {
        let mut louder = Vec::new();
        for (name, all) in named {
            let before = loud.get(name).copied().unwrap_or_default();
            let now = all.iter().filter(|other| *other != name);
            let now =
                now.fold(before, |traits, other| traits.and(loud.get(other).copied().unwrap_or_default()));
            if now != before {
                louder.push((name.clone(), now));
            }
        }
        if louder.is_empty() {
            return;
        }
        loud.extend(louder);
    }
}

/// What the words of a source say that it may do. Strings in it count too: they may be run.
fn traits_of_words(source: &str) -> Traits {
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
            "set" | "reset" if starts && !ends_with_transaction(rest) => Traits::LEAVES,
            "set_config" if sets_for_transaction(rest) => Traits::NONE,
            "set_config" if says_its_name(rest) => Traits::LEAVES,
            "set_config" => Traits::LEAVES.and(Traits::NAMES_SETTINGS),
            "execute" => Traits::DYNAMIC,
            "prepare" | "deallocate" => Traits::PREPARES,
            "listen" | "unlisten" if starts => Traits::LISTENS,
            "load" | "discard" if starts => Traits::LEAVES,
            // What search_path begins with decides whether it is temporary.
            "create" if starts => Traits::DYNAMIC,
            "setseed" | "pg_settings" | "pg_temp" | "temp" | "temporary" | "hold" | "dblink_connect" => {
                Traits::LEAVES
            }
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

enum Part<'a> {
    Word(&'a str),
    Sign(char),
}

/// All words of a text, keywords and names, those in strings and quotes too.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            if let Part::Word(word) = next_part(&mut rest)? {
                return Some(word);
            }
        }
    })
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

fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(built_in, _)| *built_in == name)
}

/// Whether the first of the arguments that follow set_config is one literal.
fn says_its_name(rest: &str) -> bool {
    let argument = rest.trim_start().strip_prefix('(').map(str::trim_start);
    let Some(quoted) = argument.filter(|argument| argument.starts_with('\'')) else { return false };
    let inside = quoted.trim_start_matches('\'');
    let behind = inside.find('\'').map(|end| inside[end..].trim_start_matches('\'').trim_start());
    behind.is_some_and(|behind| behind.starts_with(','))
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

    #[test]
    fn whoever_names_what_is_loud_is_loud() {
        let row = |kind: &str, name: &str, text: &str| [kind, name, text].map(|part| Some(part.to_owned()));
        let rows = [
            row("source", "track", "begin perform set_config('app.t', new.n::text, false); return new; end"),
            row("source", "Outer", "select Inner_Fn(1)"),
            row("source", "inner_fn", "insert into audited values (1)"),
            row("source", "quiet", "select a from plain where set_config('app.x', 'y', true) is null"),
            row("names", "audited", "track"),
            row("names", "a_view", "audited"),
            row("names", "seen", "set_config"),
            row("foreign", "py", "return 1"),
            row("reads", "a_view", ""),
        ];
        let mut names = Names::default();
        let map = CodeMap::of(&rows, &mut names);
        let of = |sql: &str| {
            let facts =
                sql::Analyzer::new(16).analyze(sql.as_bytes(), sql::LexSettings::default()).facts.clone();
            map.of_text(&facts, sql.as_bytes(), false)
        };
        for sql in
            ["select outer()", "insert into public.\"audited\" values (1)", "select * from a_view, f()"]
        {
            assert_eq!(of(sql), Traits::LEAVES, "{sql}");
        }
        assert_eq!(of("select 1 from seen, f()"), Traits::LEAVES);
        assert_eq!(of("select quiet()"), Traits::NONE);
        assert_eq!(of("insert into plain values (1)"), Traits::NONE);
        assert_eq!(of("select py()"), Traits::DYNAMIC);
        assert_eq!(of("create table x (n int)"), Traits::NONE);
        assert!(of("do $$begin set a.b = 1; end$$").has(Traits::LEAVES));
        assert_eq!(of("do $$begin perform quiet(); end$$"), Traits::NONE);
        assert_eq!(map.any(), Traits::LEAVES.and(Traits::DYNAMIC));
        assert!(map.by_reading());
    }
}
