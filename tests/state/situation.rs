//! What happens to a session's state after it was made: the conversation of a case.

use testkit::Script;

use crate::kind::{Kind, Said};

/// How statements are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Simple,
    /// Each statement as Parse, Bind, Describe, Execute, Sync.
    Extended,
}

impl Protocol {
    pub(crate) const ALL: [Protocol; 2] = [Protocol::Simple, Protocol::Extended];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Protocol::Simple => "simple",
            Protocol::Extended => "extended",
        }
    }
}

/// One turn of a conversation.
#[derive(Debug, Clone)]
pub(crate) enum Turn {
    /// Sends this, and waits for the answer.
    Ask { words: String, script: Script },
    /// Is gone without a word.
    Vanish,
}

/// A conversation, and what is true at its end.
#[derive(Debug, Clone)]
pub(crate) struct Talk {
    pub(crate) turns: Vec<Turn>,
    /// The state isn't there any more: nothing ties the session to a connection.
    pub(crate) free: bool,
}

/// What happens to the state.
pub(crate) struct Situation {
    pub(crate) name: &'static str,
    /// In both protocols, or in one that is part of it.
    pub(crate) protocols: &'static [Protocol],
    /// One that every kind of state is seen in.
    main: bool,
    talk: fn(&Writer<'_>) -> Option<Talk>,
}

impl Situation {
    /// Whether this pair is seen each time, or only if all are to be.
    pub(crate) fn is_usual(&self, kind: &Kind, protocol: Protocol) -> bool {
        kind.main || (self.main && (kind.has_values() || protocol == Protocol::Simple))
    }

    /// Whether this pair is among the few that are seen where reads go to a replica too.
    pub(crate) fn is_one_of_few(&self, kind: &Kind, protocol: Protocol) -> bool {
        let usual = self.main || ["alone", "DO", "disconnect"].contains(&self.name);
        kind.main && usual && (kind.has_values() || protocol == Protocol::Simple)
    }

