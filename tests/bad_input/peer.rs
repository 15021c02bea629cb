//! Postgres, and pgweir in front of it, as a client sees them that doesn't keep to the protocol.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use testkit::{Certificates, Client, Cluster, Cut, Direction, FaultProxy, Frame, Pgweir, Setup, Trigger};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// What must never be seen beyond pgweir.
pub(crate) const MARKER: &str = "never-pass-this-on";
/// The password of `app`.
pub(crate) const PASSWORD: &str = "pass-of-app-1234";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Postgres, and pgweirs in front of it.
pub(crate) struct Peers {
    pub(crate) certificates: Certificates,
    cluster: Cluster,
    /// TLS for those who want it.
    pub(crate) pgweir: Pgweir,
    /// TLS for all.
    pub(crate) strict: Pgweir,
    /// Fires if something reaches the server that must not.
    watch: FaultProxy,
}

impl Peers {
    pub(crate) async fn start() -> Peers {
        let certificates = Certificates::generate().unwrap();
        let cluster = Cluster::builder()
            .databases(["app"])
            .users([("app", PASSWORD)])
            .settings([("authentication_timeout", "2s")])
            .tls(certificates.server_certificate(), certificates.server_key())
            .start()
            .unwrap();
        let watch = FaultProxy::of(cluster.primary()).await.unwrap();
        watch.cut_when(Direction::ToServer, Trigger::After(MARKER.as_bytes().to_vec()), Cut::Reset);
        let setup = |mode| {
            let setup = Setup::new(&cluster).pool_size(4).tls(&certificates, mode);
            let setup =
                setup.set("limits.client_login_timeout", "2s").set("clusters.pg.server_connections", "40");
            // In plain to the server, so that what passes can be seen.
            setup.set("clusters.pg.tls.mode", "disable").node("pg", "pg-1", watch.port())
        };
        let pgweir = Pgweir::start(&setup("prefer")).await.unwrap();
        let strict = Pgweir::start(&setup("require")).await.unwrap();
        Peers { certificates, cluster, pgweir, strict, watch }
    }

    pub(crate) fn direct(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.cluster.primary().port()))
    }

    /// A client that is logged in to pgweir.
    pub(crate) async fn client(&self) -> Client {
        self.pgweir.client("app", "app").connect().await.unwrap()
    }

    /// The same on Postgres itself.
    pub(crate) async fn direct_client(&self) -> Client {
        Client::to(self.direct()).user("app", PASSWORD).database("app").connect().await.unwrap()
    }

    /// Others are served.
    pub(crate) async fn assert_serves(&self) {
        assert_eq!(self.client().await.value("SELECT 'served'").await.unwrap(), "served");
    }

    pub(crate) async fn assert_quiet_log(&self) {
        for log in [self.pgweir.log(), self.strict.log()] {
            for word in ["panicked", PASSWORD, "a literal of a client"] {
                let line = log.lines().find(|line| line.contains(word));
                assert_eq!(line, None, "{word:?} in the log");
            }
        }
    }

    pub(crate) async fn assert_nothing_passed(&self) {
        assert_eq!(self.watch.fired(), 0);
        // It would have been seen.
        let mut client = self.client().await;
        client.send(testkit::Script::new().query(&format!("SELECT '{MARKER}'")).bytes()).await.unwrap();
        self.watch.wait_fired(1).await.unwrap();
    }
}

/// What came back until the connection was closed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The messages, after `skip` bytes that aren't one.
    pub(crate) fn frames(&self, skip: usize) -> Vec<Frame> {
        let mut rest = self.bytes.get(skip..).unwrap_or_default();
        let mut frames = Vec::new();
        while let [tag, a, b, c, d, ..] = rest {
            let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap();
            // What isn't a message, such as an alert of TLS, ends it.
            let Some(body) = rest.get(5..=length) else { break };
            frames.push(Frame { tag: *tag, body: body.to_vec() });
            rest = &rest[length + 1..];
        }
        frames
    }

    /// Severity, SQLSTATE and message of the last message, if that is an error.
    pub(crate) fn error(&self, skip: usize) -> Option<(String, String, String)> {
        let error = self.frames(skip).last()?.server_error()?;
        Some((error.severity, error.code, error.message))
    }

    /// The SQLSTATE alone.
    pub(crate) fn code(&self, skip: usize) -> Option<String> {
        self.error(skip).map(|(_, code, _)| code)
    }
}

/// Sends pieces, each after the peer's answer to the one before (at least that many bytes of it), and reads until the
/// peer closes.
pub(crate) async fn say(to: SocketAddr, pieces: &[(&[u8], usize)]) -> Answer {
    let talk = async {
        let mut stream = TcpStream::connect(to).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let mut bytes = Vec::new();
        for (piece, wait_for) in pieces {
            // It may have closed already.
            let _ = stream.write_all(piece).await;
            let enough = bytes.len() + wait_for;
            while bytes.len() < enough {
                if !matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {
                    break;
                }
            }
        }
        while matches!(stream.read_buf(&mut bytes).await, Ok(1..)) {}
        Answer { bytes }
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("the peer closes")
}

/// A startup packet of protocol 3.0 with this body.
pub(crate) fn startup(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &[0, 3, 0, 0], body].concat()
}

/// The startup packet of `app`.
pub(crate) fn of_app() -> Vec<u8> {
    startup(b"user\0app\0database\0app\0\0")
}

/// SSLRequest.
pub(crate) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
/// GSSENCRequest.
pub(crate) const GSS_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x30];
