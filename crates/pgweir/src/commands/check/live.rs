//! `check --live`: asks every node what it is, what the control user may do there, and whether the connections add up.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use backend::connect::ServerTarget;
use config::{Cluster, Config, Node, NodeRole, Placement, Secret, StoredPassword};
use route::view::{ClusterView, NodeIndex, NodeView, Proximity};
use route::{Identity, NoNode};

mod ask;

/// For one node, from connecting to its last answer.
const LIMIT: Duration = Duration::from_secs(10);

const QUESTION: &str = "
    SELECT pg_is_in_recovery(),
           current_setting('server_version'),
           current_setting('max_connections')::int,
           current_setting('superuser_reserved_connections')::int,
           pg_has_role(current_user, 'pg_monitor', 'member'),
           (SELECT count(*)::int FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid())";

/// What a node said.
struct Facts {
    role: NodeRole,
    version: String,
    max_connections: i32,
    reserved: i32,
    monitors: bool,
    in_use: i32,
    /// `None`: it doesn't say.
    identity: Option<Identity>,
}

/// Prints what each node says; fails if anything is not as it must be.
pub(super) fn run(config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let problems = runtime.block_on(ask_all(config, out))?;
    if problems.is_empty() {
        writeln!(out, "\nthe servers are as the configuration says")?;
        return Ok(());
    }
    bail!("the servers are not as the configuration needs them:\n  {}", problems.join("\n  "))
}

async fn ask_all(config: &Config, out: &mut dyn Write) -> anyhow::Result<Vec<String>> {
    let mut problems = Vec::new();
    writeln!(out, "\nservers")?;
    for cluster in &config.clusters {
        let mut seen = Vec::new();
        for node in &cluster.nodes {
            let mut view = NodeView::new(&*node.name, node.role, Proximity::Zone, 1);
            view.up = false;
            let name = format!("{} at {}:{}", node.name, node.host, node.port);
            match tokio::time::timeout(LIMIT, ask(config, cluster, node)).await {
                Err(_) => problems.push(format!("{name} did not answer within {} s", LIMIT.as_secs())),
                Ok(Err(error)) => problems.push(format!("{name}: {error:#}")),
                Ok(Ok(facts)) => {
                    see(&mut view, &facts);
                    writeln!(out, "  {name}: {}", in_words(&facts))?;
                    judge(config, cluster, node, &facts, &mut problems);
                }
            }
            seen.push(view);
        }
        judge_together(&cluster.name, &ClusterView::new(seen), &mut problems);
    }
    Ok(problems)
}

/// A node as pgweir's probes would see it.
fn see(view: &mut NodeView, facts: &Facts) {
    // What is called a replica stays one: out of recovery it replicates logically.
    view.apart = view.role == Some(NodeRole::Replica) && facts.role == NodeRole::Primary;
    view.up = true;
    if !view.apart {
        (view.role, view.identity) = (Some(facts.role), facts.identity);
    }
}

/// What is wrong with the nodes of a cluster together.
fn judge_together(cluster: &str, view: &ClusterView, problems: &mut Vec<String>) {
    let primaries = || view.nodes().iter().filter(|node| node.up && node.role == Some(NodeRole::Primary));
    for (index, node) in (0u16..).map(NodeIndex).zip(view.nodes()).filter(|(_, node)| node.up) {
        if let Some(why) = view.standing(index).why_refused() {
            problems.push(format!("{} can't be used: {why}", node.name));
        }
    }
    match view.primary() {
        Ok(_) => {}
        Err(NoNode::Doubt) => {
            let names: Vec<_> = primaries().map(|node| node.name.as_str()).collect();
            problems.push(format!("cluster {cluster} has several primaries: {}", names.join(", ")));
        }
        Err(_) => problems.push(format!("cluster {cluster} has no primary")),
    }
}

async fn ask(config: &Config, cluster: &Cluster, node: &Node) -> anyhow::Result<Facts> {
    let (user, password) =
        control(config, cluster).context("nobody may ask: the cluster has no control user")?;
    let target = ServerTarget::from_config(cluster, node)?;
    let password = password.map(Secret::reveal);
    let row = ask::ask(&target, user, password, database(config, cluster), LIMIT, QUESTION).await?;
    let mut facts = facts(&row).context("the server's answer has another form than that of Postgres")?;
    // Not every service tells it.
    let sql = backend::control::ROLE_AND_IDENTITY;
    if let Ok(row) = ask::ask(&target, user, password, database(config, cluster), LIMIT, sql).await {
        facts.identity = backend::control::identity(|column| row.get(column).map(String::as_str));
    }
    Ok(facts)
}

/// The cluster's control user, or the first user whose password is known.
fn control<'a>(config: &'a Config, cluster: &'a Cluster) -> Option<(&'a str, Option<&'a Secret>)> {
    if let Some(control) = &cluster.control {
        return Some((&control.user, control.password.as_ref()));
    }
    config.users.values().find_map(|user| {
        user.passwords.iter().find_map(|password| match password {
            StoredPassword::Plain(secret) => Some((user.name.as_str(), Some(secret))),
            StoredPassword::Md5(_) | StoredPassword::Scram(_) => None,
        })
    })
}

