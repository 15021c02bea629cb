//! The home of socket options: how soon a dead peer is noticed.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::Stream;

/// What is set on a TCP connection besides TCP_NODELAY, which is always set. A duration or count of zero leaves the
/// system's default, as in libpq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SocketOptions {
    /// Probes on an idle connection; `None`: no probes.
    pub keepalive: Option<Keepalive>,
    /// TCP_USER_TIMEOUT: sent bytes may stay unacknowledged this long (Linux). It also bounds the keepalive probes.
    pub user_timeout: Option<Duration>,
}

/// TCP keepalive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keepalive {
    /// Idle time before the first probe; the kernel counts in seconds.
    pub idle: Duration,
    /// Time between probes; likewise.
    pub interval: Duration,
    /// Unanswered probes after which the connection is dead.
    pub count: u32,
}

impl SocketOptions {
    /// Sets them on a connection; does nothing on a Unix socket.
    pub fn apply(&self, stream: &Stream) -> io::Result<()> {
        if stream.is_unix() {
            return Ok(());
        }
        let Some(fd) = stream.fd() else { return Ok(()) };
        let socket = SockRef::from(&fd);
        socket.set_tcp_nodelay(true)?;
        if let Some(keepalive) = self.keepalive {
            socket.set_tcp_keepalive(&keepalive.to_socket2())?;
        }
        #[cfg(target_os = "linux")]
        if let Some(timeout) = self.user_timeout.filter(|timeout| !timeout.is_zero()) {
            socket.set_tcp_user_timeout(Some(timeout))?;
        }
        Ok(())
    }
}

impl Keepalive {
    fn to_socket2(self) -> TcpKeepalive {
        let mut options = TcpKeepalive::new();
        if !self.idle.is_zero() {
            options = options.with_time(self.idle.max(Duration::from_secs(1)));
        }
        if !self.interval.is_zero() {
            options = options.with_interval(self.interval.max(Duration::from_secs(1)));
        }
        if self.count > 0 {
            options = options.with_retries(self.count);
        }
        options
    }
}
