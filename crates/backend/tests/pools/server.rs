//! A server that lets clients log in, up to a bound, and counts them.

use std::cell::Cell;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use wire::backend::TransactionStatus;
use wire::{ErrorReport, SqlState, encode};

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) port: u16,
    admits: usize,
    open: Cell<usize>,
    /// The most that were open at a time.
    pub(crate) most: Cell<usize>,
    /// Clients that were let in.
    pub(crate) logins: Cell<usize>,
    /// Clients that weren't.
    pub(crate) refused: Cell<usize>,
}

impl Server {
    pub(crate) async fn start(admits: usize) -> Rc<Server> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let zero = || Cell::new(0);
        let server = Server { port, admits, open: zero(), most: zero(), logins: zero(), refused: zero() };
        let server = Rc::new(server);
        let accepting = Rc::clone(&server);
        spawn_local(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                spawn_local(Rc::clone(&accepting).serve(socket));
            }
        });
        server
    }

    async fn serve(self: Rc<Self>, mut socket: TcpStream) {
        let length = usize::try_from(socket.read_u32().await.unwrap()).unwrap();
        socket.read_exact(&mut vec![0; length - 4]).await.unwrap();
        let mut reply = Vec::new();
        if self.open.get() == self.admits {
            self.refused.set(self.refused.get() + 1);
            let report =
                ErrorReport::fatal(SqlState::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
            encode::error_response(&mut reply, &report);
            socket.write_all(&reply).await.unwrap();
            return;
        }
        self.open.set(self.open.get() + 1);
        self.most.set(self.most.get().max(self.open.get()));
        self.logins.set(self.logins.get() + 1);
        encode::authentication_ok(&mut reply);
        encode::backend_key_data(&mut reply, 7, b"1234").unwrap();
        encode::ready_for_query(&mut reply, TransactionStatus::Idle);
        socket.write_all(&reply).await.unwrap();
        // Until the client goes.
        let _gone = socket.read(&mut [0; 64]).await;
        self.open.set(self.open.get() - 1);
    }
}
