//! `pgweir demo`: two regions of real Postgres on this machine, pgweir in front, and a tour of what it does.

use std::io::{IsTerminal, Write};

use anyhow::Context;

use crate::cli::DemoArguments;
use crate::demo::proxy::Proxy;
use crate::demo::regions::Regions;
use crate::demo::stop::Stop;

mod data;
mod proxy;
mod regions;
mod steps;
mod stop;
mod tour;

/// Who the applications of the demo log in as, and with which password. Both only exist on this machine, as long as
/// the demo runs.
const USER: &str = "demo";
const PASSWORD: &str = "demo";

pub(crate) fn run(arguments: &DemoArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the demo's runtime could not be started")?;
    let outcome = runtime.block_on(demo(arguments, out));
    // The clusters were started on threads of this runtime: wait until each has been taken down.
    drop(runtime);
    outcome
}

async fn demo(arguments: &DemoArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let mut stop = Stop::listen()?;
    let Some(regions) = regions::start(&mut stop, out).await? else {
        writeln!(out, "==> stopped; nothing is left behind")?;
        return stopped(arguments);
    };
    let outcome = with_regions(arguments, &regions, &mut stop, out).await;
    writeln!(out, "==> stopping; nothing is left behind")?;
    drop(regions);
    outcome
}

async fn with_regions(
    arguments: &DemoArguments,
    regions: &Regions,
    stop: &mut Stop,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut proxy = Proxy::start(regions, arguments.port)?;
    let outcome = with_proxy(arguments, regions, &mut proxy, stop, out).await;
    proxy.stop().await;
    outcome
}

async fn with_proxy(
    arguments: &DemoArguments,
    regions: &Regions,
    proxy: &mut Proxy,
    stop: &mut Stop,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    writeln!(out, "==> pgweir run -c {} (port {})", proxy.config_path().display(), proxy.port())?;
    let tour = tour::run(regions, proxy.port(), std::io::stdout().is_terminal(), out);
    let failures = tokio::select! {
        failures = tour => failures.with_context(|| proxy.log_tail())?,
        () = stop.requested() => return stopped(arguments),
        ended = proxy.ended() => return Err(ended),
    };
    if arguments.check {
        return verdict(&failures, out);
    }
    // Somebody who only looks is told as well, but may go on looking.
    for failure in &failures {
        writeln!(out, "not as expected: {failure}")?;
    }
    invitation(proxy, out)?;
    tokio::select! {
        () = stop.requested() => Ok(()),
        ended = proxy.ended() => Err(ended),
    }
}

fn verdict(failures: &[String], out: &mut dyn Write) -> anyhow::Result<()> {
    if failures.is_empty() {
        writeln!(out, "\n==> every answer came from where it should")?;
        return Ok(());
    }
    anyhow::bail!("the tour did not go as it should:\n  {}", failures.join("\n  "))
}

fn invitation(proxy: &Proxy, out: &mut dyn Write) -> anyhow::Result<()> {
    let base = format!("postgres://{USER}:{PASSWORD}@127.0.0.1:{}", proxy.port());
    writeln!(out, "\nTry it:")?;
    writeln!(
        out,
        "  DATABASE_URL={base}/shop        one cluster: writes to its primary, reads to its replicas"
    )?;
    writeln!(out, "  DATABASE_URL={base}/saas        two shards: customers and orders by region")?;
    writeln!(out, "  psql {base}/shop -c 'SELECT count(*) FROM orders' -c 'SHOW pgweir.route'")?;
    writeln!(out, "  psql {base}/pgweir -c 'SHOW POOLS'")?;
    writeln!(out, "  psql {base}/saas -c \"SELECT count(*) FROM orders WHERE region = 'DE'\"")?;
    if let Some(http) = proxy.http_port() {
        writeln!(out, "  curl http://127.0.0.1:{http}/metrics")?;
    }
    writeln!(
        out,
        "\nRegions: us in {{US, CA, MX}}, eu in {{DE, FR, ES}}. Ctrl-C stops everything and removes it."
    )?;
    out.flush()?;
    Ok(())
}

/// Whoever stops the demo has seen enough of it; a check that was stopped has shown nothing.
fn stopped(arguments: &DemoArguments) -> anyhow::Result<()> {
    anyhow::ensure!(!arguments.check, "stopped before everything was checked");
    Ok(())
}