    /// The conversation about this kind of state; `None`: it makes no sense.
    pub(crate) fn talk(&self, number: usize, kind: &Kind, protocol: Protocol) -> Option<Talk> {
        (self.talk)(&Writer { number, kind, protocol })
    }
}

const BOTH: &[Protocol] = &Protocol::ALL;
const SIMPLE: &[Protocol] = &[Protocol::Simple];
const EXTENDED: &[Protocol] = &[Protocol::Extended];

pub(crate) const SITUATIONS: &[Situation] = &[
    Situation { name: "alone", protocols: BOTH, main: false, talk: alone },
    Situation {
        name: "commit",
        protocols: BOTH,
        main: true,
        talk: |w| w.block(&[Do::Make, Do::Look], "COMMIT", false),
    },
    Situation {
        name: "rollback",
        protocols: BOTH,
        main: true,
        talk: |w| w.block(&[Do::Make, Do::Look], "ROLLBACK", true),
    },
    Situation {
        name: "rollback to savepoint",
        protocols: BOTH,
        main: true,
        talk: |w| {
            let undone = [Do::Say("SAVEPOINT s"), Do::Make, Do::Look, Do::Say("ROLLBACK TO s"), Do::Look];
            w.block(&undone, "COMMIT", true)
        },
    },
    Situation {
        name: "rollback to a later savepoint",
        protocols: SIMPLE,
        main: false,
        talk: |w| {
            w.block(&[Do::Make, Do::Say("SAVEPOINT s"), Do::Say("ROLLBACK TO s"), Do::Look], "COMMIT", false)
        },
    },
    Situation {
        name: "released savepoint",
        protocols: SIMPLE,
        main: false,
        talk: |w| {
            w.block(&[Do::Say("SAVEPOINT s"), Do::Make, Do::Say("RELEASE s"), Do::Look], "COMMIT", false)
        },
    },
    Situation {
        name: "released, then rolled back",
        protocols: SIMPLE,
        main: false,
        talk: |w| {
            let inner = [Do::Say("SAVEPOINT a"), Do::Say("SAVEPOINT b"), Do::Make, Do::Say("RELEASE b")];
            w.block(&[&inner[..], &[Do::Say("ROLLBACK TO a"), Do::Look]].concat(), "COMMIT", true)
        },
    },
    Situation {
        name: "error",
        protocols: BOTH,
        main: true,
        talk: |w| w.block(&[Do::Make, Do::Say("SELECT 1/0"), Do::Say("SELECT 2")], "COMMIT", true),
    },
    Situation {
        name: "error undone",
        protocols: BOTH,
        main: false,
        talk: |w| {
            let undone = [Do::Say("SAVEPOINT s"), Do::Say("SELECT 1/0"), Do::Say("ROLLBACK TO s"), Do::Look];
            w.block(&[&[Do::Make][..], &undone].concat(), "COMMIT", false)
        },
    },
    Situation {
        name: "error undone with the state",
        protocols: SIMPLE,
        main: false,
        talk: |w| {
            let undone = [Do::Say("SAVEPOINT s"), Do::Make, Do::Say("SELECT 1/0"), Do::Say("ROLLBACK TO s")];
            w.block(&undone, "COMMIT", true)
        },
    },
    Situation { name: "one Query", protocols: SIMPLE, main: false, talk: |w| w.one_query("", "", false) },
    Situation {
        name: "one Query that fails",
        protocols: SIMPLE,
        main: false,
        talk: |w| w.one_query("", "; SELECT 1/0", true),
    },
    Situation {
        name: "one Query, committed",
        protocols: SIMPLE,
        main: false,
        talk: |w| w.one_query("BEGIN; ", "; COMMIT", false),
    },
    Situation {
        name: "one Query, rolled back",
        protocols: SIMPLE,
        main: false,
        talk: |w| w.one_query("BEGIN; ", "; ROLLBACK; SELECT 3", true),
    },
    Situation { name: "pipeline", protocols: EXTENDED, main: false, talk: |w| w.pipeline(&[], &[], false) },
    Situation {
        name: "pipeline that fails",
        protocols: EXTENDED,
        main: false,
        talk: |w| w.pipeline(&[], &["SELECT 1/0"], true),
    },
    Situation {
        name: "pipeline, committed",
        protocols: EXTENDED,
        main: false,
        talk: |w| w.pipeline(&["BEGIN"], &["COMMIT"], false),
    },
    Situation {
        name: "pipeline, rolled back",
        protocols: EXTENDED,
        main: false,
        talk: |w| w.pipeline(&["BEGIN"], &["ROLLBACK"], true),
    },
    Situation { name: "function", protocols: BOTH, main: true, talk: |w| w.hidden("SELECT made_#()", false) },
    Situation {
        name: "function, rolled back",
        protocols: BOTH,
        main: false,
        talk: |w| w.hidden_in_block("SELECT made_#()"),
    },
    Situation {
        name: "function that fails",
        protocols: SIMPLE,
        main: false,
        talk: |w| w.hidden("SELECT raised_#()", true),
    },
    Situation {
        name: "function that catches",
        protocols: SIMPLE,
        main: false,
        talk: |w| w.hidden("SELECT caught_#()", true),
    },
    Situation {
        name: "DO",
        protocols: BOTH,
        main: false,
        talk: |w| w.hidden("DO $do$ BEGIN PERFORM made_#(); END $do$", false),
    },
    Situation {
        name: "DO, its own",
        protocols: SIMPLE,
        main: true,
        talk: |w| w.hidden(&w.own_do(""), false),
    },
    Situation {
        name: "DO, rolled back",
        protocols: SIMPLE,
        main: false,
        talk: |w| w.hidden_in_block("DO $do$ BEGIN PERFORM made_#(); END $do$"),
    },
    Situation {
        name: "DO that fails",
        protocols: SIMPLE,
        main: false,
        talk: |w| w.hidden(&w.own_do("RAISE EXCEPTION 'failed';"), true),
    },
    Situation {
        name: "procedure",
        protocols: BOTH,
        main: false,
        talk: |w| w.hidden("CALL committed_#()", false),
    },
    Situation {
        name: "procedure that rolls back",
        protocols: SIMPLE,
        main: false,
        talk: |w| w.hidden("CALL undone_#()", true),
    },
    Situation {
        name: "trigger",
        protocols: BOTH,
        main: false,
        talk: |w| w.hidden("INSERT INTO triggers_# VALUES (1)", false),
    },
    Situation { name: "disconnect", protocols: SIMPLE, main: false, talk: |w| w.vanish(false) },
    Situation {
        name: "disconnect in a transaction",
        protocols: SIMPLE,
        main: false,
        talk: |w| w.vanish(true),
    },
];

/// Parts of a transaction block.
#[derive(Clone, Copy)]
enum Do {
    Make,
    Look,
    Say(&'static str),
}

/// Writes conversations about a kind of state.
pub(crate) struct Writer<'a> {
    number: usize,
    kind: &'a Kind,
    protocol: Protocol,
}

fn alone(writer: &Writer<'_>) -> Option<Talk> {
    if writer.kind.block {
        return None;
    }
    let mut turns = writer.start();
    turns.extend(writer.make());
    Some(writer.finish(turns, false))
}

impl Writer<'_> {
    /// BEGIN … in a block of its own.
    fn block(&self, parts: &[Do], end: &str, undone: bool) -> Option<Talk> {
        let mut turns = self.start();
        turns.push(self.say("BEGIN"));
        for part in parts {
            match part {
                Do::Make => turns.extend(self.make()),
                Do::Look => turns.extend(self.look()),
                Do::Say(sql) => turns.push(self.say(sql)),
            }
        }
        turns.push(self.say(end));
        Some(self.finish(turns, undone))
    }

