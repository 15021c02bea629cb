//! The keys that SCRAM derives from a password, and the secret that a server stores of them.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

use super::ScramError;
use super::attributes::{decode, decode_key, encode};

type HmacSha256 = Hmac<Sha256>;

/// What a server stores of a password: enough to check a client, not enough to be one.
///
/// As text (`pg_authid.rolpassword`): `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, the last three in
/// base64. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramSecret {
    pub(super) iterations: u32,
    pub(super) salt: Vec<u8>,
    pub(super) stored_key: [u8; 32],
    pub(super) server_key: [u8; 32],
}

impl ScramSecret {
    /// Reads the stored text.
    ///
    /// # Errors
    /// [`ScramError::Malformed`]; the text is not in it.
    pub fn parse(text: &str) -> Result<Self, ScramError> {
        const WRONG: ScramError = ScramError::Malformed("not a SCRAM-SHA-256 secret");
        let rest = text.strip_prefix("SCRAM-SHA-256$").ok_or(WRONG)?;
        let (head, keys) = rest.split_once('$').ok_or(WRONG)?;
        let (iterations, salt) = head.split_once(':').ok_or(WRONG)?;
        let (stored_key, server_key) = keys.split_once(':').ok_or(WRONG)?;
        let iterations = iterations.parse().ok().filter(|count| *count > 0).ok_or(WRONG)?;
        Ok(Self {
            iterations,
            salt: decode(salt)?,
            stored_key: decode_key(stored_key)?,
            server_key: decode_key(server_key)?,
        })
    }

    /// Derives the secret of a password. Slow, in proportion to `iterations` (taken as 1 if 0).
    #[must_use]
    pub fn from_password(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        ScramKeys::derive(password, salt, iterations).secret
    }

    /// A secret for a user that doesn't exist, so that a login fails as for one that does: the same messages,
    /// the same work, the same salt each time. No password fits it.
    ///
    /// `seed` is a random value that stays the same for as long as the answers shall (as Postgres' mock
    /// authentication nonce); `iterations` should be what real users have.
    #[must_use]
    pub fn mock(user: &[u8], seed: &[u8; 32], iterations: u32) -> Self {
        let derive = |what: &[u8]| hmac(seed, &[what, user]);
        Self {
            iterations: iterations.max(1),
            salt: derive(b"salt ")[..16].to_vec(),
            stored_key: derive(b"stored key "),
            server_key: derive(b"server key "),
        }
    }

    /// PBKDF2 iterations.
    #[must_use]
    pub const fn iterations(&self) -> u32 {
        self.iterations
    }

    /// The salt, decoded.
    #[must_use]
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The text that a server stores.
    #[must_use]
    pub fn to_text(&self) -> String {
        let (salt, stored, server) = (encode(&self.salt), encode(&self.stored_key), encode(&self.server_key));
        format!("SCRAM-SHA-256${}:{salt}${stored}:{server}", self.iterations)
    }
}

impl fmt::Debug for ScramSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramSecret").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// All that is needed to log in as a client without the password: keep it to skip PBKDF2 on the next
/// connection, or to pass a client's login through to a server with the same secret.
///
/// As good as the password, for servers with that secret. `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    pub(super) client_key: [u8; 32],
    pub(super) secret: ScramSecret,
}

impl ScramKeys {
    /// Derives the keys of a password. Slow, in proportion to `iterations` (taken as 1 if 0).
    #[must_use]
    pub fn derive(password: &[u8], salt: &[u8], iterations: u32) -> Self {
        let salted = pbkdf2(&prepare(password), salt, iterations);
        let client_key = hmac(&salted, &[b"Client Key"]);
        let secret = ScramSecret {
            iterations: iterations.max(1),
            salt: salt.to_vec(),
            stored_key: sha256(&client_key),
            server_key: hmac(&salted, &[b"Server Key"]),
        };
        Self { client_key, secret }
    }

    /// The ClientKey that a server-side exchange recovered ([`super::ServerSuccess::client_key`]), with the
    /// secret that it was checked against.
    #[must_use]
    pub const fn from_client_key(client_key: [u8; 32], secret: ScramSecret) -> Self {
        Self { client_key, secret }
    }

