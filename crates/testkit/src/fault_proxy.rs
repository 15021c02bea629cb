//! A TCP proxy that makes a network's faults.

use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::io;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::faults::{Cut, Direction, Faults, History, Trigger};
use crate::{DEADLINE, Error, Result};

const PIECE: usize = 16 * 1024;

/// A TCP proxy in front of a server, whose switches may be changed while it runs. Dropping it resets all
/// connections.
pub struct FaultProxy {
    address: SocketAddr,
    faults: Arc<Faults>,
    acceptor: JoinHandle<()>,
}

impl FaultProxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `server`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn start(server: SocketAddr) -> Result<FaultProxy> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(Error::io("bind a fault proxy"))?;
        let address = listener.local_addr().map_err(Error::io("bind a fault proxy"))?;
        let faults = Arc::new(Faults::new());
        let acceptor = tokio::spawn(accept(listener, server, faults.clone()));
        Ok(FaultProxy { address, faults, acceptor })
    }

    /// In front of a node.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub async fn of(node: &localpg::Node) -> Result<FaultProxy> {
        FaultProxy::start(SocketAddr::from((Ipv4Addr::LOCALHOST, node.port()))).await
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Holds each piece of data back for so long; zero: not.
    pub fn delay(&self, direction: Direction, delay: Duration) {
        self.faults.set_delay(direction, delay);
    }

    /// Reads and drops all bytes of a direction, as a link that is down: nothing comes, nothing is closed.
    /// The end of a connection is swallowed too.
    pub fn swallow(&self, direction: Direction, on: bool) {
        self.faults.set_swallow(direction, on);
    }

    /// [`FaultProxy::swallow`] in both directions.
    pub fn blackhole(&self, on: bool) {
        self.swallow(Direction::ToServer, on);
        self.swallow(Direction::ToClient, on);
    }

    /// Writes each byte by itself.
    pub fn split(&self, on: bool) {
        self.faults.set_split(on);
    }

    /// Resets new connections as they arrive; those that are there go on.
    pub fn refuse(&self, on: bool) {
        self.faults.refuse.store(on, Ordering::SeqCst);
    }

    /// Ends all connections now; returns how many.
    pub fn cut_all(&self, how: Cut) -> usize {
        let open = self.faults.open.lock().unwrap_or_else(PoisonError::into_inner);
        for end in open.values() {
            end.send_replace(Some(how));
        }
        open.len()
    }

    /// Ends the oldest connection now; whether there was one.
    pub fn cut_one(&self, how: Cut) -> bool {
        let open = self.faults.open.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = open.iter().min_by_key(|(number, _)| **number);
        oldest.map(|(_, end)| end.send_replace(Some(how))).is_some()
    }

    /// Arms a cut: the first connection on which `trigger` comes true ends then. Several may be armed.
    pub fn cut_when(&self, direction: Direction, trigger: Trigger, how: Cut) {
        self.faults.arm(direction, trigger, how);
    }

    /// Takes back all armed cuts that have not fired.
    pub fn disarm(&self) {
        self.faults.disarm();
    }

    /// How many armed cuts have fired.
    pub fn fired(&self) -> usize {
        *self.faults.fired.borrow()
    }

    /// Waits until so many armed cuts have fired.
    ///
    /// # Errors
    /// [`Error::Deadline`] after 30 s.
    pub async fn wait_fired(&self, count: usize) -> Result<()> {
        let mut fired = self.faults.fired.subscribe();
        let fired = tokio::time::timeout(DEADLINE, fired.wait_for(|fired| *fired >= count)).await;
        fired.map(drop).map_err(|_| Error::Deadline {
            what: "cut",
            limit: DEADLINE,
            so_far: Vec::new(),
            rest: 0,
        })
    }

    /// Connections that have been accepted and not refused, ever.
    pub fn connections(&self) -> u64 {
        self.faults.accepted.load(Ordering::SeqCst)
    }

    /// Connections that are open now.
    pub fn open(&self) -> usize {
        self.faults.open.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Bytes that have been passed on, ever.
    pub fn bytes(&self, direction: Direction) -> u64 {
        self.faults.bytes(direction)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.acceptor.abort();
        self.cut_all(Cut::Reset);
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, faults: Arc<Faults>) {
    // An error of accept is the client's, which gave up; the listener goes on.
    loop {
        let Ok((client, _)) = listener.accept().await else { continue };
        if faults.refuse.load(Ordering::SeqCst) {
            reset(&client);
            continue;
        }
        let number = faults.accepted.fetch_add(1, Ordering::SeqCst);
        let (end, ended) = watch::channel(None);
        faults.open.lock().unwrap_or_else(PoisonError::into_inner).insert(number, end);
        let faults = faults.clone();
        tokio::spawn(async move {
            // A server that refuses shows to the client as a reset.
            match TcpStream::connect(server).await {
                Ok(server) => serve(&client, &server, &faults, ended).await,
                Err(_) => reset(&client),
            }
            faults.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
        });
    }
}

/// Forwards both ways until both sides have ended or the connection is cut.
async fn serve(
    client: &TcpStream,
    server: &TcpStream,
    faults: &Faults,
    mut ended: watch::Receiver<Option<Cut>>,
) {
    // Failing only on a socket that is closed already, which the first read shows.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let ended = async {
        let ended = ended.wait_for(Option::is_some).await;
        ended.ok().and_then(|how| *how).unwrap_or(Cut::Reset)
    };
    let both = async {
        let to_server = pump(client, server, Direction::ToServer, faults);
        let to_client = pump(server, client, Direction::ToClient, faults);
        tokio::try_join!(to_server, to_client).err()
    };
    let how = tokio::select! {
        how = ended => Some(how),
        how = both => how,
    };
    match how {
        Some(Cut::Reset) => {
            reset(client);
            reset(server);
        }
        Some(Cut::Fin) => {
            // A close with unread data is a reset: so the data is read until the sides close, too.
            for side in [client, server] {
                let _ = SockRef::from(side).shutdown(Shutdown::Write);
            }
            tokio::join!(drain(client), drain(server));
        }
        None => {}
    }
}

