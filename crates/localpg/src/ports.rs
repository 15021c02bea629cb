//! Free TCP ports for servers.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below what Linux gives to outgoing connections (32768 up): a port from there could be taken by somebody's
/// outgoing connection while its server is stopped for a moment, and the server couldn't come back.
const FIRST: u16 = 10_000;
const COUNT: u16 = 22_000;

/// A port on 127.0.0.1 that nobody listens on now, and that this process has not been given lately.
///
/// Another process may take it before its user binds it: whoever starts a server on it tries again with
/// another one. `None` if all are in use.
pub fn free_port() -> Option<u16> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    // Several processes start far from each other, so that they seldom try the same port at once.
    let start = u16::try_from(std::process::id().wrapping_mul(7_919) % u32::from(COUNT)).unwrap_or(0);
    (0..COUNT).find_map(|_| {
        let step = NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let offset = (u32::from(start) + u32::from(step)) % u32::from(COUNT);
        let port = FIRST + u16::try_from(offset).unwrap_or(0);
        TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_one_in_use_is_not_given() {
        let first = free_port().unwrap();
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, first)).unwrap();
        let others: Vec<u16> = (0..100).map(|_| free_port().unwrap()).collect();
        assert!(!others.contains(&held.local_addr().unwrap().port()));
        assert!((FIRST..FIRST + COUNT).contains(&first));
    }
}
