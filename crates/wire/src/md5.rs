//! MD5 password authentication, both sides: `md5(md5(password ‖ user) ‖ salt)`, in hexadecimal after "md5".
//!
//! Source: Postgres documentation, "Password Authentication" and the AuthenticationMD5Password message.

use md5::{Digest, Md5};
use subtle::ConstantTimeEq;

/// What a server stores for a user: `md5` and 32 hexadecimal digits.
#[must_use]
pub fn stored(user: &[u8], password: &[u8]) -> String {
    format!("md5{}", hex(&digest(&[password, user])))
}

/// A client's answer to `salt`, from the password.
#[must_use]
pub fn hash(user: &[u8], password: &[u8], salt: [u8; 4]) -> String {
    answer(&hex(&digest(&[password, user])), salt)
}

/// A client's answer to `salt`, from what is [`stored`]; `None` if that isn't of this form.
#[must_use]
pub fn hash_stored(stored: &str, salt: [u8; 4]) -> Option<String> {
    is_stored(stored).then(|| answer(&stored[3..], salt))
}

/// Is this a stored MD5 password: `md5` and 32 hexadecimal digits in lower case?
#[must_use]
pub fn is_stored(text: &str) -> bool {
    let digits = text.strip_prefix("md5").unwrap_or_default().as_bytes();
    digits.len() == 32 && digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
}

/// Is `answer` the right one to `salt`? Takes the same time wherever it differs.
#[must_use]
pub fn verify(answer: &[u8], stored: &str, salt: [u8; 4]) -> bool {
    hash_stored(stored, salt).is_some_and(|right| right.as_bytes().ct_eq(answer).into())
}

fn answer(stored_hex: &str, salt: [u8; 4]) -> String {
    format!("md5{}", hex(&digest(&[stored_hex.as_bytes(), &salt])))
}

fn digest(parts: &[&[u8]]) -> [u8; 16] {
    parts.iter().fold(Md5::new(), |hash, part| hash.chain_update(part)).finalize().into()
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_postgres_own_client_library() {
        let expected =
            postgres_protocol::authentication::md5_hash(b"md5_user", b"password", [0x2a, 0x3d, 0x8f, 0xe0]);
        assert_eq!(hash(b"md5_user", b"password", [0x2a, 0x3d, 0x8f, 0xe0]), expected);
        assert_eq!(expected, "md562af4dd09bbb41884907a838a3233294");
    }

    #[test]
    fn the_stored_form_answers_as_the_password_does() {
        let secret = stored(b"ann", b"open sesame");
        assert!(is_stored(&secret));
        let salt = *b"\x00\xff\x01\x02";
        let answer = hash(b"ann", b"open sesame", salt);
        assert_eq!(hash_stored(&secret, salt).as_deref(), Some(answer.as_str()));
        assert!(verify(answer.as_bytes(), &secret, salt));
        assert!(!verify(answer.as_bytes(), &secret, *b"abcd"));
        assert!(!verify(hash(b"ann", b"wrong", salt).as_bytes(), &secret, salt));
        assert!(!verify(b"", &secret, salt));
    }

    #[test]
    fn other_forms_are_not_stored_md5() {
        let upper = stored(b"u", b"p").to_uppercase();
        for text in ["", "md5", "secret", "md5xyz", upper.as_str(), "md5é0000000000000000000000000000000"] {
            assert!(!is_stored(text), "{text}");
            assert_eq!(hash_stored(text, [0; 4]), None);
        }
    }
}