/// Passes on what comes; `Err` says how the connection is to end.
async fn pump(from: &TcpStream, to: &TcpStream, direction: Direction, faults: &Faults) -> Result<(), Cut> {
    let mut buffer = vec![0; PIECE];
    let mut history = History::default();
    loop {
        let count = read(from, &mut buffer).await.map_err(|_| Cut::Reset)?;
        if let Some(delay) = faults.delay(direction) {
            tokio::time::sleep(delay).await;
        }
        if faults.swallows(direction) {
            if count == 0 {
                std::future::pending::<()>().await;
            }
            continue;
        }
        if count == 0 {
            // Fails if the other side is closed already, which is all that it would do.
            let _ = SockRef::from(to).shutdown(Shutdown::Write);
            return Ok(());
        }
        let verdict = faults.judge(direction, &history, &buffer[..count]);
        let data = &buffer[..verdict.map_or(count, |(allowed, _)| allowed)];
        write(to, data, faults.splits()).await.map_err(|_| Cut::Reset)?;
        faults.count(direction, data.len());
        history.pass(data);
        if let Some((_, how)) = verdict {
            return Err(how);
        }
    }
}

async fn read(from: &TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        from.readable().await?;
        match from.try_read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            outcome => return outcome,
        }
    }
}

async fn write(to: &TcpStream, mut data: &[u8], split: bool) -> io::Result<()> {
    while !data.is_empty() {
        to.writable().await?;
        let piece = if split { &data[..1] } else { data };
        match to.try_write(piece) {
            Ok(count) => data = &data[count..],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        if split {
            // The reader gets a chance to see this byte alone.
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

async fn drain(side: &TcpStream) {
    let mut buffer = vec![0; PIECE];
    while matches!(read(side, &mut buffer).await, Ok(1..)) {}
}

/// The close that follows sends RST.
fn reset(socket: &TcpStream) {
    // Fails only on a socket that has gone already.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}
