//! Hands a connection that has logged in to a client library that wants to log in itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use net::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use wire::backend::TransactionStatus;
use wire::encode;

/// A server connection after login, which plays the end of a login to whoever takes it over: AuthenticationOk and
/// ReadyForQuery are read from it first. Until they have been, what is written is the other's startup message; the
/// server has had one, so it is dropped.
///
/// With it control connections log in by the same code as all others, and so under the same rules: no password in
/// clear over a plain connection (tokio-postgres gives it), the channel bound by SCRAM-SHA-256-PLUS under TLS.
#[derive(Debug)]
pub(super) struct Greeted {
    stream: Stream,
    greeting: Vec<u8>,
    read: usize,
}

impl Greeted {
    pub(super) fn new(stream: Stream) -> Self {
        let mut greeting = Vec::new();
        encode::authentication_ok(&mut greeting);
        encode::ready_for_query(&mut greeting, TransactionStatus::Idle);
        Greeted { stream, greeting, read: 0 }
    }

    fn is_greeting(&self) -> bool {
        self.read < self.greeting.len()
    }
}

impl AsyncRead for Greeted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.is_greeting() {
            return this.stream.poll_read(cx, buf);
        }
        let rest = &this.greeting[this.read..];
        let taken = rest.len().min(buf.remaining());
        buf.put_slice(&rest[..taken]);
        this.read += taken;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Greeted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_greeting() { Poll::Ready(Ok(bytes.len())) } else { this.stream.poll_write(cx, bytes) }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream.poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    #[tokio::test]
    async fn the_server_sees_no_second_startup_message() {
        let (ours, mut servers) = UnixStream::pair().unwrap();
        let server = async {
            let mut message = [0; 14];
            servers.read_exact(&mut message).await.unwrap();
            let mut reply = Vec::new();
            encode::empty_query(&mut reply);
            encode::ready_for_query(&mut reply, TransactionStatus::Idle);
            servers.write_all(&reply).await.unwrap();
            message
        };
        let client = async {
            let mut config = tokio_postgres::Config::new();
            config.user("anybody");
            let stream = Greeted::new(Stream::from(ours));
            let (client, connection) = config.connect_raw(stream, tokio_postgres::NoTls).await.unwrap();
            tokio::spawn(connection);
            client.simple_query("-- hello").await.unwrap();
        };
        let (message, ()) = tokio::join!(server, client);
        assert_eq!(&message, b"Q\0\0\0\x0d-- hello\0");
    }

    #[tokio::test]
    async fn the_greeting_may_be_read_in_pieces() {
        let (ours, mut servers) = UnixStream::pair().unwrap();
        servers.write_all(b"more").await.unwrap();
        let mut greeted = Greeted::new(Stream::from(ours));
        let mut read = [0; 19];
        for byte in &mut read {
            greeted.write_all(b"dropped while it greets").await.unwrap();
            *byte = greeted.read_u8().await.unwrap();
            if !greeted.is_greeting() {
                break;
            }
        }
        greeted.read_exact(&mut read[15..]).await.unwrap();
        assert_eq!(&read, b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05Imore".first_chunk::<19>().unwrap());
    }
}
