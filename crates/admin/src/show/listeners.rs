//! SHOW LISTENERS: the connections that listen for sessions whose own are shared.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::snapshot::Snapshot;
use crate::value::{Column, Row, int4, text};

pub(crate) const LISTENERS: &[Column] = &[
    text("cluster"),
    text("database"),
    text("client_encoding"),
    text("node"),
    int4("remote_pid"),
    int4("channels"),
    int4("sessions"),
];

pub(crate) fn listeners(snapshot: &Snapshot) -> Vec<Row> {
    let mut rows = Vec::new();
    for hub in snapshot.directory.clusters().iter().flat_map(|cluster| cluster.listeners.hubs()) {
        let at = hub.at.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let (node, pid) = at.unzip();
        rows.push(vec![
            hub.cluster.clone().into(),
            hub.database.to_string().into(),
            hub.encoding.to_string().into(),
            node.into(),
            pid.map(u64::from).into(),
            hub.channels.load(Ordering::Relaxed).into(),
            hub.sessions.load(Ordering::Relaxed).into(),
        ]);
    }
    rows
}
