//! ErrorResponse and NoticeResponse as a server sends them.

use std::borrow::Cow;

use crate::error::{ErrorReport, Severity};
use crate::frame::{MessageError, Reader};
use crate::sqlstate::SqlState;

/// The fields of an ErrorResponse or NoticeResponse. Codes: Postgres documentation, "Error and Notice
/// Message Fields".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorFields<'a>(&'a [u8]);

impl<'a> ErrorFields<'a> {
    /// Reads a whole body.
    ///
    /// # Errors
    /// If a field is not terminated or the closing zero is missing or isn't the last byte. (That there is an
    /// SQLSTATE is not checked: ask [`ErrorFields::sqlstate`].)
    pub fn parse(body: &'a [u8]) -> Result<Self, MessageError> {
        let mut reader = Reader::new(body);
        while reader.u8()? != 0 {
            reader.cstr()?;
        }
        reader.finish()?;
        Ok(Self(body))
    }

    /// Each field's code and text.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut reader = Reader::new(self.0);
        std::iter::from_fn(move || match reader.u8() {
            Ok(0) | Err(_) => None,
            Ok(code) => reader.cstr().ok().map(|text| (code, text)),
        })
    }

    /// The text of the first field with this code.
    #[must_use]
    pub fn get(&self, code: u8) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == code).map(|(_, text)| text)
    }

    /// Field `C`; `None` if the server sent none or nonsense.
    #[must_use]
    pub fn sqlstate(&self) -> Option<SqlState> {
        self.get(b'C').and_then(SqlState::from_bytes)
    }

    /// Field `V`, which no locale changes, or else `S`.
    #[must_use]
    pub fn severity(&self) -> Option<Severity> {
        self.get(b'V').or_else(|| self.get(b'S')).and_then(Severity::from_bytes)
    }

    /// Field `M`, for logs: what isn't UTF-8 in it is replaced.
    #[must_use]
    pub fn message(&self) -> Cow<'a, str> {
        String::from_utf8_lossy(self.get(b'M').unwrap_or_default())
    }

    /// A report of our own with the same content (positions, tables and the like left out): to tell a client
    /// why a server refused pgweir, or to log it.
    #[must_use]
    pub fn to_report(&self) -> ErrorReport {
        let text = |code| self.get(code).map(|text| Cow::Owned(String::from_utf8_lossy(text).into_owned()));
        ErrorReport {
            severity: self.severity().unwrap_or(Severity::Error),
            code: self.sqlstate().unwrap_or(SqlState::INTERNAL_ERROR),
            message: text(b'M').unwrap_or_default(),
            detail: text(b'D'),
            hint: text(b'H'),
        }
    }
}
