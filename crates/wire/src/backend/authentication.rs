//! What a server asks for before it lets a client in.

use crate::frame::{MessageError, Reader};

/// An Authentication message of any kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication<'a> {
    /// Let in.
    Ok,
    /// The password itself, please.
    CleartextPassword,
    /// An MD5 answer over this salt, please.
    Md5 {
        /// What to hash with.
        salt: [u8; 4],
    },
    /// Choose one of these mechanisms.
    Sasl {
        /// In the server's order of preference.
        mechanisms: Mechanisms<'a>,
    },
    /// The server's next message of the SASL exchange.
    SaslContinue(&'a [u8]),
    /// Its last one.
    SaslFinal(&'a [u8]),
    /// A method that pgweir doesn't speak, by its code (2 Kerberos, 7 GSS, 9 SSPI …).
    Other(i32),
}

impl<'a> Authentication<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If it doesn't have the fields of its kind, or more.
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        let code = reader.i32()?;
        let message = match code {
            0 => Self::Ok,
            3 => Self::CleartextPassword,
            5 => {
                let salt = reader.bytes(4)?;
                Self::Md5 { salt: [salt[0], salt[1], salt[2], salt[3]] }
            }
            10 => return Ok(Self::Sasl { mechanisms: Mechanisms::parse(reader)? }),
            11 => return Ok(Self::SaslContinue(reader.rest())),
            12 => return Ok(Self::SaslFinal(reader.rest())),
            other => return Ok(Self::Other(other)),
        };
        reader.finish()?;
        Ok(message)
    }
}

/// The SASL mechanisms that a server offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mechanisms<'a>(&'a [u8]);

impl<'a> Mechanisms<'a> {
    fn parse(mut reader: Reader<'a>) -> Result<Self, MessageError> {
        let list = reader.rest();
        while !reader.cstr()?.is_empty() {}
        reader.finish()?;
        Ok(Self(list))
    }

    /// Their names, in the server's order.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.split(|byte| *byte == 0).take_while(|name| !name.is_empty())
    }

    /// Is this one offered?
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.iter().any(|offered| offered == name.as_bytes())
    }
}
