//! The client's side: log in to a server, and make sure that it is the right one.

use subtle::ConstantTimeEq as _;

use super::attributes::{Attributes, check_nonce, decode, decode_key, encode, new_nonce, text};
use super::keys::{ScramKeys, hmac, xor};
use super::{MAX_ITERATIONS, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError};
use crate::backend::Mechanisms;

/// The longest salt that is taken from a server, in bytes of base64.
const MAX_SALT: usize = 4_096;

/// How the exchange is tied to the TLS connection below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientBinding {
    /// There is no TLS, or channel binding isn't wanted.
    Unsupported,
    /// It could be bound, but the server didn't offer -PLUS. (If it did, someone is between; it will notice.)
    NotOffered,
    /// Bound to the server's certificate: its hash (RFC 5929, `tls-server-end-point`).
    TlsServerEndPoint(Vec<u8>),
}

impl ClientBinding {
    /// The best binding for what a server offers, on a connection with that certificate hash if it is TLS;
    /// `None` if the server offers no SCRAM.
    #[must_use]
    pub fn choose(offered: &Mechanisms<'_>, tls_server_end_point: Option<Vec<u8>>) -> Option<Self> {
        match tls_server_end_point {
            Some(hash) if offered.contains(SCRAM_SHA_256_PLUS) => Some(Self::TlsServerEndPoint(hash)),
            _ if !offered.contains(SCRAM_SHA_256) => None,
            Some(_) => Some(Self::NotOffered),
            None => Some(Self::Unsupported),
        }
    }

    /// The mechanism to name in the SASLInitialResponse.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        match self {
            Self::Unsupported | Self::NotOffered => SCRAM_SHA_256,
            Self::TlsServerEndPoint(_) => SCRAM_SHA_256_PLUS,
        }
    }

    const fn gs2_header(&self) -> &'static str {
        match self {
            Self::Unsupported => "n,,",
            Self::NotOffered => "y,,",
            Self::TlsServerEndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    fn hash(&self) -> &[u8] {
        match self {
            Self::Unsupported | Self::NotOffered => &[],
            Self::TlsServerEndPoint(hash) => hash,
        }
    }
}

/// What a client logs in with.
#[derive(Clone, Copy)]
pub enum ClientCredential<'a> {
    /// The password: slow, see [`ClientFirst::answer`].
    Password(&'a [u8]),
    /// Keys derived or recovered before: fast, if the server's salt and iterations are still theirs.
    Keys(&'a ScramKeys),
}

/// An exchange whose first message is made: the server's first one is awaited.
#[derive(Debug)]
pub struct ClientFirst {
    binding: ClientBinding,
    nonce: String,
}

impl ClientFirst {
    /// Begins an exchange.
    #[must_use]
    pub fn new(binding: ClientBinding) -> Self {
        Self::with_nonce(binding, new_nonce())
    }

    pub(super) const fn with_nonce(binding: ClientBinding, nonce: String) -> Self {
        Self { binding, nonce }
    }

    /// The mechanism to name in the SASLInitialResponse.
    #[must_use]
    pub const fn mechanism(&self) -> &'static str {
        self.binding.mechanism()
    }

    /// The data of the SASLInitialResponse.
    #[must_use]
    pub fn message(&self) -> Vec<u8> {
        format!("{}{}", self.binding.gs2_header(), self.bare()).into_bytes()
    }

    /// Without a name: a Postgres server takes it from the startup packet.
    fn bare(&self) -> String {
        format!("n=,r={}", self.nonce)
    }

    /// Takes the server's first message (AuthenticationSASLContinue) and makes the data of the SASLResponse.
    ///
    /// With a password this runs the server's number of PBKDF2 iterations, up to [`MAX_ITERATIONS`].
    ///
    /// # Errors
    /// [`ScramError::Iterations`], [`ScramError::Nonce`], [`ScramError::Malformed`],
    /// [`ScramError::Unsupported`] and [`ScramError::OtherSecret`], all before anything slow is begun.
    pub fn answer(
        self,
        server_first: &[u8],
        credential: ClientCredential<'_>,
    ) -> Result<(ClientFinal, Vec<u8>), ScramError> {
        let server_first = text(server_first)?;
        let ServerFirst { nonce, salt, iterations } = ServerFirst::read(server_first, &self.nonce)?;
        let keys = match credential {
            ClientCredential::Password(password) => ScramKeys::derive(password, &salt, iterations),
            ClientCredential::Keys(keys) => {
                if keys.secret.salt != salt || keys.secret.iterations != iterations {
                    return Err(ScramError::OtherSecret);
                }
                keys.clone()
            }
        };
        let channel_binding = encode(&[self.binding.gs2_header().as_bytes(), self.binding.hash()].concat());
        let without_proof = format!("c={channel_binding},r={nonce}");
        let auth_message = format!("{},{server_first},{without_proof}", self.bare());
        let signature = hmac(&keys.secret.stored_key, &[auth_message.as_bytes()]);
        let proof = encode(&xor(&keys.client_key, &signature));
        Ok((ClientFinal { keys, auth_message }, format!("{without_proof},p={proof}").into_bytes()))
    }
}

/// An exchange whose proof is made: the server's own proof is awaited.
#[derive(Debug)]
pub struct ClientFinal {
    keys: ScramKeys,
    auth_message: String,
}

impl ClientFinal {
    /// Takes the server's final message (AuthenticationSASLFinal). An AuthenticationOk that comes without it
    /// is not to be believed.
    ///
    /// Returns the keys, with which the next login needn't derive any.
    ///
    /// # Errors
    /// [`ScramError::Refused`], [`ScramError::WrongServer`], [`ScramError::Malformed`].
    pub fn verify(self, server_final: &[u8]) -> Result<ScramKeys, ScramError> {
        let mut attributes = Attributes::new(text(server_final)?);
        match attributes.next()? {
            ('e', reason) => Err(ScramError::Refused(reason.chars().take(100).collect())),
            ('v', signature) => {
                let expected = hmac(&self.keys.secret.server_key, &[self.auth_message.as_bytes()]);
                if bool::from(expected.ct_eq(&decode_key(signature)?)) {
                    Ok(self.keys)
                } else {
                    Err(ScramError::WrongServer)
                }
            }
            _ => Err(ScramError::Malformed("neither signature nor error")),
        }
    }
}

struct ServerFirst<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl<'a> ServerFirst<'a> {
    fn read(message: &'a str, client_nonce: &str) -> Result<Self, ScramError> {
        let mut attributes = Attributes::new(message);
        let nonce = match attributes.next()? {
            ('r', nonce) => check_nonce(nonce)?,
            ('m', _) => return Err(ScramError::Unsupported("mandatory extension")),
            _ => return Err(ScramError::Malformed("nonce is missing")),
        };
        // A server that adds nothing of its own would let an old exchange be replayed.
        if nonce.strip_prefix(client_nonce).is_none_or(str::is_empty) {
            return Err(ScramError::Nonce);
        }
        let salt = attributes.expect('s')?;
        if salt.is_empty() || salt.len() > MAX_SALT {
            return Err(ScramError::Malformed("salt is missing or too long"));
        }
        let iterations = attributes.expect('i')?;
        let malformed = ScramError::Malformed("iteration count is not a number");
        let iterations: u64 = iterations.parse().map_err(|_| malformed)?;
        let iterations = u32::try_from(iterations)
            .ok()
            .filter(|count| (1..=MAX_ITERATIONS).contains(count))
            .ok_or(ScramError::Iterations(iterations))?;
        Ok(Self { nonce, salt: decode(salt)?, iterations })
    }
}
