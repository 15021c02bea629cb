//! What the code of a database may leave in a session: found in the sources of its functions, by name.
//!
//! Nobody can tell from a call what a function does, but what it can't do is in its source: one that has no word for
//! settings, temporary tables, locks, channels or prepared statements, and names nothing that has, leaves nothing
//! behind. All is judged by names, whatever their schema and arguments: that says too much, and never too little.

mod escaped;
mod sources;
mod words;

use std::collections::{HashMap, HashSet};

use sql::facts::{Call, Facts, Kind, PinReason};

use crate::witness::{Names, Row};
use escaped::{escapes_its_body, unescaped};
pub(crate) use sources::SOURCES;
use words::{traits_of_words, words};

/// What code may do to its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Traits(u16);

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
    /// All of that: the connection can be asked what came of it.
    pub(crate) const ALL: Self = Self(127);
    /// `setseed`: the connection can't be asked for it.
    pub(crate) const SEEDS: Self = Self(128);
    /// LOAD, likewise.
    pub(crate) const LOADS: Self = Self(256);

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

    #[must_use]
    pub(crate) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// What ties a session for good that has run such code.
    pub(crate) fn keeps(self) -> Option<PinReason> {
        if self.has(Self::LOADS) {
            Some(PinReason::Load)
        } else {
            self.has(Self::SEEDS).then_some(PinReason::Setseed)
        }
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
    ("setseed", Traits::SEEDS),
    ("pg_settings", Traits::LEAVES),
    ("dblink_connect", Traits::LEAVES),
];

/// Stands for what any statement may run.
const EVERYWHERE: &str = "*";
/// Stands for what any utility command may run: event triggers.
const COMMANDS: &str = "!";

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
                    let text = unescaped(text);
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
        // An operator that seeds would tie each session that says anything.
        everywhere = everywhere.without(Traits::SEEDS.and(Traits::LOADS));
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
        let text = unescaped(text).to_lowercase();
        let mut traits = self.everywhere;
        for statement in &facts.statements {
            traits = traits.and(match statement.kind {
                Kind::Procedure if escapes_its_body(&text) => {
                    Traits::ALL.and(Traits::SEEDS).and(Traits::LOADS)
                }
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
        if facts.statements.is_empty() { traits.and(Traits::ALL) } else { traits }
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

fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|(built_in, _)| *built_in == name)
}

#[cfg(test)]
mod tests {
    use super::*;

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
