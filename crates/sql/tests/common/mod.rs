//! Facts as one line of text, so that a table of statements reads like one.

use pgweir_sql::facts::{Access, Argument, Because, Effect, Isolation, Keys, Kind, Statement, Value};
use pgweir_sql::{Analyzer, LexSettings, literal_text};

/// The only statement of this text, analyzed afresh.
pub(crate) fn one(sql: &str) -> Statement {
    let mut statements = all(sql);
    assert_eq!(statements.len(), 1, "{sql}: {statements:?}");
    statements.remove(0)
}

/// All statements of this text, analyzed afresh.
pub(crate) fn all(sql: &str) -> Vec<Statement> {
    let mut analyzer = Analyzer::new(1);
    analyzer.analyze(sql.as_bytes(), LexSettings::default()).facts.statements.clone()
}

/// `Kind access because`, the last in short.
pub(crate) fn summary(statement: &Statement) -> String {
    let kind = match statement.kind {
        Kind::Begin(begin) => format!(
            "Begin{}{}",
            match begin.read_only {
                Some(true) => " ro",
                Some(false) => " rw",
                None => "",
            },
            match begin.isolation {
                Some(Isolation::Serializable) => " serializable",
                Some(Isolation::RepeatableRead) => " repeatable",
                Some(Isolation::ReadCommitted) => " committed",
                None => "",
            }
        ),
        kind => format!("{kind:?}"),
    };
    let access = match statement.access {
        Access::Read => "read",
        Access::Unknown => "unknown",
        Access::Write => "write",
    };
    let because = match &statement.because {
        None => String::new(),
        Some(Because::Command(name)) => format!(" {name}"),
        Some(Because::Function(name)) => format!(" {name}()"),
        Some(Because::UnknownFunction(name)) => format!(" {name}()?"),
        Some(Because::PrimaryRelation(name)) => format!(" {name}"),
        Some(Because::NotUnderstood(_)) => " ?".into(),
        Some(other) => format!(" {other:?}"),
    };
    format!("{kind} {access}{because}")
}

/// Relations, a written one with `!`, and `…` if there may be more.
pub(crate) fn relations(statement: &Statement) -> String {
    let mut names: Vec<String> = statement
        .relations
        .iter()
        .map(|relation| {
            let schema = relation.schema.as_ref().map(|schema| format!("{schema}.")).unwrap_or_default();
            format!("{schema}{}{}", relation.name, if relation.written { "!" } else { "" })
        })
        .collect();
    if !statement.relations_complete {
        names.push("…".into());
    }
    names.join(" ")
}

/// Effects, in short.
pub(crate) fn effects(statement: &Statement) -> String {
    let text = |effect: &Effect| match effect {
        Effect::SetConfig { name, value, local } => {
            let name = argument(name).trim_matches(['<', '>']).to_owned();
            let local = local.map_or(String::new(), |number| format!(" if ${number}"));
            format!("config {name}={}{local}", argument(value))
        }
        Effect::Set { name, value, raw: false } => format!("{name}=<{value}>"),
        Effect::Set { name, value, raw: true } => format!("{name}=raw<{value}>"),
        Effect::SetLocal(name) => format!("local {}", name.as_deref().unwrap_or("?")),
        Effect::Reset(name) => format!("reset {name}"),
        Effect::Show(name) => format!("show {name}"),
        Effect::Listen(name) => format!("listen {name}"),
        Effect::Unlisten(name) => format!("unlisten {}", name.as_deref().unwrap_or("*")),
        Effect::Prepare(name) => format!("prepare {name}"),
        Effect::Deallocate(name) => format!("deallocate {}", name.as_deref().unwrap_or("*")),
        Effect::Pin(reason) => format!("pin {reason:?}"),
        Effect::SetTransaction(modes) => {
            let writes = modes.read_only.map_or("", |read_only| if read_only { " ro" } else { " rw" });
            let level = modes.isolation.map_or(String::new(), |level| format!(" {level:?}"));
            format!("transaction{writes}{level}")
        }
        other => format!("{other:?}"),
    };
    statement.effects.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Keys with their values read from the text: `t.a=1 t.b=$2`, or `(a b) [1 $1] [? 'x']`. Sorted.
pub(crate) fn keys(sql: &str) -> String {
    let settings = LexSettings::default();
    let mut analyzer = Analyzer::new(1);
    let analysis = analyzer.analyze(sql.as_bytes(), settings);
    let statement = analysis.facts.statements.last().expect("a statement");
    let value = |value: Value| match value {
        Value::Parameter(number) => format!("${number}"),
        Value::Literal(index) => {
            let literal = analysis.literals[usize::try_from(index).expect("small")];
            let text = literal_text(sql.as_bytes(), literal, settings);
            let text = text.map(|text| String::from_utf8_lossy(&text).into_owned());
            text.unwrap_or("undecodable".into())
        }
    };
    match &statement.keys {
        Keys::None => String::new(),
        Keys::Equal(found) => {
            let mut keys: Vec<String> = found
                .iter()
                .map(|key| {
                    let relation = &statement.relations[key.relation].name;
                    format!("{relation}.{}={}", key.column, value(key.value))
                })
                .collect();
            keys.sort();
            keys.join(" ")
        }
        Keys::Rows { columns, rows } => {
            let columns = columns.as_ref().map(|names| names.join(" ")).unwrap_or("-".into());
            let rows: Vec<String> = rows
                .iter()
                .map(|row| {
                    let row: Vec<String> =
                        row.iter().map(|item| item.map(value).unwrap_or("?".into())).collect();
                    format!("[{}]", row.join(" "))
                })
                .collect();
            format!("({columns}) {}", rows.join(" "))
        }
    }
}

fn argument(argument: &Argument) -> String {
    match argument {
        Argument::Text(text) => format!("<{text}>"),
        Argument::Null => "null".into(),
        Argument::Parameter(number) => format!("${number}"),
    }
}
