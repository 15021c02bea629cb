//! How reads are shared out among the nodes.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use pgweir_tests::{Outcome, eventually};
use tokio::time::sleep;

use crate::world::{World, ensure};

/// A node that nobody asks for so long loses its turn: see `route::Turn`.
pub(crate) const PAUSE: Duration = Duration::from_millis(2);

pub(crate) async fn reads_are_spread(world: &World) -> Outcome {
    let mut client = world.client().await?;
    let mut shares = BTreeMap::<String, u32>::new();
    for _ in 0..40 {
        sleep(PAUSE).await;
        *shares.entry(world.answered(&mut client, "SELECT inet_server_port()").await?).or_default() += 1;
    }
    let replicas = [world.cluster.replica(0).name(), world.cluster.replica(1).name()];
    let fair = replicas.iter().all(|name| shares.get(*name).is_some_and(|share| (10..=30).contains(share)));
    ensure(shares.len() == 2 && fair, || format!("{shares:?}"))
}

pub(crate) async fn nodes_of(
    world: &World,
    database: &str,
    times: u32,
) -> Result<BTreeMap<String, u32>, Box<dyn Error>> {
    let mut client = world.of(database).await?;
    let mut shares = BTreeMap::new();
    for _ in 0..times {
        sleep(PAUSE).await;
        *shares.entry(world.answered(&mut client, "SELECT inet_server_port()").await?).or_default() += 1;
    }
    Ok(shares)
}

pub(crate) async fn reads_on_primary(world: &World) -> Outcome {
    let shares = nodes_of(world, "primary_too", 30).await?;
    ensure(shares.len() == 3, || format!("{shares:?}"))?;
    let shares = nodes_of(world, "never_primary", 30).await?;
    ensure(shares.len() == 2 && !shares.contains_key("us-1"), || format!("never: {shares:?}"))
}

pub(crate) async fn round_robin(world: &World) -> Outcome {
    let shares = nodes_of(world, "in_turn", 20).await?;
    let expected = BTreeMap::from([("us-2".to_owned(), 10), ("us-3".to_owned(), 10)]);
    ensure(shares == expected, || format!("{shares:?}"))
}

/// Asks where a read is answered until it is content.
pub(crate) async fn reads_come_from(world: &World, what: &str, wanted: &[&str]) -> Outcome {
    let ask = async || -> Result<Vec<String>, String> {
        let shares = nodes_of(world, "app", 6).await.map_err(|error| error.to_string())?;
        Ok(shares.into_keys().collect())
    };
    eventually(what, ask, |nodes| nodes.as_ref().is_ok_and(|nodes| nodes == wanted)).await.map(drop)
}
