//! The server's side: is this client who it says it is?

use subtle::ConstantTimeEq as _;

use super::attributes::{Attributes, check_nonce, decode_key, encode, new_nonce, text};
use super::keys::{ScramKeys, ScramSecret, hmac, sha256, xor};
use super::{SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramError};

/// The secrets that a user may log in with: one, or several while a password is being changed.
///
/// A client is told one salt and one iteration count, so all must share them: derive the secrets of several
/// passwords with the same ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidates {
    first: ScramSecret,
    others: Vec<ScramSecret>,
}

impl Candidates {
    /// The first secret and others that are as good.
    ///
    /// # Errors
    /// [`ScramError::MixedSecrets`] if salts or iterations differ.
    pub fn new(first: ScramSecret, others: Vec<ScramSecret>) -> Result<Self, ScramError> {
        if others.iter().any(|other| other.salt != first.salt || other.iterations != first.iterations) {
            return Err(ScramError::MixedSecrets);
        }
        Ok(Self { first, others })
    }

    fn iter(&self) -> impl Iterator<Item = &ScramSecret> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl From<ScramSecret> for Candidates {
    fn from(secret: ScramSecret) -> Self {
        Self { first: secret, others: Vec::new() }
    }
}

/// An exchange after the server's first message: the client's proof is awaited.
#[derive(Debug)]
pub struct ServerExchange {
    candidates: Candidates,
    /// What the client must repeat, in base64, to show that it is bound to this TLS connection or to none.
    channel_binding: String,
    nonce: String,
    client_first_bare: String,
    server_first: String,
}

/// A client that proved that it knows the password.
#[derive(Debug)]
pub struct ServerSuccess {
    /// For AuthenticationSASLFinal: it proves to the client that the server knows the secret.
    pub server_final: Vec<u8>,
    /// Which of the candidates it was: 0 for the first.
    pub candidate: usize,
    keys: ScramKeys,
}

impl ServerSuccess {
    /// The client's key, recovered from its proof.
    #[must_use]
    pub const fn client_key(&self) -> &[u8; 32] {
        &self.keys.client_key
    }

    /// To log in with at a server that stores the same secret.
    #[must_use]
    pub fn into_keys(self) -> ScramKeys {
        self.keys
    }
}

impl ServerExchange {
    /// The mechanisms to offer, best first: -PLUS only on a TLS connection whose certificate's hash is known.
    #[must_use]
    pub const fn mechanisms(tls: bool) -> &'static [&'static str] {
        if tls { &[SCRAM_SHA_256_PLUS, SCRAM_SHA_256] } else { &[SCRAM_SHA_256] }
    }

    /// Takes the client's first message (from a SASLInitialResponse) and makes the server's first one (for
    /// AuthenticationSASLContinue).
    ///
    /// `tls_server_end_point` is the hash of our certificate (RFC 5929) if -PLUS was offered.
    ///
    /// # Errors
    /// All but [`ScramError::WrongPassword`] and what only clients see.
    pub fn start(
        mechanism: &[u8],
        client_first: &[u8],
        tls_server_end_point: Option<&[u8]>,
        candidates: impl Into<Candidates>,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        Self::start_with_nonce(mechanism, client_first, tls_server_end_point, candidates.into(), &new_nonce())
    }

    pub(super) fn start_with_nonce(
        mechanism: &[u8],
        client_first: &[u8],
        tls_server_end_point: Option<&[u8]>,
        candidates: Candidates,
        server_nonce: &str,
    ) -> Result<(Self, Vec<u8>), ScramError> {
        let plus = match mechanism {
            b"SCRAM-SHA-256" => false,
            b"SCRAM-SHA-256-PLUS" if tls_server_end_point.is_some() => true,
            _ => return Err(ScramError::Mechanism),
        };
        let (gs2_header, bare) = split_gs2_header(text(client_first)?)?;
        let channel_binding = expected_binding(gs2_header, plus, tls_server_end_point)?;
        let client_nonce = read_client_first_bare(bare)?;

        let nonce = format!("{client_nonce}{server_nonce}");
        let ScramSecret { salt, iterations, .. } = &candidates.first;
        let server_first = format!("r={nonce},s={},i={iterations}", encode(salt));
        let reply = server_first.clone().into_bytes();
        let client_first_bare = bare.to_owned();
        Ok((Self { candidates, channel_binding, nonce, client_first_bare, server_first }, reply))
    }

