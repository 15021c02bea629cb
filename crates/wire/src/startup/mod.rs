//! The first packet of a connection, which has no type byte: startup, SSLRequest, GSSENCRequest, CancelRequest.

mod options;
#[cfg(test)]
mod tests;

use std::fmt;

use thiserror::Error;

use crate::error::ErrorReport;
use crate::frame::Reader;
use crate::sqlstate::SqlState;

/// The longest first packet, as in Postgres: bytes after the length field.
pub const MAX_PACKET: usize = 10_000;

/// The newest minor version of protocol 3 that is spoken here: 3.2 brings long cancel keys.
pub const NEWEST_MINOR: u16 = 2;

pub(crate) const CANCEL_CODE: u32 = 1234 << 16 | 5678;
pub(crate) const SSL_CODE: u32 = 1234 << 16 | 5679;
pub(crate) const GSS_CODE: u32 = 1234 << 16 | 5680;

/// A first packet. `Debug` doesn't show a cancel key.
#[derive(Clone, PartialEq, Eq)]
pub enum Initial {
    /// May we speak TLS? Answer `S` or `N`.
    Ssl,
    /// May we speak GSS encryption? Answer `N`.
    Gss,
    /// Cancel what this session does. No answer.
    Cancel {
        /// Process id that the session was told.
        pid: u32,
        /// The key that it was told, 4 to 256 bytes.
        key: Vec<u8>,
    },
    /// A session begins.
    Start(StartupParameters),
}

impl fmt::Debug for Initial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ssl => f.write_str("Ssl"),
            Self::Gss => f.write_str("Gss"),
            Self::Cancel { pid, .. } => f.debug_struct("Cancel").field("pid", pid).finish_non_exhaustive(),
            Self::Start(parameters) => f.debug_tuple("Start").field(parameters).finish(),
        }
    }
}

/// What is wrong with a first packet.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StartupError {
    /// Not of this protocol (a port scanner, HTTP): close, say nothing.
    #[error("invalid length of startup packet")]
    Length,
    /// A major version that isn't 3.
    #[error("unsupported frontend protocol {major}.{minor}: server supports 3.0 to 3.2")]
    Version {
        /// Major version asked for.
        major: u16,
        /// Minor version asked for.
        minor: u16,
    },
    /// An SSLRequest, GSSENCRequest or CancelRequest of the wrong size: close, say nothing.
    #[error("invalid length of {0} packet")]
    RequestLength(&'static str),
    /// A string without its end, a name without a value, or something after the end.
    #[error("invalid startup packet layout: expected terminator as last byte")]
    Layout,
    /// A parameter that isn't UTF-8: refused rather than altered.
    #[error("startup parameter {0:?} is not valid UTF-8")]
    NotUtf8(String),
    /// No `user`, or an empty one.
    #[error("no PostgreSQL user name specified in startup packet")]
    NoUser,
    /// An option with an empty name, as in `-c =1` or `--=1`.
    #[error("empty option name in startup parameter \"options\"")]
    EmptyOption,
    /// An option without `=`.
    #[error("{0} requires a value")]
    OptionWithoutValue(String),
    /// A switch other than `-c name=value` and `--name=value`.
    #[error("invalid command-line argument for server process: {0}")]
    UnknownSwitch(String),
}

impl StartupError {
    /// What to tell the client; `None`: close without a word.
    #[must_use]
    pub fn report(&self) -> Option<ErrorReport> {
        let code = match self {
            Self::Length | Self::RequestLength(_) => return None,
            Self::Version { .. } => SqlState::FEATURE_NOT_SUPPORTED,
            Self::Layout | Self::EmptyOption => SqlState::PROTOCOL_VIOLATION,
            Self::NotUtf8(_) => SqlState::CHARACTER_NOT_IN_REPERTOIRE,
            Self::NoUser => SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            Self::OptionWithoutValue(_) | Self::UnknownSwitch(_) => SqlState::SYNTAX_ERROR,
        };
        let report = ErrorReport::fatal(code, self.to_string());
        Some(match self {
            Self::UnknownSwitch(_) => {
                report.with_hint("Write settings as \"-c name=value\" or \"--name=value\".")
            }
            _ => report,
        })
    }
}

/// Is this the first byte of a TLS handshake (direct TLS, without an SSLRequest before it)?
#[must_use]
pub const fn begins_tls(first: u8) -> bool {
    first == 0x16
}

