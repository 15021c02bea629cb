//! A primary with two replicas, and databases of pgweir that are one on them, each with a `route` of its own.

use std::error::Error;

use testkit::{Builder, Client, Cluster, Setup};

/// The cluster `us`: a primary and two replicas, a database `app`, a user `app`.
pub fn cluster() -> Builder {
    Cluster::builder().name("us").replicas(2).databases(["app"]).users([("app", "secret")])
}

/// With a database of each of these names, which is `app` on the servers and has this `route`.
pub fn variants<'a>(setup: Setup, routes: impl IntoIterator<Item = (&'a str, &'a str)>) -> Setup {
    routes.into_iter().fold(setup, |setup, (name, route)| {
        let of = |key: &str| format!("databases.{name}.{key}");
        setup.set(&of("cluster"), "us").set(&of("dbname"), "app").set(&of("route"), route)
    })
}

/// Where the last statement went, and why.
#[derive(Debug)]
pub struct Route {
    /// `primary` or `replica`.
    pub role: String,
    /// The node; nothing if none was asked.
    pub node: String,
    /// In words.
    pub reason: String,
    /// Its beginning.
    pub statement: String,
}

/// What `SHOW pgweir.route` says.
///
/// # Errors
/// It gives no row of six.
pub async fn route(client: &mut Client) -> Result<Route, Box<dyn Error>> {
    let row = client.rows("SHOW pgweir.route").await?.pop().ok_or("no row of SHOW pgweir.route")?;
    let [_, _, role, node, reason, statement] =
        <[_; 6]>::try_from(row).map_err(|row| format!("{row:?}"))?.map(Option::unwrap_or_default);
    Ok(Route { role, node, reason, statement })
}
