//! A client of the tests, and the server's end of its connection.

use std::fs;

use net::{ClientTls, ServerTls, Stream, Verify};
use rcgen::generate_simple_self_signed;
use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use wire::backend::Authentication;
use wire::scram::{ClientBinding, ClientCredential, ClientFirst};
use wire::{encode, frame, md5, tag};

/// Both ends of a TCP connection: the client's and the server's.
pub(super) async fn connection() -> (Client, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (Client(Stream::from(client.unwrap())), Stream::from(server.unwrap().0))
}

pub(super) struct Client(pub(super) Stream);

/// What a client got in the end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// The server is content.
    Proved,
    /// The first field of each kind that counts: SQLSTATE and message.
    Refused(String, String),
    /// The connection was closed without a word.
    Closed,
}

impl Client {
    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
        self.0.flush().await.unwrap();
    }

    pub(super) async fn byte(&mut self) -> u8 {
        self.0.read_u8().await.unwrap()
    }

    /// The next message, or `None` at the end.
    pub(super) async fn message(&mut self) -> Option<(u8, Vec<u8>)> {
        let mut head = [0; frame::HEADER];
        self.0.read_exact(&mut head).await.ok()?;
        let head = frame::peek(&head, 100_000).unwrap().unwrap();
        let mut body = vec![0; head.body()];
        self.0.read_exact(&mut body).await.unwrap();
        Some((head.tag, body))
    }

    pub(super) async fn tls(self, host: &str) -> Self {
        let tls = ClientTls::new(Verify::Nothing, None).unwrap();
        Self(self.0.connect_tls(&tls, host).await.unwrap())
    }

    /// Answers the server's question with this password.
    pub(super) async fn log_in(&mut self, user: &str, password: &str) -> Answer {
        let Some((kind, body)) = self.message().await else { return Answer::Closed };
        if kind == tag::ERROR_RESPONSE {
            return refused(&body);
        }
        assert_eq!(kind, tag::AUTHENTICATION);
        match Authentication::parse(&body).unwrap() {
            Authentication::Md5 { salt } => {
                let mut out = Vec::new();
                let answer = md5::hash(user.as_bytes(), password.as_bytes(), salt);
                encode::password(&mut out, answer.as_bytes()).unwrap();
                self.send(&out).await;
                self.end().await
            }
            Authentication::Sasl { mechanisms } => {
                let hash = self.0.end_point_binding().map(<[u8]>::to_vec);
                self.scram(ClientBinding::choose(&mechanisms, hash).unwrap(), password).await
            }
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn scram(&mut self, binding: ClientBinding, password: &str) -> Answer {
        let exchange = ClientFirst::new(binding);
        let mut out = Vec::new();
        encode::sasl_initial(&mut out, exchange.mechanism(), &exchange.message()).unwrap();
        self.send(&out).await;
        let (kind, body) = self.message().await.unwrap();
        if kind == tag::ERROR_RESPONSE {
            return refused(&body);
        }
        let Ok(Authentication::SaslContinue(first)) = Authentication::parse(&body) else {
            panic!("{body:?}")
        };
        let (exchange, last) =
            exchange.answer(first, ClientCredential::Password(password.as_bytes())).unwrap();
        out.clear();
        encode::sasl_response(&mut out, &last).unwrap();
        self.send(&out).await;
        let Some((kind, body)) = self.message().await else { return Answer::Closed };
        if kind == tag::ERROR_RESPONSE {
            return refused(&body);
        }
        let Ok(Authentication::SaslFinal(proof)) = Authentication::parse(&body) else { panic!("{body:?}") };
        exchange.verify(proof).unwrap();
        Answer::Proved
    }

    /// What comes where AuthenticationOk would come; the tests' server closes in its place.
    pub(super) async fn end(&mut self) -> Answer {
        match self.message().await {
            None => Answer::Closed,
            Some((tag::ERROR_RESPONSE, body)) => refused(&body),
            Some((tag::AUTHENTICATION, body)) if body == [0; 4] => Answer::Proved,
            Some(other) => panic!("{other:?}"),
        }
    }
}

fn refused(body: &[u8]) -> Answer {
    let field = |code: u8| {
        let mut fields = body.split(|byte| *byte == 0);
        let found = fields.find(|field| field.first() == Some(&code)).unwrap();
        String::from_utf8(found[1..].to_vec()).unwrap()
    };
    Answer::Refused(field(b'C'), field(b'M'))
}

/// TLS with a certificate of its own for `localhost`.
pub(super) fn server_tls() -> ServerTls {
    let folder = tempdir().unwrap();
    let issued = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
    fs::write(&certificate, issued.cert.pem()).unwrap();
    fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
    ServerTls::load(&certificate, &key, None).unwrap()
}
