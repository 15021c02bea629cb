//! Settings and reported parameters, as immutable lists that are compared by pointer.
//!
//! A session *wants* settings, a server connection *has* some applied; each core interns the lists, so that the
//! question "is this connection as the session wants it?" is one comparison of pointers in the common case.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::rc::Rc;

/// One setting of a session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Setting {
    /// Its name, lower case.
    pub name: Box<str>,
    /// Its value.
    pub value: Box<str>,
    /// The value is SQL text to be put behind `TO` as it is (a list), not one literal.
    pub raw: bool,
    /// It was set under a role or another session authorization, whose rights it may need.
    pub under_role: bool,
}

/// Settings whose value is a list of names (GUC_LIST_QUOTE in Postgres' guc_tables.c) and that a session may set: one
/// literal behind `SET … TO` would be one name.
const LISTS_OF_NAMES: [&str; 2] = ["search_path", "temp_tablespaces"];

impl Setting {
    /// One literal, set by the user that logged in.
    pub fn plain(name: &str, value: &str) -> Self {
        Self { name: name.into(), value: value.into(), raw: false, under_role: false }
    }

    /// As a startup packet says it: a list of names comes as one text there.
    pub fn from_startup(name: &str, value: &str) -> Self {
        let list = if LISTS_OF_NAMES.contains(&name) { quoted_names(value) } else { None };
        let raw = list.is_some();
        Self {
            name: name.into(),
            value: list.unwrap_or_else(|| value.to_owned()).into(),
            raw,
            under_role: false,
        }
    }
}

/// The names of a list, each quoted, by the rules of Postgres' SplitIdentifierString: what isn't quoted is folded to
/// lower case. `None` if it is empty, or not such a list.
fn quoted_names(list: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = list.trim();
    loop {
        let name;
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut text = String::new();
            loop {
                let end = quoted.find('"')?;
                text.push_str(&quoted[..end]);
                quoted = &quoted[end + 1..];
                let Some(more) = quoted.strip_prefix('"') else { break };
                text.push('"');
                quoted = more;
            }
            (name, rest) = (text, quoted.trim_start());
        } else {
            let end = rest.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(rest.len());
            if end == 0 {
                return None;
            }
            (name, rest) = (rest[..end].to_ascii_lowercase(), rest[end..].trim_start());
        }
        let comma = if out.is_empty() { "" } else { ", " };
        // No identifier is empty, but a text may be: it stands for no schema at all.
        let _ = match name.as_str() {
            "" => write!(out, "{comma}''"),
            name => write!(out, "{comma}\"{}\"", name.replace('"', "\"\"")),
        };
        match rest.strip_prefix(',') {
            Some(more) => rest = more.trim_start(),
            None if rest.is_empty() => return Some(out),
            None => return None,
        }
    }
}

/// Settings, sorted by name; each name once.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Settings(Box<[Setting]>);

impl Settings {
    /// From pairs in any order; the last of a name wins.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut settings = Self::default();
        for (name, value) in pairs {
            settings = settings.with(Setting::plain(name, value));
        }
        settings
    }

    /// These and one more, or with another value.
    pub fn with(&self, setting: Setting) -> Self {
        let mut list = self.0.to_vec();
        match list.binary_search_by(|s| s.name.cmp(&setting.name)) {
            Ok(at) => list[at] = setting,
            Err(at) => list.insert(at, setting),
        }
        Self(list.into())
    }

    /// These without one.
    pub fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|s| &*s.name != name).cloned().collect())
    }

    /// These whose name is wanted.
    pub fn filtered(&self, wanted: impl Fn(&str) -> bool) -> Self {
        Self(self.0.iter().filter(|s| wanted(&s.name)).cloned().collect())
    }

    /// The value of a setting.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.find(name).map(|setting| &*setting.value)
    }

    /// A setting.
    pub fn find(&self, name: &str) -> Option<&Setting> {
        self.0.binary_search_by(|s| (*s.name).cmp(name)).ok().map(|at| &self.0[at])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Setting> {
        self.0.iter()
    }

    /// No setting at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the user is another one than who logged in.
    pub fn has_identity(&self) -> bool {
        IDENTITY.into_iter().any(|name| self.find(name).is_some())
    }

    /// The commands that make a connection with `self` applied one with `wanted` applied, in order.
    ///
    /// What was set by the user that logged in is set as that user, and what was set under a role is set under it:
    /// some settings need the rights of one or the other. A new session authorization ends the role, which is set
    /// again behind it.
    pub fn commands_to(&self, wanted: &Settings) -> Vec<String> {
        let mut commands = Vec::new();
        let early = |s: &&Setting| !s.under_role && !IDENTITY.contains(&&*s.name);
        let late = |s: &&Setting| s.under_role && !IDENTITY.contains(&&*s.name);
        let gone = || self.0.iter().filter(|s| wanted.get(&s.name).is_none());
        let new = || wanted.0.iter().filter(|s| !self.0.contains(s));
        let as_login = gone().any(|s| early(&s)) || new().any(|s| early(&s));
        let [authorization, role] = IDENTITY.map(|name| (self.find(name), wanted.find(name)));

        let resets_authorization = authorization.0.is_some() && (as_login || authorization.1.is_none());
        if resets_authorization {
            commands.push("RESET SESSION AUTHORIZATION".to_owned());
        }
        let resets_role = role.0.is_some() && (as_login || role.1.is_none());
        if resets_role {
            commands.push("RESET ROLE".to_owned());
        }
        commands.extend(gone().filter(early).map(reset));
        commands.extend(new().filter(early).map(set));
        let sets_authorization = resets_authorization || authorization.0 != authorization.1;
        commands.extend(authorization.1.filter(|_| sets_authorization).map(set));
        let sets_role = resets_role || sets_authorization || role.0 != role.1;
        commands.extend(role.1.filter(|_| sets_role).map(set));
        commands.extend(gone().filter(late).map(reset));
        commands.extend(new().filter(late).map(set));
        commands
    }
}