    /// What a server stores of the same password.
    #[must_use]
    pub const fn secret(&self) -> &ScramSecret {
        &self.secret
    }
}

impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").finish_non_exhaustive()
    }
}

/// A password as it is hashed: after SASLprep (RFC 4013) if it can be prepared, else as it is, as in Postgres.
fn prepare(password: &[u8]) -> Vec<u8> {
    match std::str::from_utf8(password).ok().and_then(|text| stringprep::saslprep(text).ok()) {
        Some(prepared) => prepared.as_bytes().to_vec(),
        None => password.to_vec(),
    }
}

/// PBKDF2-HMAC-SHA-256 of one block (RFC 5802's `Hi`).
fn pbkdf2(password: &[u8], salt: &[u8], iterations: u32) -> [u8; 32] {
    // The keyed state is computed once: each iteration then hashes two blocks, not four.
    let keyed = keyed(password);
    let mut mac = keyed.clone();
    mac.update(salt);
    mac.update(&[0, 0, 0, 1]);
    let mut block: [u8; 32] = mac.finalize().into_bytes().into();
    let mut result = block;
    for _ in 1..iterations {
        let mut mac = keyed.clone();
        mac.update(&block);
        block = mac.finalize().into_bytes().into();
        result = xor(&result, &block);
    }
    result
}

pub(super) fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = keyed(key);
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

fn keyed(key: &[u8]) -> HmacSha256 {
    HmacSha256::new_from_slice(key).expect("HMAC takes keys of any length")
}

pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(super) fn xor(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    std::array::from_fn(|at| left[at] ^ right[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_reads_back() {
        let secret = ScramSecret::from_password(b"pencil", b"0123456789abcdef", 64);
        assert_eq!(ScramSecret::parse(&secret.to_text()), Ok(secret.clone()));
        assert_eq!((secret.iterations(), secret.salt()), (64, &b"0123456789abcdef"[..]));
    }

    #[test]
    fn other_texts_are_no_secret() {
        let good = ScramSecret::from_password(b"p", b"salt", 1).to_text();
        for bad in ["", "pencil", "md5abc", "SCRAM-SHA-256$", "SCRAM-SHA-256$1:AAAA$AAAA:AAAA"] {
            assert!(ScramSecret::parse(bad).is_err(), "{bad}");
        }
        assert!(ScramSecret::parse(&good.replace("$1:", "$0:")).is_err());
        assert!(ScramSecret::parse(&good.replace("$1:", "$4294967296:")).is_err());
        for cut in 0..good.len() {
            assert!(ScramSecret::parse(&good[..cut]).is_err(), "{cut}");
        }
    }

    #[test]
    fn passwords_are_prepared_if_they_can_be() {
        // RFC 4013: a soft hyphen maps to nothing, a feminine ordinal to "a".
        assert_eq!(prepare("I\u{ad}X".as_bytes()), b"IX");
        assert_eq!(prepare("\u{aa}".as_bytes()), b"a");
        // Prohibited, or not UTF-8: as it is.
        assert_eq!(prepare(b"a\x07b"), b"a\x07b");
        assert_eq!(prepare(b"\xff\xfe"), b"\xff\xfe");
    }

    #[test]
    fn a_mock_secret_is_stable_and_the_users_own() {
        let mock = |user: &[u8]| ScramSecret::mock(user, &[7; 32], 4_096);
        assert_eq!(mock(b"ann"), mock(b"ann"));
        assert_ne!(mock(b"ann").salt, mock(b"bob").salt);
        assert_ne!(mock(b"ann").salt, ScramSecret::mock(b"ann", &[8; 32], 4_096).salt);
        assert_eq!(mock(b"ann").salt.len(), 16);
    }

    #[test]
    fn debug_shows_no_key() {
        let keys = ScramKeys::derive(b"pencil", b"salt", 1);
        assert_eq!(
            format!("{keys:?} {:?}", keys.secret()),
            "ScramKeys { .. } ScramSecret { iterations: 1, .. }"
        );
    }
}
