//! A client that sees frames.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout_at};

use crate::frame::{Frame, first_error};
use crate::login::Login;
use crate::script::{Script, startup};
use crate::stream::{Stream, Tls};
use crate::{Address, DEADLINE, Error, Result};

/// Longer than any message of a test, so that garbage shows as what it is.
const LONGEST: usize = 1 << 30;

/// How to connect. Made by [`Client::to`].
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    address: Address,
    parameters: Vec<(String, String)>,
    password: String,
    protocol: (u16, u16),
    tls: Tls,
    deadline: Duration,
}

impl ConnectOptions {
    /// A startup parameter, sent in the order given.
    pub fn parameter(mut self, name: &str, value: &str) -> Self {
        self.parameters.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The user, and its password.
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.password = password.to_owned();
        self.parameter("user", user)
    }

    /// The database.
    pub fn database(self, database: &str) -> Self {
        self.parameter("database", database)
    }

    /// The protocol version, 3.0 unless said.
    pub fn protocol(mut self, major: u16, minor: u16) -> Self {
        self.protocol = (major, minor);
        self
    }

    /// TLS, off unless said.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// How long each wait of this client may last.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Opens the connection and sends nothing (after TLS, if that is on).
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Protocol`] if TLS is refused, [`Error::Deadline`].
    pub async fn open(self) -> Result<Client> {
        let limit = self.deadline;
        let stream = tokio::time::timeout(limit, Stream::connect(&self.address, &self.tls)).await;
        let late = |_| Error::Deadline { what: "connection", limit, so_far: Vec::new(), rest: 0 };
        Ok(Client { stream: stream.map_err(late)??, options: self, buffer: Vec::new(), startup: Vec::new() })
    }

    /// Connects and logs in: the client is idle then.
    ///
    /// # Errors
    /// [`Error::Server`] if the server refuses, else as [`Client::read_frame`].
    pub async fn connect(self) -> Result<Client> {
        let mut client = self.open().await?;
        client.log_in().await?;
        Ok(client)
    }
}

/// A connection that sees frames. Every read has a deadline.
#[derive(Debug)]
pub struct Client {
    stream: Stream,
    options: ConnectOptions,
    buffer: Vec<u8>,
    startup: Vec<Frame>,
}

impl Client {
    /// Begins to say how to connect.
    pub fn to(address: impl Into<Address>) -> ConnectOptions {
        ConnectOptions {
            address: address.into(),
            parameters: Vec::new(),
            password: String::new(),
            protocol: (3, 0),
            tls: Tls::Disable,
            deadline: DEADLINE,
        }
    }

    /// Opens a connection and sends nothing.
    ///
    /// # Errors
    /// As [`ConnectOptions::open`].
    pub async fn open(address: impl Into<Address>) -> Result<Client> {
        Client::to(address).open().await
    }

    /// Sends the startup packet and answers what is asked, up to ReadyForQuery.
    async fn log_in(&mut self) -> Result<()> {
        self.send(&startup(self.options.protocol, &self.options.parameters)).await?;
        let user = self.options.parameters.iter().find(|(name, _)| name == "user");
        let user = user.map(|(_, user)| user.clone()).unwrap_or_default();
        let mut login = Login::Begun;
        loop {
            let frame = self.read_frame().await?;
            match frame.tag {
                b'R' => {
                    let answer;
                    (login, answer) = login.step(&frame, &user, &self.options.password)?;
                    if let Some(answer) = answer {
                        self.send(answer.bytes()).await?;
                    }
                }
                b'E' => return Err(Error::Server(frame.server_error().unwrap_or_default())),
                _ => {}
            }
            let ready = frame.tag == b'Z';
            self.startup.push(frame);
            if ready {
                return Ok(());
            }
        }
    }

    /// What the server sent while the client logged in.
    pub fn startup(&self) -> &[Frame] {
        &self.startup
    }

    /// The last value of a parameter that was reported at start-up.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let reported = self.startup.iter().rev().filter_map(Frame::parameter);
        reported.into_iter().find(|(reported, _)| reported == name).map(|(_, value)| value)
    }

    /// BackendKeyData: the process id and the secret key (4 bytes in protocol 3.0, up to 256 in 3.2).
    pub fn backend_key(&self) -> Option<(u32, Vec<u8>)> {
        let frame = self.startup.iter().find(|frame| frame.tag == b'K')?;
        let (pid, key) = frame.body.split_first_chunk::<4>()?;
        Some((u32::from_be_bytes(*pid), key.to_vec()))
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Deadline`] if the peer doesn't take them.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let limit = self.options.deadline;
        let sent = tokio::time::timeout(limit, async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        });
        let sent = sent.await;
        let late =
            |_| Error::Deadline { what: "room to send", limit, so_far: Vec::new(), rest: self.buffer.len() };
        sent.map_err(late)?.map_err(Error::io("send"))
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`Error::Deadline`], [`Error::Closed`], [`Error::Io`]; [`Error::Protocol`] for an impossible length.
    pub async fn read_frame(&mut self) -> Result<Frame> {
        let deadline = Instant::now() + self.options.deadline;
        self.frame_before(deadline).await.map_err(|missing| self.explain(missing, "frame", Vec::new()))
    }

    /// All frames up to and with the next ReadyForQuery.
    ///
    /// # Errors
    /// As [`Client::read_frame`], with what came before.
    pub async fn read_until_ready(&mut self) -> Result<Vec<Frame>> {
        self.read_until("ReadyForQuery", |frame| frame.tag == b'Z').await
    }

    /// All frames up to and with the first that `last` holds for; `what` is its name for the error.
    ///
    /// # Errors
    /// As [`Client::read_frame`], with what came before.
    pub async fn read_until(
        &mut self,
        what: &'static str,
        last: impl Fn(&Frame) -> bool,
    ) -> Result<Vec<Frame>> {
        let deadline = Instant::now() + self.options.deadline;
        let mut frames = Vec::new();
        loop {
            match self.frame_before(deadline).await {
                Ok(frame) => {
                    let done = last(&frame);
                    frames.push(frame);
                    if done {
                        return Ok(frames);
                    }
                }
                Err(missing) => return Err(self.explain(missing, what, frames)),
            }
        }
    }

    /// All frames until the server closes the connection, orderly or not.
    ///
    /// # Errors
    /// [`Error::Deadline`] if it doesn't.
    pub async fn read_until_closed(&mut self) -> Result<Vec<Frame>> {
        let deadline = Instant::now() + self.options.deadline;
        let mut frames = Vec::new();
        loop {
            match self.frame_before(deadline).await {
                Ok(frame) => frames.push(frame),
                Err(Missing::Closed | Missing::Io(_)) => return Ok(frames),
                Err(missing) => return Err(self.explain(missing, "end of the connection", frames)),
            }
        }
    }

    /// All frames that come within `quiet` of each other, and whether the connection was closed then. For
    /// showing that something does *not* come; wait for what does come by the other methods.
    pub async fn read_while_available(&mut self, quiet: Duration) -> (Vec<Frame>, bool) {
        let mut frames = Vec::new();
        loop {
            match self.frame_before(Instant::now() + quiet).await {
                Ok(frame) => frames.push(frame),
                Err(Missing::Late) => return (frames, false),
                Err(_) => return (frames, true),
            }
        }
    }

    /// Sends a Query and reads up to ReadyForQuery; an ErrorResponse is among the frames.
    ///
    /// # Errors
    /// As [`Client::read_frame`].
    pub async fn query(&mut self, sql: &str) -> Result<Vec<Frame>> {
        self.send(Script::new().query(sql).bytes()).await?;
        self.read_until_ready().await
    }

    /// As [`Client::query`], of which success is expected: the rows as text.
    ///
    /// # Errors
    /// [`Error::Server`] if there is an ErrorResponse.
    pub async fn rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>> {
        let frames = self.query(sql).await?;
        first_error(&frames).map_or_else(|| Ok(crate::rows(&frames)), |error| Err(Error::Server(error)))
    }

    /// As [`Client::rows`]: the first column of the first row.
    ///
    /// # Errors
    /// [`Error::Protocol`] if there is none or it is NULL.
    pub async fn value(&mut self, sql: &str) -> Result<String> {
        let value = self.rows(sql).await?.into_iter().next().and_then(|row| row.into_iter().next().flatten());
        value.ok_or_else(|| Error::Protocol(format!("no value from {sql}")))
    }

    /// Sends a script and reads as many ReadyForQuery as it has Query, Sync and FunctionCall messages.
    ///
    /// # Errors
    /// As [`Client::read_frame`].
    pub async fn run(&mut self, script: &Script) -> Result<Vec<Frame>> {
        self.send(script.bytes()).await?;
        let mut frames = Vec::new();
        for _ in 0..script.ready_count() {
            frames.extend(self.read_until_ready().await?);
        }
        Ok(frames)
    }

    /// Sends a CancelRequest for this client on a connection of its own, and waits until that is closed.
    ///
    /// # Errors
    /// [`Error::Protocol`] if the server gave no key; else as [`Client::read_until_closed`].
    pub async fn cancel(&self) -> Result<()> {
        let (pid, key) =
            self.backend_key().ok_or_else(|| Error::Protocol("no BackendKeyData came".to_owned()))?;
        let length = crate::script::int4(12 + key.len());
        let code = 80_877_102_u32;
        let request = [&*length, &code.to_be_bytes(), &pid.to_be_bytes(), &*key].concat();
        let mut canceller = self.options.clone().open().await?;
        canceller.send(&request).await?;
        canceller.read_until_closed().await.map(drop)
    }

    /// Says Terminate and waits until the server closes the connection.
    ///
    /// # Errors
    /// [`Error::Deadline`] if it doesn't.
    pub async fn close(mut self) -> Result<()> {
        self.send(Script::new().terminate().bytes()).await?;
        self.read_until_closed().await.map(drop)
    }

    /// Closes with RST, as a client whose machine is gone (over TCP; else as a drop).
    pub fn reset(self) {
        self.stream.reset();
    }

    /// From here on it takes no packets any more, not even to acknowledge them, as a client whose machine or network is
    /// gone: nothing is closed. Over TCP, on Linux.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn vanish(&self) -> Result<()> {
        self.stream.drop_all_packets().map_err(Error::io("drop all packets"))
    }

    async fn frame_before(&mut self, deadline: Instant) -> Result<Frame, Missing> {
        loop {
            if let Some(frame) = self.take_frame()? {
                return Ok(frame);
            }
            match timeout_at(deadline, self.stream.read_buf(&mut self.buffer)).await {
                Err(_) => return Err(Missing::Late),
                Ok(Ok(0)) => return Err(Missing::Closed),
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(Missing::Io(error)),
            }
        }
    }

    /// A frame that is whole in the buffer.
    fn take_frame(&mut self) -> Result<Option<Frame>, Missing> {
        let [tag, a, b, c, d, ..] = self.buffer[..] else { return Ok(None) };
        let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
        if !(4..LONGEST).contains(&length) {
            return Err(Missing::Length(tag, length));
        }
        if self.buffer.len() < length + 1 {
            return Ok(None);
        }
        let body = self.buffer[5..=length].to_vec();
        self.buffer.drain(..=length);
        Ok(Some(Frame { tag, body }))
    }

    fn explain(&self, missing: Missing, what: &'static str, so_far: Vec<Frame>) -> Error {
        match missing {
            Missing::Late => {
                Error::Deadline { what, limit: self.options.deadline, so_far, rest: self.buffer.len() }
            }
            Missing::Closed => Error::Closed { what, so_far },
            Missing::Io(source) => Error::Io { what: format!("read {what} after {so_far:?}"), source },
            Missing::Length(tag, length) => {
                Error::Protocol(format!("message {:?} of length {length} after {so_far:?}", char::from(tag)))
            }
        }
    }
}

/// Why there is no frame.
enum Missing {
    Late,
    Closed,
    Io(std::io::Error),
    Length(u8, usize),
}