/// Who the user is: what everything else may depend on. The first ends the second.
const IDENTITY: [&str; 2] = ["session_authorization", "role"];

fn reset(setting: &Setting) -> String {
    let mut sql = "RESET ".to_owned();
    write_name(&mut sql, &setting.name);
    sql
}

fn set(setting: &Setting) -> String {
    let mut sql = String::new();
    match &*setting.name {
        "session_authorization" => sql.push_str("SET SESSION AUTHORIZATION "),
        "role" => sql.push_str("SET ROLE "),
        // An interval, which only this spelling takes.
        "timezone" if setting.raw => sql.push_str("SET TIME ZONE "),
        name => {
            sql.push_str("SET ");
            write_name(&mut sql, name);
            sql.push_str(" TO ");
        }
    }
    if setting.raw {
        sql.push_str(&setting.value);
    } else {
        write_literal(&mut sql, &setting.value);
    }
    sql
}

/// A setting's name may be qualified (`app.tenant`): each part is quoted by itself.
fn write_name(sql: &mut String, name: &str) {
    for (i, part) in name.split('.').enumerate() {
        let _ = write!(sql, "{}\"{}\"", if i > 0 { "." } else { "" }, part.replace('"', "\"\""));
    }
}

/// A literal that means the same whatever `standard_conforming_strings` says.
pub fn write_literal(sql: &mut String, value: &str) {
    sql.push_str(if value.contains('\\') { " E'" } else { "'" });
    for c in value.chars() {
        if c == '\'' || c == '\\' {
            sql.push(c);
        }
        sql.push(c);
    }
    sql.push('\'');
}

/// What a server reports of itself by ParameterStatus, sorted by name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Parameters(Box<[(Box<str>, Box<str>)]>);

impl Parameters {
    /// From pairs in any order; the last of a name wins.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (Box<str>, Box<str>)>) -> Self {
        let mut all = Self::default();
        for (name, value) in pairs {
            all = all.with(&name, &value);
        }
        all
    }

    /// What a server reported at login. Which role the node has is left out: it is the pool's business, and a client
    /// is told what the primary would tell it.
    pub fn reported(pairs: impl IntoIterator<Item = (Box<str>, Box<str>)>) -> Self {
        Self::from_pairs(pairs.into_iter().filter(|(name, _)| Self::concerns_sessions(name)))
    }

    /// Whether a client is told of a parameter as the server connection at hand has it.
    pub fn concerns_sessions(name: &str) -> bool {
        name != "in_hot_standby"
    }

    /// These with one value changed or added.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut list = self.0.to_vec();
        match list.binary_search_by(|(n, _)| (**n).cmp(name)) {
            Ok(at) => list[at].1 = value.into(),
            Err(at) => list.insert(at, (name.into(), value.into())),
        }
        Self(list.into())
    }

    /// The value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.binary_search_by(|(n, _)| (**n).cmp(name)).ok().map(|at| &*self.0[at].1)
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(n, v)| (&**n, &**v))
    }
}

/// Lists that a core remembers without anybody using them.
const LISTS: usize = 1024;

/// A core's table of lists in use: equal lists are the same `Rc`.
#[derive(Debug)]
pub struct Interned<T> {
    lists: HashSet<Rc<T>, foldhash::fast::RandomState>,
    /// How many there may be before those that nobody uses are dropped.
    bound: usize,
}

impl<T> Default for Interned<T> {
    fn default() -> Self {
        Self { lists: HashSet::default(), bound: LISTS }
    }
}