/// Reads the packet at the front of `buf`, and says how many bytes it took; `None` if more are needed.
///
/// # Errors
/// As [`StartupError`] says. A bad length is found from the first four bytes.
pub fn parse_initial(buf: &[u8]) -> Result<Option<(Initial, usize)>, StartupError> {
    let Some(length) = buf.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if !(8..=MAX_PACKET + 4).contains(&length) {
        return Err(StartupError::Length);
    }
    let Some(packet) = buf.get(4..length) else {
        return Ok(None);
    };
    let mut reader = Reader::new(packet);
    let code = reader.u32().map_err(|_| StartupError::Length)?;
    let initial = match code {
        SSL_CODE if reader.remaining() == 0 => Initial::Ssl,
        SSL_CODE => return Err(StartupError::RequestLength("SSL request")),
        GSS_CODE if reader.remaining() == 0 => Initial::Gss,
        GSS_CODE => return Err(StartupError::RequestLength("GSS encryption request")),
        CANCEL_CODE => parse_cancel(reader)?,
        version => Initial::Start(StartupParameters::parse(version, reader.rest())?),
    };
    Ok(Some((initial, length)))
}

fn parse_cancel(mut reader: Reader<'_>) -> Result<Initial, StartupError> {
    let wrong_length = StartupError::RequestLength("cancel request");
    let Ok(pid) = reader.u32() else { return Err(wrong_length) };
    let key = reader.rest();
    if !(4..=256).contains(&key.len()) {
        return Err(wrong_length);
    }
    Ok(Initial::Cancel { pid, key: key.to_vec() })
}

/// The parameters of a session's start, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartupParameters {
    minor: u16,
    parameters: Vec<(String, String)>,
    protocol_options: Vec<String>,
    option_settings: Vec<(String, String)>,
}

impl StartupParameters {
    fn parse(version: u32, packet: &[u8]) -> Result<Self, StartupError> {
        let [a, b, c, d] = version.to_be_bytes();
        let (major, minor) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        if major != 3 {
            return Err(StartupError::Version { major, minor });
        }
        let mut started =
            Self { minor, parameters: Vec::new(), protocol_options: Vec::new(), option_settings: Vec::new() };
        started.read_parameters(Reader::new(packet))?;
        if started.user().is_empty() {
            return Err(StartupError::NoUser);
        }
        if let Some(text) = started.get("options") {
            started.option_settings = options::parse(text)?;
        }
        Ok(started)
    }

    fn read_parameters(&mut self, mut reader: Reader<'_>) -> Result<(), StartupError> {
        loop {
            let name = reader.cstr().map_err(|_| StartupError::Layout)?;
            if name.is_empty() {
                return reader.finish().map_err(|_| StartupError::Layout);
            }
            let value = reader.cstr().map_err(|_| StartupError::Layout)?;
            let not_utf8 = || StartupError::NotUtf8(String::from_utf8_lossy(name).into_owned());
            let name = std::str::from_utf8(name).map_err(|_| not_utf8())?;
            let value = std::str::from_utf8(value).map_err(|_| not_utf8())?;
            if name.starts_with("_pq_.") {
                self.protocol_options.push(name.to_owned());
            } else {
                self.parameters.push((name.to_owned(), value.to_owned()));
            }
        }
    }

    /// The minor version of protocol 3 that the client asks for.
    #[must_use]
    pub const fn minor(&self) -> u16 {
        self.minor
    }

    /// The minor version that the session will speak: what the client asks for, but no more than
    /// [`NEWEST_MINOR`]. Cancel keys may be longer than 4 bytes from 2 on.
    #[must_use]
    pub fn spoken_minor(&self) -> u16 {
        self.minor.min(NEWEST_MINOR)
    }

    /// Must the client be sent a NegotiateProtocolVersion, because it asks for more than is spoken here?
    #[must_use]
    pub fn must_negotiate(&self) -> bool {
        self.minor > NEWEST_MINOR || !self.protocol_options.is_empty()
    }

    /// All parameters as sent and in their order, but for those whose names begin with `_pq_.`.
    #[must_use]
    pub fn all(&self) -> &[(String, String)] {
        &self.parameters
    }

    /// Names of protocol options (`_pq_.…`); none is known here.
    #[must_use]
    pub fn protocol_options(&self) -> &[String] {
        &self.protocol_options
    }

    /// The value of a parameter; the last one if it stands twice, as in Postgres.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Who it is; never empty.
    #[must_use]
    pub fn user(&self) -> &str {
        self.get("user").unwrap_or_default()
    }

    /// Where to; the user's name if the client doesn't say.
    #[must_use]
    pub fn database(&self) -> &str {
        self.get("database").filter(|database| !database.is_empty()).unwrap_or_else(|| self.user())
    }

    /// What the session sets: the settings in `options` first, then the parameters that are settings
    /// (all but `user`, `database`, `options` and `replication`); the last one of a name counts.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        let named = self
            .parameters
            .iter()
            .filter(|(name, _)| !matches!(name.as_str(), "user" | "database" | "options" | "replication"));
        self.option_settings.iter().chain(named).map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The settings in the parameter `options` only, in their order.
    #[must_use]
    pub fn option_settings(&self) -> &[(String, String)] {
        &self.option_settings
    }
}