    /// Takes the client's final message (from a SASLResponse).
    ///
    /// # Errors
    /// [`ScramError::WrongPassword`] if the proof fits none of the candidates; [`ScramError::Nonce`],
    /// [`ScramError::ChannelBinding`], [`ScramError::Malformed`].
    pub fn finish(self, client_final: &[u8]) -> Result<ServerSuccess, ScramError> {
        let client_final = text(client_final)?;
        let (without_proof, proof) =
            client_final.rsplit_once(",p=").ok_or(ScramError::Malformed("proof is missing"))?;
        let proof = decode_key(proof)?;

        let mut attributes = Attributes::new(without_proof);
        let channel_binding = attributes.expect('c')?;
        let nonce = attributes.expect('r')?;
        while !attributes.at_end() {
            attributes.next()?;
        }
        if nonce != self.nonce {
            return Err(ScramError::Nonce);
        }
        if channel_binding != self.channel_binding {
            return Err(ScramError::ChannelBinding);
        }
        let auth_message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        self.check(auth_message.as_bytes(), &proof)
    }

    /// Every candidate is tried, whichever fits, so that the time doesn't tell.
    fn check(&self, auth_message: &[u8], proof: &[u8; 32]) -> Result<ServerSuccess, ScramError> {
        let mut found = None;
        for (candidate, secret) in self.candidates.iter().enumerate() {
            let client_key = xor(proof, &hmac(&secret.stored_key, &[auth_message]));
            let matches: bool = sha256(&client_key).ct_eq(&secret.stored_key).into();
            let signature = hmac(&secret.server_key, &[auth_message]);
            if matches && found.is_none() {
                found = Some((candidate, client_key, signature, secret.clone()));
            }
        }
        let (candidate, client_key, signature, secret) = found.ok_or(ScramError::WrongPassword)?;
        let server_final = format!("v={}", encode(&signature)).into_bytes();
        Ok(ServerSuccess { server_final, candidate, keys: ScramKeys::from_client_key(client_key, secret) })
    }
}

/// Splits `n,,` or its like off the client's first message; the header keeps its last comma.
fn split_gs2_header(message: &str) -> Result<(&str, &str), ScramError> {
    const SHORT: ScramError = ScramError::Malformed("GS2 header is missing");
    let (_flag, rest) = message.split_once(',').ok_or(SHORT)?;
    let (identity, bare) = rest.split_once(',').ok_or(SHORT)?;
    match identity {
        "" => Ok((&message[..message.len() - bare.len()], bare)),
        _ if identity.starts_with("a=") => Err(ScramError::Unsupported("authorization identity")),
        _ => Err(ScramError::Malformed("unexpected attribute in GS2 header")),
    }
}

/// What the client's final message must carry as `c`, from what its first one says of channel binding.
fn expected_binding(
    gs2_header: &str,
    plus: bool,
    tls_server_end_point: Option<&[u8]>,
) -> Result<String, ScramError> {
    match (gs2_header, plus, tls_server_end_point) {
        ("p=tls-server-end-point,,", true, Some(hash)) => Ok(encode(&[gs2_header.as_bytes(), hash].concat())),
        ("n,," | "y,,", true, _) => Err(ScramError::Malformed("channel binding data is missing")),
        ("y,,", false, Some(_)) => Err(ScramError::Downgrade),
        ("n,," | "y,,", false, _) => Ok(encode(gs2_header.as_bytes())),
        _ if !gs2_header.starts_with("p=") => Err(ScramError::Malformed("unknown channel binding flag")),
        (_, true, _) => Err(ScramError::Unsupported("channel binding type")),
        (_, false, _) => Err(ScramError::Malformed("channel binding data without SCRAM-SHA-256-PLUS")),
    }
}

/// Reads `n=…,r=nonce`. The name is ignored, as in Postgres: the startup packet has said who it is.
fn read_client_first_bare(bare: &str) -> Result<&str, ScramError> {
    let mut attributes = Attributes::new(bare);
    match attributes.next()? {
        ('n', _user) => {}
        ('m', _) => return Err(ScramError::Unsupported("mandatory extension")),
        _ => return Err(ScramError::Malformed("user name attribute is missing")),
    }
    let nonce = check_nonce(attributes.expect('r')?)?;
    while !attributes.at_end() {
        attributes.next()?;
    }
    Ok(nonce)
}