impl<T: Eq + std::hash::Hash> Interned<T> {
    /// The one `Rc` of this core for this list.
    pub fn intern(&mut self, list: T) -> Rc<T> {
        if let Some(known) = self.lists.get(&list) {
            return Rc::clone(known);
        }
        if self.lists.len() >= self.bound {
            self.lists.retain(|known| Rc::strong_count(known) > 1);
            // In proportion to what is in use: the next look at all of them is as many lists away.
            self.bound = LISTS.max(self.lists.len() * 2);
        }
        let list = Rc::new(list);
        self.lists.insert(Rc::clone(&list));
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(from: &Settings, to: &Settings) -> String {
        from.commands_to(to).join("; ")
    }

    #[test]
    fn commands_lead_from_one_list_to_the_other() {
        let from = Settings::from_pairs([("role", "a"), ("timezone", "UTC"), ("app.tenant", "1")]);
        let to = Settings::from_pairs([("timezone", "Europe/Paris"), ("search_path", "it's")])
            .with(Setting { raw: true, ..Setting::plain("datestyle", "ISO, DMY") });
        assert_eq!(
            commands(&from, &to),
            "RESET ROLE; RESET \"app\".\"tenant\"; SET \"datestyle\" TO ISO, DMY; \
             SET \"search_path\" TO 'it''s'; SET \"timezone\" TO 'Europe/Paris'"
        );
        assert_eq!(commands(&to, &to), "");
    }

    #[test]
    fn a_setting_is_set_by_who_set_it() {
        let nobody = Settings::default();
        let under_role = |name| Setting { under_role: true, ..Setting::plain(name, "x") };
        let one = nobody
            .with(Setting::plain("role", "a"))
            .with(under_role("late"))
            .with(Setting::plain("early", "x"));
        assert_eq!(commands(&nobody, &one), "SET \"early\" TO 'x'; SET ROLE 'a'; SET \"late\" TO 'x'");
        assert_eq!(commands(&one, &nobody), "RESET ROLE; RESET \"early\"; RESET \"late\"");
        let other = one.with(Setting::plain("early", "y"));
        assert_eq!(commands(&one, &other), "RESET ROLE; SET \"early\" TO 'y'; SET ROLE 'a'");
        let later = one.without("late");
        assert_eq!(commands(&one, &later), "RESET \"late\"");
    }

    #[test]
    fn a_role_survives_a_change_of_the_session_authorization() {
        let a = Settings::from_pairs([("session_authorization", "a"), ("role", "r")]);
        let b = Settings::from_pairs([("session_authorization", "b"), ("role", "r")]);
        assert_eq!(commands(&a, &b), "SET SESSION AUTHORIZATION 'b'; SET ROLE 'r'");
        assert_eq!(commands(&a, &b.without("role")), "RESET ROLE; SET SESSION AUTHORIZATION 'b'");
        let role = Settings::from_pairs([("role", "r")]);
        assert_eq!(commands(&a, &role), "RESET SESSION AUTHORIZATION; SET ROLE 'r'");
    }

    #[test]
    fn a_backslash_is_safe_in_either_string_syntax() {
        let to = Settings::from_pairs([("a", r"\'x")]);
        assert_eq!(commands(&Settings::default(), &to), r#"SET "a" TO  E'\\''x'"#);
    }

    #[test]
    fn equal_lists_are_one() {
        let mut table = Interned::default();
        let a = table.intern(Settings::from_pairs([("a", "1"), ("b", "2")]));
        let b = table.intern(Settings::from_pairs([("b", "2"), ("a", "1")]));
        assert!(Rc::ptr_eq(&a, &b));
    }

    #[test]
    fn lists_that_nobody_uses_are_dropped() {
        let mut table = Interned::default();
        let list = |n: usize| Settings::from_pairs([("a", &*n.to_string())]);
        let used = Vec::from_iter((0..LISTS).map(|n| table.intern(list(n))));
        for n in LISTS..10 * LISTS {
            table.intern(list(n));
            assert!(table.lists.len() <= 2 * LISTS);
        }
        assert!(used.iter().enumerate().all(|(n, kept)| Rc::ptr_eq(kept, &table.intern(list(n)))));
        drop(used);
        for n in 10 * LISTS..12 * LISTS {
            table.intern(list(n));
        }
        assert!(table.lists.len() <= LISTS);
    }

    #[test]
    fn a_list_of_names_at_startup_is_a_list() {
        let said = |value: &str| Settings::default().with(Setting::from_startup("search_path", value));
        let sql = |value: &str| commands(&Settings::default(), &said(value));
        assert_eq!(sql("App, public"), "SET \"search_path\" TO \"app\", \"public\"");
        assert_eq!(sql("\"\""), "SET \"search_path\" TO ''");
        assert_eq!(sql("\"$user\",\"A \"\"b\""), "SET \"search_path\" TO \"$user\", \"A \"\"b\"");
        assert_eq!(sql("x\"; drop table t; --"), "SET \"search_path\" TO 'x\"; drop table t; --'");
        for broken in ["", ",", "a,", "a b", "\"a", "\"a\"b"] {
            assert!(!said(broken).find("search_path").unwrap().raw, "{broken}");
        }
        assert!(!Setting::from_startup("timezone", "a, b").raw);
    }
}
