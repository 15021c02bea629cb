//! SHOW CLIENTS and SHOW SERVERS: a row for each connection.

use std::sync::Arc;

use backend::SharedPool;
use net::{Peer, TlsInfo};
use session::cell::Doing;

use super::split;
use crate::snapshot::{ClientState, ServerState, Snapshot};
use crate::value::{Column, Row, Value, int4, int8, text};

/// PgBouncer's columns of a connection, and ours behind them.
macro_rules! socket {
    ($($ours:expr),*) => {
        &[
            text("type"), text("user"), text("database"), text("replication"), text("state"), text("addr"),
            int4("port"), text("local_addr"), int4("local_port"), text("connect_time"), text("request_time"),
            int4("wait"), int4("wait_us"), int4("close_needed"), text("ptr"), text("link"), int4("remote_pid"),
            text("tls"), text("application_name"), int4("prepared_statements"), int4("id"), $($ours),*
        ]
    };
}

pub(crate) const CLIENTS: &[Column] =
    socket![text("doing"), int8("transaction_us"), text("node"), int4("core"), text("pinned")];

pub(crate) const SERVERS: &[Column] = socket![text("cluster"), text("node"), int4("core")];

pub(crate) fn clients(snapshot: &Snapshot) -> Vec<Row> {
    let mut clients: Vec<&ClientState> = snapshot.each_client.iter().collect();
    clients.sort_by_key(|client| client.pid);
    clients.into_iter().map(|client| client_row(snapshot, client)).collect()
}

fn client_row(snapshot: &Snapshot, client: &ClientState) -> Row {
    let (address, port, process) = match client.peer {
        Peer::Tcp(address) => (address.ip().to_string(), u64::from(address.port()), 0),
        Peer::Unix { pid, .. } => {
            ("unix".to_owned(), 0, pid.and_then(|pid| u64::try_from(pid).ok()).unwrap_or(0))
        }
    };
    let (state, doing) = words(client.doing);
    let elapsed = |since| snapshot.at.saturating_duration_since(since);
    let (wait, wait_us) = if client.doing == Doing::Waiting { split(elapsed(client.since)) } else { (0, 0) };
    let in_transaction = client.transaction_since.map(|since| elapsed(since).as_micros());
    vec![
        "C".into(),
        (&client.user).into(),
        (&client.database).into(),
        "none".into(),
        state.into(),
        address.into(),
        port.into(),
        Value::Null,
        Value::Null,
        snapshot.now.text(client.connected).into(),
        snapshot.now.text(client.since).into(),
        wait.into(),
        wait_us.into(),
        0_u64.into(),
        client_name(client.pid).into(),
        client.holds.as_ref().map_or_else(String::new, |(pool, pid)| server_name(pool, *pid)).into(),
        process.into(),
        tls(client.tls.as_ref()).into(),
        client.application.clone().into(),
        Value::Null,
        u64::from(client.pid).into(),
        doing.into(),
        in_transaction.map(|time| u64::try_from(time).unwrap_or(u64::MAX)).into(),
        client.holds.as_ref().map(|(pool, _)| pool.node.name.clone()).into(),
        client.core.into(),
        client.pinned.into(),
    ]
}

pub(crate) fn servers(snapshot: &Snapshot) -> Vec<Row> {
    let mut servers: Vec<&ServerState> = snapshot.each_server.iter().collect();
    servers.sort_by_cached_key(|server| (crate::snapshot::PoolName::of(&server.pool), server.opened));
    servers.into_iter().map(|server| server_row(snapshot, server)).collect()
}

fn server_row(snapshot: &Snapshot, server: &ServerState) -> Row {
    let target = &server.pool.node.target;
    let (socket, client) = (server.socket.as_ref(), server.client.as_ref());
    let local = socket.and_then(|socket| socket.local);
    vec![
        "S".into(),
        (&server.pool.login.user).into(),
        (&server.pool.database).into(),
        "none".into(),
        if client.is_some() { "active" } else { "idle" }.into(),
        target.host.clone().into(),
        u64::from(target.port).into(),
        local.map(|local| local.ip().to_string()).into(),
        local.map(|local| u64::from(local.port())).into(),
        snapshot.now.text(server.opened).into(),
        snapshot.now.text(server.since).into(),
        0_u64.into(),
        0_u64.into(),
        u64::from(server.pool.is_retired()).into(),
        server_name(&server.pool, server.pid).into(),
        client.map_or_else(String::new, |(pid, _)| client_name(*pid)).into(),
        u64::from(server.pid).into(),
        socket.map(|socket| tls(socket.tls.as_ref())).into(),
        client.map_or_else(String::new, |(_, application)| application.clone()).into(),
        socket.map(|socket| socket.prepared).into(),
        Value::Null,
        server.pool.cluster.config.name.clone().into(),
        server.pool.node.name.clone().into(),
        server.core.into(),
    ]
}

