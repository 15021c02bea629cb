//! What a client is told when something fails: severity, SQLSTATE, message, DETAIL, HINT.

use std::borrow::Cow;
use std::fmt;

use crate::encode::EncodeError;
use crate::frame::{FrameError, MessageError};
use crate::sqlstate::SqlState;

/// How bad it is. Postgres documentation, "Error and Notice Message Fields".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// The statement failed.
    Error,
    /// The connection ends.
    Fatal,
    /// All connections of the server end.
    Panic,
    /// A NoticeResponse that deserves attention.
    Warning,
    /// A NoticeResponse that helps.
    Notice,
    /// A NoticeResponse asked for by the user's command.
    Info,
    /// A NoticeResponse of interest to administrators.
    Log,
    /// A NoticeResponse for developers.
    Debug,
}

impl Severity {
    /// As it stands in field `S` and `V`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Fatal => "FATAL",
            Self::Panic => "PANIC",
            Self::Warning => "WARNING",
            Self::Notice => "NOTICE",
            Self::Info => "INFO",
            Self::Log => "LOG",
            Self::Debug => "DEBUG",
        }
    }

    /// The severity of a (not localised) field `V`.
    #[must_use]
    pub fn from_bytes(text: &[u8]) -> Option<Self> {
        Some(match text {
            b"ERROR" => Self::Error,
            b"FATAL" => Self::Fatal,
            b"PANIC" => Self::Panic,
            b"WARNING" => Self::Warning,
            b"NOTICE" => Self::Notice,
            b"INFO" => Self::Info,
            b"LOG" => Self::Log,
            b"DEBUG" => Self::Debug,
            _ => return None,
        })
    }

    /// Does the connection end with it?
    #[must_use]
    pub const fn ends_connection(self) -> bool {
        matches!(self, Self::Fatal | Self::Panic)
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The content of an ErrorResponse or NoticeResponse that pgweir itself writes.
///
/// Never put a password, a key or an SQL literal into one: it is logged as well as sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReport {
    /// How bad it is.
    pub severity: Severity,
    /// The SQLSTATE.
    pub code: SqlState,
    /// One line, no full stop at its end.
    pub message: Cow<'static, str>,
    /// DETAIL: whole sentences that say why.
    pub detail: Option<Cow<'static, str>>,
    /// HINT: whole sentences that say what to change.
    pub hint: Option<Cow<'static, str>>,
}

impl ErrorReport {
    /// A report without DETAIL and HINT.
    #[must_use]
    pub fn new(severity: Severity, code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self { severity, code, message: message.into(), detail: None, hint: None }
    }

    /// A failed statement; the connection goes on.
    #[must_use]
    pub fn error(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Error, code, message)
    }

    /// The connection ends.
    #[must_use]
    pub fn fatal(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Fatal, code, message)
    }

    /// A warning, for [`crate::encode::notice_response`].
    #[must_use]
    pub fn warning(code: SqlState, message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Warning, code, message)
    }

    /// A notice, for [`crate::encode::notice_response`].
    #[must_use]
    pub fn notice(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Severity::Notice, SqlState::SUCCESSFUL_COMPLETION, message)
    }

    /// With this DETAIL.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = Some(detail.into());
        self
    }

    /// With this HINT.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same report at another severity.
    #[must_use]
    pub fn with_severity(mut self, severity: Severity) -> Self {
        self.severity = severity;
        self
    }
}

impl fmt::Display for ErrorReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.severity, self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, " DETAIL: {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " HINT: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ErrorReport {}

/// A frame that can't be delimited: nothing after it can be understood, so the connection ends.
impl From<FrameError> for ErrorReport {
    fn from(error: FrameError) -> Self {
        Self::fatal(error.sqlstate(), error.to_string())
    }
}

/// A frame whose content is malformed: the stream is still in step, so it is an error of this message only.
impl From<MessageError> for ErrorReport {
    fn from(error: MessageError) -> Self {
        Self::error(error.sqlstate(), error.to_string())
    }
}

/// A message that can't be written: what it was to do fails, the connection goes on.
impl From<EncodeError> for ErrorReport {
    fn from(error: EncodeError) -> Self {
        Self::error(error.sqlstate(), error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_all_that_it_says() {
        let report = ErrorReport::error(SqlState::TOO_MANY_CONNECTIONS, "pool \"app\" is full")
            .with_detail("16 of 16 connections are in use.")
            .with_hint("Raise pool.size.");
        assert_eq!(
            report.to_string(),
            "ERROR: pool \"app\" is full (53300) DETAIL: 16 of 16 connections are in use. HINT: Raise pool.size."
        );
        assert!(!report.severity.ends_connection());
        assert!(report.with_severity(Severity::Fatal).severity.ends_connection());
    }

    #[test]
    fn severities_read_back() {
        for severity in [
            Severity::Error,
            Severity::Fatal,
            Severity::Panic,
            Severity::Warning,
            Severity::Notice,
            Severity::Info,
            Severity::Log,
            Severity::Debug,
        ] {
            assert_eq!(Severity::from_bytes(severity.as_str().as_bytes()), Some(severity));
        }
        assert_eq!(Severity::from_bytes(b"FEHLER"), None);
    }

    #[test]
    fn a_bad_length_is_fatal_and_a_bad_body_is_not() {
        let fatal: ErrorReport = FrameError::TooShort(3).into();
        assert_eq!((fatal.severity, fatal.code), (Severity::Fatal, SqlState::PROTOCOL_VIOLATION));
        let error: ErrorReport = MessageError::Truncated.into();
        assert_eq!((error.severity, error.code), (Severity::Error, SqlState::PROTOCOL_VIOLATION));
    }
}