    fn one_query(&self, first: &str, last: &str, undone: bool) -> Option<Talk> {
        if self.kind.has_values() || (self.kind.block && first.is_empty()) {
            return None;
        }
        let made: Vec<_> = self.kind.make.iter().map(|said| said.sql).collect();
        let mut turns = self.start();
        turns.push(self.say(&format!("{first}{}{last}", made.join("; "))));
        Some(self.finish(turns, undone))
    }

    fn pipeline(&self, first: &[&'static str], last: &[&'static str], undone: bool) -> Option<Talk> {
        if self.kind.block && first.is_empty() {
            return None;
        }
        let said = |sql: &&'static str| Said { sql, values: &[] };
        let all: Vec<_> = first
            .iter()
            .map(said)
            .chain(self.kind.make.iter().copied())
            .chain(last.iter().map(said))
            .collect();
        let script = all.iter().fold(Script::new(), run).sync();
        let words: Vec<_> = all.iter().map(|said| said.sql).collect();
        let mut turns = self.start();
        turns.push(Turn::Ask { words: words.join(" | "), script });
        Some(self.finish(turns, undone))
    }

    /// By something that hides it; `#` stands for the kind's number.
    fn hidden(&self, sql: &str, undone: bool) -> Option<Talk> {
        if !self.kind.hidden || self.kind.block {
            return None;
        }
        let mut turns = self.start();
        turns.push(self.say(&self.numbered(sql)));
        Some(self.finish(turns, undone))
    }

    fn hidden_in_block(&self, sql: &str) -> Option<Talk> {
        if !self.kind.hidden {
            return None;
        }
        let mut turns = self.start();
        turns.extend([self.say("BEGIN"), self.say(&self.numbered(sql))]);
        turns.extend(self.look());
        turns.push(self.say("ROLLBACK"));
        Some(self.finish(turns, true))
    }

    /// A DO block whose text is about this kind alone.
    fn own_do(&self, end: &str) -> String {
        format!("DO $do$ BEGIN {} {end} END $do$", body(self.kind))
    }

