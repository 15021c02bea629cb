//! A kind of session state: how it is made, how it is looked at, and what may tie a session to its connection.

/// Who makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum User {
    /// An ordinary user that may become `clerk`.
    App,
    /// A superuser.
    Boss,
}

impl User {
    pub(crate) const ALL: [User; 2] = [User::App, User::Boss];

    pub(crate) fn name(self) -> &'static str {
        match self {
            User::App => "app",
            User::Boss => "boss",
        }
    }
}

/// A statement, with its parameters if it has any.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    pub(crate) sql: &'static str,
    pub(crate) values: &'static [&'static str],
}

/// A kind of session state.
#[derive(Debug, Clone)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) user: User,
    /// Parameters of the startup packet.
    pub(crate) startup: &'static [(&'static str, &'static str)],
    /// What the session has done before.
    pub(crate) before: &'static [&'static str],
    /// What makes the state.
    pub(crate) make: Vec<Said>,
    /// What looks at it and never fails.
    pub(crate) look: &'static [&'static str],
    /// What looks at it and may fail: for outside transactions.
    pub(crate) attempt: &'static [&'static str],
    /// What ends it before the session ends, if something does.
    pub(crate) end: &'static [&'static str],
    /// The reason for which a session that has it may be tied to its connection.
    pub(crate) pin: Option<&'static str>,
    /// A rollback undoes it.
    pub(crate) undone: bool,
    /// Only a transaction block makes sense of it.
    pub(crate) block: bool,
    /// It can be made inside a function.
    pub(crate) hidden: bool,
    /// Answers are not comparable unless it was made.
    pub(crate) needed: bool,
    /// It stands for others of its sort: it is seen in each situation, in both protocols.
    pub(crate) main: bool,
    /// Postgres answers, and pgweir may answer with this SQLSTATE instead.
    pub(crate) instead: Option<&'static str>,
}

impl Kind {
    pub(crate) fn new(name: &'static str) -> Kind {
        Kind {
            name,
            user: User::App,
            startup: &[],
            before: &[],
            make: Vec::new(),
            look: &[],
            attempt: &[],
            end: &[],
            pin: None,
            undone: true,
            block: false,
            hidden: true,
            needed: false,
            main: false,
            instead: None,
        }
    }

    pub(crate) fn boss(mut self) -> Kind {
        self.user = User::Boss;
        self
    }

    pub(crate) fn startup(mut self, parameters: &'static [(&'static str, &'static str)]) -> Kind {
        self.startup = parameters;
        self
    }

    pub(crate) fn before(mut self, statements: &'static [&'static str]) -> Kind {
        self.before = statements;
        self
    }

    pub(crate) fn make(mut self, sql: &'static str) -> Kind {
        self.make.push(Said { sql, values: &[] });
        self
    }

    /// Made with parameters, by the extended protocol only.
    pub(crate) fn make_with(mut self, sql: &'static str, values: &'static [&'static str]) -> Kind {
        self.make.push(Said { sql, values });
        self
    }

    pub(crate) fn look(mut self, queries: &'static [&'static str]) -> Kind {
        self.look = queries;
        self
    }

    pub(crate) fn attempt(mut self, queries: &'static [&'static str]) -> Kind {
        self.attempt = queries;
        self
    }

    /// It pins for this reason.
    pub(crate) fn pins(mut self, reason: &'static str) -> Kind {
        self.pin = Some(reason);
        self
    }

    /// It pins for this reason until these statements.
    pub(crate) fn pins_until(mut self, reason: &'static str, end: &'static [&'static str]) -> Kind {
        self.end = end;
        self.pins(reason)
    }

    /// What ends it, instead of what was said.
    pub(crate) fn ends(mut self, statements: &'static [&'static str]) -> Kind {
        self.end = statements;
        self
    }

    pub(crate) fn outlives_rollback(mut self) -> Kind {
        self.undone = false;
        self
    }

    pub(crate) fn in_a_block(mut self) -> Kind {
        self.block = true;
        self
    }

    pub(crate) fn plain_only(mut self) -> Kind {
        self.hidden = false;
        self
    }

    pub(crate) fn needed(mut self) -> Kind {
        self.needed = true;
        self
    }

    pub(crate) fn main(mut self) -> Kind {
        self.main = true;
        self
    }

    pub(crate) fn or(mut self, code: &'static str) -> Kind {
        self.instead = Some(code);
        self
    }

    /// Whether it has parameters somewhere.
    pub(crate) fn has_values(&self) -> bool {
        self.make.iter().any(|said| !said.values.is_empty())
    }
}
