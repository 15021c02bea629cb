//! The client's side of authentication.

use wire::scram::{ClientBinding, ClientCredential, ClientFinal, ClientFirst, SCRAM_SHA_256};

use crate::frame::Frame;
use crate::script::{Script, cstring, int4};
use crate::{Error, Result};

/// Where an authentication stands.
pub(crate) enum Login {
    Begun,
    ScramFirst(ClientFirst),
    ScramFinal(ClientFinal),
    /// The server has proved, or need not prove, that it knows the password.
    Proved,
}

impl Login {
    /// Takes a message of authentication ('R'); returns the next state and what is to be sent.
    pub(crate) fn step(self, frame: &Frame, user: &str, password: &str) -> Result<(Login, Option<Script>)> {
        let Some((code, data)) = frame.body.split_first_chunk::<4>() else {
            return Err(Error::Protocol(format!("{frame:?}")));
        };
        let answer = |body: &[u8]| Some(Script::new().message(b'p', body));
        match (u32::from_be_bytes(*code), self) {
            (0, Login::ScramFirst(_) | Login::ScramFinal(_)) => {
                Err(Error::Protocol("AuthenticationOk before the server's own proof".to_owned()))
            }
            (0, login) => Ok((login, None)),
            (3, Login::Begun) => Ok((Login::Proved, answer(&cstring(password)))),
            (5, Login::Begun) => {
                let salt = data.try_into().map_err(|_| Error::Protocol(format!("{frame:?}")))?;
                let hash = wire::md5::hash(user.as_bytes(), password.as_bytes(), salt);
                Ok((Login::Proved, answer(&cstring(&hash))))
            }
            (10, Login::Begun) => {
                if !data.split(|byte| *byte == 0).any(|name| name == SCRAM_SHA_256.as_bytes()) {
                    return Err(Error::Protocol(format!("SCRAM-SHA-256 isn't offered: {frame:?}")));
                }
                let first = ClientFirst::new(ClientBinding::Unsupported);
                let message = first.message();
                let body = [cstring(SCRAM_SHA_256), int4(message.len()), message].concat();
                Ok((Login::ScramFirst(first), answer(&body)))
            }
            (11, Login::ScramFirst(first)) => {
                let (last, message) = first.answer(data, ClientCredential::Password(password.as_bytes()))?;
                Ok((Login::ScramFinal(last), answer(&message)))
            }
            (12, Login::ScramFinal(last)) => {
                last.verify(data).map(|_| (Login::Proved, None)).map_err(Error::from)
            }
            (code, _) => {
                Err(Error::Protocol(format!("authentication request {code} is unknown or out of turn")))
            }
        }
    }
}