    fn vanish(&self, in_transaction: bool) -> Option<Talk> {
        if self.kind.block && !in_transaction {
            return None;
        }
        let mut turns = self.start();
        if in_transaction {
            turns.push(self.say("BEGIN"));
        }
        turns.extend(self.make());
        turns.push(Turn::Vanish);
        Some(Talk { turns, free: true })
    }

    fn start(&self) -> Vec<Turn> {
        self.kind.before.iter().map(|sql| self.say(sql)).collect()
    }

    /// After it is done: the state is looked at twice.
    fn finish(&self, mut turns: Vec<Turn>, undone: bool) -> Talk {
        for _ in 0..2 {
            turns.extend(self.look());
            if !(self.kind.needed && undone) {
                turns.extend(self.kind.attempt.iter().map(|sql| self.say(sql)));
            }
        }
        turns.extend(self.kind.end.iter().map(|sql| self.say(sql)));
        let free = self.kind.pin.is_none() || !self.kind.end.is_empty() || (undone && self.kind.undone);
        Talk { turns, free }
    }

    fn make(&self) -> impl Iterator<Item = Turn> {
        self.kind.make.iter().map(|said| self.turn(said))
    }

    fn look(&self) -> impl Iterator<Item = Turn> {
        self.kind.look.iter().map(|sql| self.say(sql))
    }

    fn say(&self, sql: &str) -> Turn {
        let script = match self.protocol {
            Protocol::Simple => Script::new().query(sql),
            Protocol::Extended => Script::new().run(sql, &[]).sync(),
        };
        Turn::Ask { words: sql.to_owned(), script }
    }

    fn turn(&self, said: &Said) -> Turn {
        if said.values.is_empty() {
            return self.say(said.sql);
        }
        Turn::Ask {
            words: format!("{} {:?}", said.sql, said.values),
            script: run(Script::new(), said).sync(),
        }
    }

    fn numbered(&self, sql: &str) -> String {
        sql.replace('#', &self.number.to_string())
    }
}

fn run(script: Script, said: &Said) -> Script {
    script.run(said.sql, &said.values.iter().map(|value| Some(*value)).collect::<Vec<_>>())
}

/// PL/pgSQL that makes a kind of state, in a way that no reader of the text can see through.
fn body(kind: &Kind) -> String {
    let execute = |said: &Said| {
        let values: Vec<_> = said.values.iter().map(|value| format!("'{value}'")).collect();
        let using = if values.is_empty() { String::new() } else { format!(" USING {}", values.join(", ")) };
        format!("EXECUTE $q${}$q${using};", said.sql)
    };
    kind.make.iter().map(execute).collect::<Vec<_>>().join(" ")
}

/// The functions, procedures and triggers that make this kind of state.
pub(crate) fn schema_of(number: usize, kind: &Kind) -> String {
    if !kind.hidden {
        return String::new();
    }
    let body = body(kind);
    let text = "RETURNS text LANGUAGE plpgsql AS";
    format!(
        "CREATE FUNCTION made_{number}() {text} $f$ BEGIN {body} RETURN 'made'; END $f$;
         CREATE FUNCTION raised_{number}() {text} $f$ BEGIN {body} RAISE EXCEPTION 'failed'; END $f$;
         CREATE FUNCTION caught_{number}() {text} $f$ BEGIN
             BEGIN {body} RAISE EXCEPTION 'failed'; EXCEPTION WHEN raise_exception THEN NULL; END;
             RETURN 'caught';
         END $f$;
         CREATE PROCEDURE committed_{number}() LANGUAGE plpgsql AS $f$ BEGIN {body} COMMIT; END $f$;
         CREATE PROCEDURE undone_{number}() LANGUAGE plpgsql AS $f$ BEGIN {body} ROLLBACK; END $f$;
         CREATE TABLE triggers_{number} (n int);
         CREATE FUNCTION triggered_{number}() RETURNS trigger LANGUAGE plpgsql AS
             $f$ BEGIN {body} RETURN NEW; END $f$;
         CREATE TRIGGER fires BEFORE INSERT ON triggers_{number} FOR EACH ROW
             EXECUTE FUNCTION triggered_{number}();"
    )
}
