//! The demo's regions: a primary and two streaming replicas each, with their data.

use std::io::Write;
use std::time::Instant;

use anyhow::{Context, anyhow};
use localpg::{Cluster, Node};

use crate::demo::stop::Stop;
use crate::demo::{PASSWORD, USER, data};

/// Both regions, running.
pub(super) struct Regions {
    pub(super) us: Cluster,
    pub(super) eu: Cluster,
}

impl Regions {
    /// Regions with their names.
    pub(super) fn each(&self) -> [(&'static str, &Cluster); 2] {
        [("us", &self.us), ("eu", &self.eu)]
    }

    /// The region of the node of this name, and whether it is `primary` or `replica` there.
    pub(super) fn find(&self, name: &str) -> Option<(&'static str, &'static str, &Node)> {
        self.each().into_iter().find_map(|(region, cluster)| {
            let node = cluster.nodes().iter().find(|node| node.name() == name)?;
            Some((region, role(cluster, node), node))
        })
    }
}

fn role(cluster: &Cluster, node: &Node) -> &'static str {
    if node.index() == cluster.primary().index() { "primary" } else { "replica" }
}

/// Starts both and loads their data; `None` if somebody wished to stop in between.
pub(super) async fn start(stop: &mut Stop, out: &mut dyn Write) -> anyhow::Result<Option<Regions>> {
    let begun = Instant::now();
    writeln!(out, "==> starting two regions, us and eu: a primary and two streaming replicas each")?;
    out.flush()?;
    let us = tokio::task::spawn_blocking(|| region("us"));
    let eu = tokio::task::spawn_blocking(|| region("eu"));
    // Nothing is abandoned half started: on a signal this waits for both, and drops them.
    let (us, eu) = (us.await?, eu.await?);
    let regions = Regions { us: us?, eu: eu? };
    if wished(stop).await {
        return Ok(None);
    }
    writeln!(out, "    {:.1} s", begun.elapsed().as_secs_f32())?;
    for (name, cluster) in regions.each() {
        for node in cluster.nodes() {
            writeln!(out, "    {name}: {} on port {} ({})", node.name(), node.port(), role(cluster, node))?;
        }
    }
    load(regions, stop, out).await
}

async fn load(regions: Regions, stop: &mut Stop, out: &mut dyn Write) -> anyhow::Result<Option<Regions>> {
    let begun = Instant::now();
    writeln!(out, "==> loading data: {}", data::SUMMARY)?;
    out.flush()?;
    let regions = tokio::task::spawn_blocking(move || {
        std::thread::scope(|scope| {
            let eu = scope.spawn(|| data::load(&regions.eu, &[("saas", data::saas(&data::EU))]));
            data::load(&regions.us, &[("shop", data::SHOP.to_owned()), ("saas", data::saas(&data::US))])?;
            eu.join().map_err(|_| anyhow!("loading eu panicked"))?
        })?;
        anyhow::Ok(regions)
    })
    .await??;
    writeln!(out, "    {:.1} s", begun.elapsed().as_secs_f32())?;
    Ok(if wished(stop).await { None } else { Some(regions) })
}

/// Whether somebody has wished to stop by now.
async fn wished(stop: &mut Stop) -> bool {
    tokio::select! {
        biased;
        () = stop.requested() => true,
        () = std::future::ready(()) => false,
    }
}

fn region(name: &'static str) -> anyhow::Result<Cluster> {
    Cluster::builder()
        .name(name)
        .replicas(2)
        .users([(USER, PASSWORD)])
        .databases(["shop", "saas"])
        .start()
        .with_context(|| format!("region {name} could not be started"))
}
