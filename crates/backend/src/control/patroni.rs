//! Asks Patroni who leads: its REST interface knows of a switchover before a probe does, and of two nodes that are out
//! of recovery on one timeline which one was meant.
//!
//! Plain HTTP, one GET for each question: not worth a client library. What Patroni says makes no node a primary that
//! is in recovery (`route::standing`).

use std::sync::Arc;
use std::time::Duration;

use config::PatroniAddress;
use route::view::NodeIndex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use crate::cluster::Cluster;

/// Between questions, if nodes aren't probed more often than that.
const INTERVAL: Duration = Duration::from_secs(1);
/// An answer is a short list of members.
const MOST: u64 = 1 << 20;

/// Asks for as long as it is polled: each of the cluster's Patronis in turn, until one answers.
pub(super) async fn run(cluster: Arc<Cluster>, interval: Duration, limit: Duration) {
    let mut complaint: Option<String> = None;
    loop {
        let (said, wrong) = match ask_any(&cluster, limit).await {
            Ok(Leader::Node(node)) => (Some(node), None),
            Ok(Leader::Nobody) => (None, None),
            Ok(Leader::Stranger(name)) => {
                (None, Some(format!("Patroni's leader {name} is none of the cluster's nodes")))
            }
            Err(error) => (None, Some(format!("Patroni can't be asked who leads: {error}"))),
        };
        if wrong.is_some() && wrong != complaint {
            tracing::warn!(cluster = cluster.config.name, "{}", wrong.as_deref().unwrap_or_default());
        }
        complaint = wrong;
        cluster.set_leader(said);
        sleep(interval.min(INTERVAL)).await;
    }
}

/// Who leads by what Patroni says.
#[derive(Debug, PartialEq, Eq)]
enum Leader {
    Node(NodeIndex),
    /// There is no leader now.
    Nobody,
    /// None of the nodes that are configured.
    Stranger(String),
}

async fn ask_any(cluster: &Cluster, limit: Duration) -> Result<Leader, String> {
    let mut errors = Vec::new();
    for address in &cluster.config.patroni {
        let asked = timeout(limit, ask(address)).await;
        match asked.unwrap_or_else(|_| Err(format!("no answer within {limit:?}"))) {
            Ok(body) => return leader(&body, &cluster.config.nodes),
            Err(error) => errors.push(format!("{address}: {error}")),
        }
    }
    Err(errors.join("; "))
}

/// The body of the answer to `GET /cluster`.
async fn ask(address: &PatroniAddress) -> Result<Vec<u8>, String> {
    let in_words = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect((&*address.host, address.port)).await.map_err(in_words)?;
    // An HTTP/1.0 answer ends with its connection, and comes in one piece.
    let request = format!("GET /cluster HTTP/1.0\r\nHost: {address}\r\nAccept: application/json\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(in_words)?;
    let mut answer = Vec::new();
    stream.take(MOST).read_to_end(&mut answer).await.map_err(in_words)?;
    body(&answer).map(<[u8]>::to_vec)
}

/// The body of a successful answer.
fn body(answer: &[u8]) -> Result<&[u8], String> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("that is no HTTP")?;
    let status = answer.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let status = String::from_utf8_lossy(status);
    let mut words = status.split(' ');
    match (words.next(), words.next()) {
        (Some(version), Some("200")) if version.starts_with("HTTP/1.") => Ok(&answer[end + 4..]),
        _ => Err(format!("it says {:?}", status.chars().take(60).collect::<String>())),
    }
}

/// Who leads, of these nodes: found by host and port, or else by its name.
fn leader(body: &[u8], nodes: &[config::Node]) -> Result<Leader, String> {
    let answer: Value = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let members =
        answer.get("members").and_then(Value::as_array).ok_or("no list of members in its answer")?;
    let text = |member: &Value, key| member.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let Some(leading) = members.iter().find(|member| text(member, "role") == "leader") else {
        return Ok(Leader::Nobody);
    };
    let (name, host) = (text(leading, "name"), text(leading, "host"));
    let port = leading.get("port").and_then(Value::as_u64);
    let by_address = nodes.iter().position(|node| node.host == host && port == Some(u64::from(node.port)));
    let found = by_address.or_else(|| nodes.iter().position(|node| node.name == name));
    Ok(match found.and_then(|index| u16::try_from(index).ok()) {
        Some(index) => Leader::Node(NodeIndex(index)),
        None => Leader::Stranger(name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, host: &str, port: u16) -> config::Node {
        let (role, cores, zone, weight) = (None, 1, None, 1);
        config::Node { name: name.to_owned(), host: host.to_owned(), port, role, cores, zone, weight }
    }

    fn said(members: &str) -> Result<Leader, String> {
        let nodes = [node("us-1", "10.0.0.1", 5432), node("us-2", "10.0.0.2", 5432)];
        leader(format!("{{\"members\": {members}, \"scope\": \"us\"}}").as_bytes(), &nodes)
    }

    #[test]
    fn the_leader_is_found_by_its_address_or_its_name() {
        let second = Ok(Leader::Node(NodeIndex(1)));
        let others = r#"{"name": "x", "role": "sync_standby", "host": "10.0.0.1", "port": 5432}"#;
        let of = |leader: &str| said(&format!("[{others}, {leader}]"));
        assert_eq!(of(r#"{"name": "b", "role": "leader", "host": "10.0.0.2", "port": 5432}"#), second);
        assert_eq!(of(r#"{"name": "us-2", "role": "leader", "host": "inside", "port": 5433}"#), second);
        assert_eq!(of(r#"{"name": "c", "role": "leader"}"#), Ok(Leader::Stranger("c".to_owned())));
        // A standby cluster's leader takes no writes.
        assert_eq!(of(r#"{"name": "us-2", "role": "standby_leader"}"#), Ok(Leader::Nobody));
        assert_eq!(said("[]"), Ok(Leader::Nobody));
        assert!(said("7").is_err());
    }

    #[test]
    fn only_a_successful_answer_counts() {
        assert_eq!(body(b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\n{}"), Ok(&b"{}"[..]));
        for bad in
            [&b"HTTP/1.1 503 Service Unavailable\r\n\r\n{}"[..], b"SSH-2.0\r\n\r\n200", b"", b"HTTP/1.0 200"]
        {
            assert!(body(bad).is_err(), "{bad:?}");
        }
    }
}
