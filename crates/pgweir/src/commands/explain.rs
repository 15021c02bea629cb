//! `pgweir explain`: where SQL would go and why, without a server.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

use anyhow::Context;
use route::{DatabaseMap, Decision, TargetRole};

use crate::cli::ExplainArguments;
use crate::commands::explain::script::Script;
use crate::commands::explain::session::Session;
use crate::source;

mod script;
mod session;

/// How much of a statement is shown with its decision, in characters.
const SHOWN: usize = 90;

pub(super) fn run(arguments: &ExplainArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = source::load(&arguments.config)?;
    let database = source::database(&config, &arguments.database)?;
    let map = DatabaseMap::from_config(&config, database);
    let mut session = Session::new(&config, database, &map);
    match (&arguments.sql, &arguments.file) {
        (Some(sql), _) => {
            let (decision, _) = session.decide(sql.as_bytes());
            one(&config, &map, &arguments.database, &decision, out)
        }
        (None, Some(file)) => every(&map, &mut session, &read(file)?, out),
        (None, None) => anyhow::bail!("neither a statement nor a file"),
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let mut text = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_end(&mut text).context("standard input")?;
    } else {
        text = std::fs::read(file).with_context(|| file.display().to_string())?;
    }
    Ok(text)
}

/// One statement: the place, the role and the reason, a line each.
fn one(
    config: &config::Config,
    map: &DatabaseMap,
    database: &str,
    decision: &Decision,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if let Some(target) = decision.target() {
        let cluster = config.cluster(map.cluster_of(target.shard)).map_or("?", |cluster| &cluster.name);
        let dbname = map.dbname_of(target.shard).unwrap_or(database);
        writeln!(out, "target: cluster {cluster}, database {dbname}")?;
    }
    writeln!(out, "{}", route::explain(map, decision))?;
    Ok(())
}

/// Every statement of a script with its decision, as one session would run them, then totals.
fn every(
    map: &DatabaseMap,
    session: &mut Session<'_>,
    text: &[u8],
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut totals = Totals::default();
    let mut script = Script::new(text);
    while let Some(statement) = script.next() {
        let (decision, takes_data) = session.decide(statement.text);
        if takes_data {
            script.skip_copy_data();
        }
        writeln!(out, "line {}: {}", statement.line, shown(statement.text))?;
        for line in route::explain(map, &decision).lines() {
            writeln!(out, "    {line}")?;
        }
        totals.count(map, &decision);
    }
    totals.print(script.commands_of_psql(), out)
}

/// The statement on one line, cut where it is long.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = line.char_indices().nth(SHOWN) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

/// How many statements went where, and why those that didn't read.
#[derive(Default)]
struct Totals {
    statements: usize,
    places: BTreeMap<String, usize>,
    primary_because: BTreeMap<&'static str, usize>,
}

impl Totals {
    fn count(&mut self, map: &DatabaseMap, decision: &Decision) {
        self.statements += 1;
        let place = match decision {
            Decision::Go { target, reason, .. } => {
                if target.role == TargetRole::Primary {
                    *self.primary_because.entry(reason.as_label()).or_default() += 1;
                }
                match map.is_sharded() {
                    true => format!("shard {}, {}", map.shard_name(target.shard), target.role),
                    false => target.role.to_string(),
                }
            }
            Decision::Refuse(_) => "refused".to_owned(),
        };
        *self.places.entry(place).or_default() += 1;
    }

    fn print(&self, commands_of_psql: usize, out: &mut dyn Write) -> anyhow::Result<()> {
        writeln!(out, "\n{} statements", self.statements)?;
        for (place, count) in &self.places {
            writeln!(out, "{count:>8}  {place}")?;
        }
        if !self.primary_because.is_empty() {
            writeln!(out, "to the primary, because of")?;
            for (label, count) in &self.primary_because {
                writeln!(out, "{count:>8}  {label}")?;
            }
        }
        if commands_of_psql > 0 {
            writeln!(out, "{commands_of_psql} lines are psql's own commands and were left out")?;
        }
        Ok(())
    }
}