/// A database of the cluster, to connect to.
fn database<'a>(config: &'a Config, cluster: &'a Cluster) -> &'a str {
    let here = |id: config::ClusterId| config.cluster(id).is_some_and(|found| found.name == cluster.name);
    let named = config.databases.iter().find_map(|database| match &database.placement {
        Placement::Single { cluster, dbname } if here(*cluster) => dbname.as_deref(),
        Placement::Single { .. } => None,
        Placement::Sharded(sharding) => {
            let shard = sharding.shards.iter().find(|shard| here(shard.cluster))?;
            Some(shard.dbname.as_deref().unwrap_or(&database.name))
        }
    });
    cluster.dbname.as_deref().or(named).unwrap_or("postgres")
}

fn facts(row: &[String]) -> Option<Facts> {
    let [recovery, version, max_connections, reserved, monitors, in_use] = row else { return None };
    Some(Facts {
        role: if recovery == "t" { NodeRole::Replica } else { NodeRole::Primary },
        version: version.clone(),
        max_connections: max_connections.parse().ok()?,
        reserved: reserved.parse().ok()?,
        monitors: monitors == "t",
        in_use: in_use.parse().ok()?,
        identity: None,
    })
}

fn in_words(facts: &Facts) -> String {
    let Facts { version, max_connections, reserved, in_use, .. } = facts;
    let timeline = facts.identity.map(|id| format!(" on timeline {}", id.timeline)).unwrap_or_default();
    format!(
        "{}{timeline}, Postgres {version}; max_connections {max_connections}, {reserved} of them reserved, {in_use} in use",
        role_name(facts.role)
    )
}

fn role_name(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Primary => "primary",
        NodeRole::Replica => "replica",
    }
}

fn judge(config: &Config, cluster: &Cluster, node: &Node, facts: &Facts, problems: &mut Vec<String>) {
    if let Some(wanted) = node.role.filter(|wanted| *wanted != facts.role) {
        let (wanted, found) = (role_name(wanted), role_name(facts.role));
        problems.push(format!("{} is a {found}, but the configuration says {wanted}", node.name));
    }
    if !facts.monitors {
        problems.push(format!(
            "the control user is not a member of pg_monitor on {}: GRANT pg_monitor TO it",
            node.name
        ));
    }
    // All pgweirs of the fleet, each with its share of the budget.
    let fleet = usize::try_from(config.instance.fleet).unwrap_or(usize::MAX);
    let wanted = config.node_budget(cluster, node).saturating_mul(fleet);
    let room = usize::try_from(facts.max_connections.saturating_sub(facts.reserved)).unwrap_or(0);
    if wanted > room {
        problems.push(format!(
            "{} can take {room} connections, but pgweir may open {wanted} (server_connections): \
             lower it or raise max_connections",
            node.name
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(server_connections: usize, facts: &Facts) -> Vec<String> {
        let yaml = format!(
            "instance: {{fleet: 2}}\nclusters:\n  us:\n    server_connections: {server_connections}\n    \
             nodes: {{us-1: {{host: db, role: primary}}}}\ndatabases:\n  app: {{cluster: us}}\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgweir.yaml");
        std::fs::write(&file, yaml).unwrap();
        let config = config::load(&file).unwrap();
        let (cluster, mut problems) = (&config.clusters[0], Vec::new());
        judge(&config, cluster, &cluster.nodes[0], facts, &mut problems);
        problems
    }

    fn primary() -> Facts {
        Facts {
            role: NodeRole::Primary,
            version: "17.0".into(),
            max_connections: 100,
            reserved: 3,
            monitors: true,
            in_use: 0,
            identity: None,
        }
    }

    #[test]
    fn the_whole_fleet_must_fit_beside_what_is_reserved() {
        // Each of two pgweirs takes half of the budget, rounded down.
        assert_eq!(problems(96, &primary()), Vec::<String>::new());
        let found = problems(98, &primary());
        assert!(
            matches!(&found[..], [one] if one.contains("97 connections") && one.contains("98")),
            "{found:?}"
        );
    }

    #[test]
    fn a_forked_primary_and_another_clusters_node_are_problems() {
        let node = |name: &str, role, system, timeline| {
            let identity = Some(Identity { system, timeline, started: 0 });
            let mut view = NodeView::new(name, None, Proximity::Zone, 1);
            see(&mut view, &Facts { role, identity, ..primary() });
            view
        };
        let together = |nodes: Vec<NodeView>| {
            let mut problems = Vec::new();
            judge_together("us", &ClusterView::new(nodes), &mut problems);
            problems
        };
        let (us, copy) = (node("a", NodeRole::Primary, 7, 2), node("b", NodeRole::Replica, 7, 2));
        assert_eq!(together(vec![us.clone(), copy.clone()]), Vec::<String>::new());
        let strangers = [node("c", NodeRole::Primary, 7, 1), node("d", NodeRole::Replica, 8, 1)];
        let found = together([vec![us.clone(), copy.clone()], strangers.to_vec()].concat());
        assert!(
            matches!(&found[..], [c, d] if c.contains("c can't be used: it is out of recovery on timeline 1")
            && d.contains("d can't be used: it belongs to another cluster")),
            "{found:?}"
        );
        let twin = NodeView { name: "t".to_owned(), ..us.clone() };
        assert_eq!(together(vec![us, twin]), ["cluster us has several primaries: a, t"]);
        assert_eq!(together(vec![copy]), ["cluster us has no primary"]);
    }

    #[test]
    fn a_role_and_a_right_that_are_not_as_said_are_problems() {
        let found = problems(10, &Facts { role: NodeRole::Replica, monitors: false, ..primary() });
        assert!(
            matches!(&found[..], [role, right] if role.contains("replica") && right.contains("pg_monitor"))
        );
    }
}
