//! SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 5802, RFC 7677), both sides.
//!
//! An exchange is a chain of values, each of which is consumed to make the next, so that a step can't be
//! repeated or left out:
//!
//! | side | steps |
//! | --- | --- |
//! | server | [`ServerExchange::start`] → [`ServerExchange::finish`] → [`ServerSuccess`] |
//! | client | [`ClientFirst::new`] → [`ClientFirst::answer`] → [`ClientFinal::verify`] → [`ScramKeys`] |
//!
//! The one slow thing is PBKDF2: [`ScramSecret::from_password`], and [`ClientFirst::answer`] when it is given
//! a password (a millisecond or two at Postgres' 4,096 iterations). Don't run those where queries are relayed.

mod attributes;
mod client;
mod keys;
mod server;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use client::{ClientBinding, ClientCredential, ClientFinal, ClientFirst};
pub use keys::{ScramKeys, ScramSecret};
pub use server::{Candidates, ServerExchange, ServerSuccess};

use crate::sqlstate::SqlState;

/// The mechanism without channel binding.
pub const SCRAM_SHA_256: &str = "SCRAM-SHA-256";
/// The mechanism that binds the exchange to the TLS connection (`tls-server-end-point`, RFC 5929).
pub const SCRAM_SHA_256_PLUS: &str = "SCRAM-SHA-256-PLUS";

/// The longest nonce taken from a peer, in bytes.
pub const MAX_NONCE: usize = 1_024;

/// The most iterations that are done because a server says so: a second or so. Postgres' default is
/// 4,096; a server that asks for more than this is out to burn CPU.
pub const MAX_ITERATIONS: u32 = 1_000_000;

/// The iterations of Postgres' own secrets (`scram_iterations`).
pub const DEFAULT_ITERATIONS: u32 = 4_096;

/// Why an exchange failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScramError {
    /// A message that isn't one of SCRAM's; what is wrong with it.
    #[error("malformed SCRAM message: {0}")]
    Malformed(&'static str),
    /// The client chose a mechanism that wasn't offered.
    #[error("client selected an invalid SASL authentication mechanism")]
    Mechanism,
    /// Something of SCRAM that Postgres doesn't speak either.
    #[error("unsupported in SCRAM: {0}")]
    Unsupported(&'static str),
    /// The client could bind to the TLS connection and was made to think that we can't: someone is between.
    #[error("SCRAM channel binding negotiation error")]
    Downgrade,
    /// The client is bound to another TLS connection than this one: someone is between.
    #[error("SCRAM channel binding check failed")]
    ChannelBinding,
    /// The nonce isn't the one of this exchange.
    #[error("SCRAM nonce does not match")]
    Nonce,
    /// The proof is wrong: another password, or no such user.
    #[error("password authentication failed")]
    WrongPassword,
    /// A server asks for none, or for more than [`MAX_ITERATIONS`].
    #[error("SCRAM iteration count {0} is not between 1 and {MAX_ITERATIONS}")]
    Iterations(u64),
    /// Keys were given for another salt or iteration count than the server's: derive them anew.
    #[error("SCRAM keys are not for this server's secret")]
    OtherSecret,
    /// The server refused, in SCRAM's words.
    #[error("server refused SCRAM authentication: {0}")]
    Refused(String),
    /// The server doesn't know the password either: it is an impostor.
    #[error("server's SCRAM signature is wrong")]
    WrongServer,
    /// Several secrets that don't share salt and iterations, of which a client is told only one.
    #[error("SCRAM secrets to choose from must have the same salt and iterations")]
    MixedSecrets,
}

impl ScramError {
    /// What Postgres says in that case.
    #[must_use]
    pub const fn sqlstate(&self) -> SqlState {
        match self {
            Self::Malformed(_) | Self::Mechanism | Self::Nonce => SqlState::PROTOCOL_VIOLATION,
            Self::Unsupported(_) => SqlState::FEATURE_NOT_SUPPORTED,
            Self::Downgrade | Self::ChannelBinding => SqlState::INVALID_AUTHORIZATION_SPECIFICATION,
            Self::WrongPassword => SqlState::INVALID_PASSWORD,
            Self::Iterations(_) | Self::OtherSecret | Self::Refused(_) | Self::WrongServer => {
                SqlState::CONNECTION_FAILURE
            }
            Self::MixedSecrets => SqlState::CONFIG_FILE_ERROR,
        }
    }
}