/// PgBouncer's word, in which an open transaction is active, and ours.
const fn words(doing: Doing) -> (&'static str, &'static str) {
    match doing {
        Doing::Idle => ("idle", "idle"),
        Doing::Waiting => ("waiting", "waiting"),
        Doing::Active => ("active", "active"),
        Doing::IdleInTransaction => ("active", "idle in transaction"),
    }
}

/// What `ptr` of a client and `link` of its server connection are.
fn client_name(pid: u32) -> String {
    format!("C-{pid}")
}

fn server_name(pool: &Arc<SharedPool>, pid: u32) -> String {
    format!("S-{}/{}/{pid}", pool.cluster.config.name, pool.node.name)
}

fn tls(tls: Option<&TlsInfo>) -> String {
    tls.map_or_else(String::new, |tls| format!("{}/{}", tls.version, tls.cipher))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::show::testing::{named, pool, snapshot};
    use crate::snapshot::SocketState;
    use std::time::Duration;

    #[test]
    fn a_client_and_the_connection_that_it_holds_name_each_other() {
        let mut snapshot = snapshot();
        let shared = pool(&snapshot, "app", "app", 0).shared;
        let at = snapshot.at;
        snapshot.at += Duration::from_micros(1_500_000);
        let tls = TlsInfo { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384".to_owned() };
        let client = ClientState {
            pid: 7,
            user: "app".into(),
            database: "app".into(),
            peer: Peer::Tcp("10.1.2.3:4567".parse().unwrap()),
            tls: Some(tls),
            connected: at,
            doing: Doing::IdleInTransaction,
            since: at,
            transaction_since: Some(at),
            application: "sidekiq".to_owned(),
            core: Some(1),
            holds: Some((Arc::clone(&shared), 99)),
            pinned: Some("advisory_lock"),
        };
        let waiting =
            ClientState { pid: 3, doing: Doing::Waiting, holds: None, core: None, ..client.clone() };
        snapshot.each_client = vec![client, waiting];
        let held = ServerState {
            pool: shared,
            pid: 99,
            opened: at,
            since: at,
            client: Some((7, "sidekiq".to_owned())),
            core: 1,
            socket: None,
        };
        let socket = SocketState { local: Some("10.9.9.9:1".parse().unwrap()), tls: None, prepared: 12 };
        let later = at + Duration::from_secs(1);
        let idle = ServerState { pid: 98, opened: later, client: None, socket: Some(socket), ..held.clone() };
        snapshot.each_server = vec![idle, held];

        let rows = clients(&snapshot);
        let (first, second) = (named(CLIENTS, &rows[0]), named(CLIENTS, &rows[1]));
        assert_eq!(
            (first("id"), first("state"), first("wait"), first("wait_us")),
            ("3", "waiting", "1", "500000")
        );
        assert_eq!((first("link"), first("core"), first("node")), ("", "NULL", "NULL"));
        assert_eq!((first("pinned"), second("pinned")), ("advisory_lock", "advisory_lock"));
        assert_eq!((second("addr"), second("port"), second("state")), ("10.1.2.3", "4567", "active"));
        assert_eq!((second("doing"), second("transaction_us")), ("idle in transaction", "1500000"));
        assert_eq!((second("tls"), second("node")), ("TLSv1.3/TLS_AES_256_GCM_SHA384", "us-1"));

        let rows = servers(&snapshot);
        let (held, idle) = (named(SERVERS, &rows[0]), named(SERVERS, &rows[1]));
        assert_eq!((held("ptr"), held("link")), (second("link"), second("ptr")));
        assert_eq!((held("state"), held("application_name"), held("tls")), ("active", "sidekiq", "NULL"));
        assert_eq!(
            (idle("state"), idle("prepared_statements"), idle("local_addr")),
            ("idle", "12", "10.9.9.9")
        );
        assert_eq!((idle("addr"), idle("port"), idle("tls")), ("10.0.0.1", "5432", ""));
    }
}
