//! The tour: runs each step, prints who answered and why, and notes what isn't as it should be.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::demo::regions::Regions;
use crate::demo::steps::{self, Expect, Step};
use crate::demo::{PASSWORD, USER};

/// pgweir must have found its nodes' roles by then.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Clients whose reads must have been spread over the replicas.
const SPREAD_OVER: usize = 12;
/// Between two of them.
const PAUSE: Duration = Duration::from_millis(2);

/// Where a session's last statement went: the row of `SHOW pgweir.route`.
struct Route {
    shard: String,
    role: String,
    node: String,
    reason: String,
}

/// What the server said: the first column of the first row, or an error.
type Answer = Result<Option<String>, tokio_postgres::Error>;

/// Runs the tour; returns what was not as expected.
pub(super) async fn run(
    regions: &Regions,
    port: u16,
    terminal: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Vec<String>> {
    let bold = if terminal { ("\x1b[1m", "\x1b[0m") } else { ("", "") };
    let mut sessions = BTreeMap::new();
    for database in ["shop", "saas"] {
        sessions.insert(database, connect(port, database).await?);
    }
    settle(port).await?;
    let mut failures = Vec::new();
    let mut last = "";
    for step in steps::all() {
        let session = sessions.get(step.database).context("a step names no database")?;
        if last != step.database {
            writeln!(out, "\n{}{}{}", bold.0, step.database, bold.1)?;
            last = step.database;
        }
        let answer = ask(session, &step).await;
        let route = if answer.is_ok() { Some(route_of(session).await?) } else { None };
        show(&step, &answer, route.as_ref(), out)?;
        if let Err(wrong) = verify(regions, &step, &answer, route.as_ref()) {
            failures.push(format!("{}: {}: {wrong}", step.title, step.sql));
        }
    }
    spread(port, regions, &mut failures, out).await?;
    Ok(failures)
}

/// Connects as soon as pgweir listens.
async fn connect(port: u16, database: &str) -> anyhow::Result<Client> {
    let parameters = format!("host=127.0.0.1 port={port} user={USER} password={PASSWORD} dbname={database}");
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        match tokio_postgres::connect(&parameters, NoTls).await {
            Ok((client, connection)) => {
                // It ends with its client; what breaks it is seen by the client's next query.
                drop(tokio::spawn(connection));
                return Ok(client);
            }
            Err(error) if Instant::now() < deadline => {
                tracing::debug!(%error, "pgweir is not ready yet");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => return Err(error).context(format!("no answer on port {port}")),
        }
    }
}

/// Until pgweir has found every replica: each of a region's two has answered a read. If one never does, the tour
/// itself will tell.
async fn settle(port: u16) -> anyhow::Result<()> {
    let reads = [
        ("shop", "SELECT FROM products LIMIT 1"),
        ("saas", "SELECT FROM customers WHERE region = 'US' LIMIT 1"),
        ("saas", "SELECT FROM customers WHERE region = 'DE' LIMIT 1"),
    ];
    let deadline = Instant::now() + READY_WITHIN;
    for (database, read) in reads {
        let mut replicas = BTreeSet::new();
        while replicas.len() < 2 && Instant::now() < deadline {
            // A session stays with the replica that it has read from.
            let session = connect(port, database).await?;
            session.simple_query(read).await?;
            let route = route_of(&session).await?;
            if route.role == "replica" && replicas.insert(route.node) {
                continue;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    Ok(())
}

async fn ask(session: &Client, step: &Step) -> Answer {
    match &step.parameter {
        Some(parameter) => {
            let rows = session.query(step.sql, &[&**parameter]).await?;
            rows.first().map(|row| row.try_get(0)).transpose()
        }
        None => first_value(session, step.sql).await,
    }
}

async fn first_value(session: &Client, sql: &str) -> Answer {
    let messages = session.simple_query(sql).await?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

async fn route_of(session: &Client) -> anyhow::Result<Route> {
    let messages = session.simple_query("SHOW pgweir.route").await.context("SHOW pgweir.route")?;
    for message in &messages {
        if let SimpleQueryMessage::Row(row) = message {
            let column = |name| row.try_get(name).map(|text| text.unwrap_or_default().to_owned());
            return Ok(Route {
                shard: column("shard")?,
                role: column("role")?,
                node: column("node")?,
                reason: column("reason")?,
            });
        }
    }
    bail!("SHOW pgweir.route gave no row")
}

fn show(step: &Step, answer: &Answer, route: Option<&Route>, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "  {}", step.title)?;
    writeln!(out, "    {}", step.sql)?;
    match (answer, route) {
        (Ok(_), Some(route)) if route.node.is_empty() => writeln!(out, "    → [{}]", route.reason)?,
        (Ok(value), Some(route)) => {
            let value = value.as_ref().map(|value| format!("{value}   ")).unwrap_or_default();
            writeln!(out, "    → {value}[{}, {}: {}]", route.node, route.role, route.reason)?;
        }
        (Ok(value), None) => writeln!(out, "    → {}", value.as_deref().unwrap_or_default())?,
        (Err(error), _) => show_error(error, out)?,
    }
    Ok(())
}

fn show_error(error: &tokio_postgres::Error, out: &mut dyn Write) -> anyhow::Result<()> {
    let Some(error) = error.as_db_error() else {
        writeln!(out, "    → {error}")?;
        return Ok(());
    };
    writeln!(out, "    → refused, {}: {}", error.code().code(), error.message())?;
    for (field, text) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
        if let Some(text) = text {
            writeln!(out, "      {field}: {text}")?;
        }
    }
    Ok(())
}

/// Whether it went as the step expects; if not, how.
fn verify(regions: &Regions, step: &Step, answer: &Answer, route: Option<&Route>) -> Result<(), String> {
    match (step.expect, answer, route) {
        (Expect::Refused { sqlstate }, Err(error), _) => verify_refusal(error, sqlstate),
        (Expect::Refused { .. }, Ok(_), _) => Err("it was answered".to_owned()),
        (Expect::Answer { .. } | Expect::Success, Err(error), _) => Err(in_words(error)),
        (Expect::Success, Ok(_), _) => Ok(()),
        (Expect::Answer { .. }, Ok(_), None) => Err("nobody knows where it went".to_owned()),
        (Expect::Answer { region, role, value }, Ok(got), Some(route)) => {
            let found = regions.find(&route.node).map(|(region, role, _)| (region, role));
            if found != Some((region, role)) || route.role != role {
                return Err(format!("{} (as {}) answered, not a {role} of {region}", route.node, route.role));
            }
            if step.database == "saas" && route.shard != region {
                return Err(format!("it went to shard {}, not {region}", route.shard));
            }
            match value {
                Some(value) if got.as_deref() != Some(value) => Err(format!("{got:?}, not {value}")),
                _ => Ok(()),
            }
        }
    }
}

fn verify_refusal(error: &tokio_postgres::Error, sqlstate: &str) -> Result<(), String> {
    let explained = error.as_db_error().is_some_and(|error| {
        error.code().code() == sqlstate && error.detail().is_some() && error.hint().is_some()
    });
    if explained { Ok(()) } else { Err(format!("not {sqlstate} with DETAIL and HINT: {}", in_words(error))) }
}

fn in_words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(error) => format!("{} ({})", error.message(), error.code().code()),
        None => error.to_string(),
    }
}

/// The reads of several clients are spread over both replicas, and the servers themselves say the same as `SHOW pgweir.route`.
async fn spread(
    port: u16,
    regions: &Regions,
    failures: &mut Vec<String>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut nodes = BTreeSet::new();
    for _ in 0..SPREAD_OVER {
        // In quick succession they would all go to the replica that is warm.
        tokio::time::sleep(PAUSE).await;
        let client = connect(port, "shop").await?;
        let answered = first_value(&client, "SELECT inet_server_port() FROM products LIMIT 1").await?;
        let route = route_of(&client).await?;
        let said = regions.find(&route.node).map(|(_, _, node)| node.port().to_string());
        if answered != said {
            failures.push(format!("{} is said to have answered, but port {answered:?} did", route.node));
        }
        nodes.insert(route.node);
    }
    let replicas: BTreeSet<String> =
        regions.us.nodes().iter().skip(1).map(|node| node.name().to_owned()).collect();
    let names: Vec<&str> = nodes.iter().map(String::as_str).collect();
    writeln!(out, "\nthe reads of {SPREAD_OVER} clients were answered by {}", names.join(", "))?;
    if nodes != replicas {
        failures.push(format!(
            "the reads of {SPREAD_OVER} clients were answered by {names:?}, not by both replicas"
        ));
    }
    Ok(())
}
