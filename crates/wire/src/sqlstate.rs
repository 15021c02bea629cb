//! The SQLSTATEs that a pooler raises or reacts to, one row each with its condition name.
//!
//! Source: Postgres documentation, appendix "PostgreSQL Error Codes".

use std::fmt;

/// A five-character error code, e.g. `08P01`.
///
/// Any code of a server fits, not only those of the table: [`SqlState::from_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SqlState([u8; 5]);

impl SqlState {
    /// The code in these bytes, if they are five upper-case letters or digits.
    #[must_use]
    pub fn from_bytes(code: &[u8]) -> Option<Self> {
        let code: [u8; 5] = code.try_into().ok()?;
        code.iter().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit()).then_some(Self(code))
    }

    /// The five characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Both ways to make a value admit ASCII only, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or("XX000")
    }

    /// The first two characters, e.g. `08` for connection exceptions.
    #[must_use]
    pub fn class(&self) -> &str {
        &self.as_str()[..2]
    }

    /// Whether a server that says so ends, or hasn't begun yet.
    #[must_use]
    pub fn is_server_going(&self) -> bool {
        [Self::ADMIN_SHUTDOWN, Self::CRASH_SHUTDOWN, Self::CANNOT_CONNECT_NOW].contains(self)
    }

    /// The condition name, e.g. `protocol_violation`, if the code is one of the table.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        TABLE.iter().find(|(code, _)| code == self).map(|(_, name)| *name)
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SqlState({})", self.as_str())
    }
}

macro_rules! sqlstates {
    ($($code:literal $constant:ident $name:literal)*) => {
        impl SqlState {
            $(
                #[doc = concat!("`", $name, "`")]
                pub const $constant: SqlState = SqlState(*$code);
            )*
        }

        /// Every named code with its condition name.
        pub const TABLE: &[(SqlState, &str)] = &[$((SqlState::$constant, $name)),*];
    };
}

sqlstates! {
    b"00000" SUCCESSFUL_COMPLETION "successful_completion"
    b"01000" WARNING "warning"
    b"08000" CONNECTION_EXCEPTION "connection_exception"
    b"08001" CANNOT_CONNECT "sqlclient_unable_to_establish_sqlconnection"
    b"08003" CONNECTION_DOES_NOT_EXIST "connection_does_not_exist"
    b"08004" CONNECTION_REJECTED "sqlserver_rejected_establishment_of_sqlconnection"
    b"08006" CONNECTION_FAILURE "connection_failure"
    b"08007" TRANSACTION_RESOLUTION_UNKNOWN "transaction_resolution_unknown"
    b"08P01" PROTOCOL_VIOLATION "protocol_violation"
    b"0A000" FEATURE_NOT_SUPPORTED "feature_not_supported"
    b"22021" CHARACTER_NOT_IN_REPERTOIRE "character_not_in_repertoire"
    b"22023" INVALID_PARAMETER_VALUE "invalid_parameter_value"
    b"22P02" INVALID_TEXT_REPRESENTATION "invalid_text_representation"
    b"23505" UNIQUE_VIOLATION "unique_violation"
    b"25000" INVALID_TRANSACTION_STATE "invalid_transaction_state"
    b"25001" ACTIVE_SQL_TRANSACTION "active_sql_transaction"
    b"25006" READ_ONLY_SQL_TRANSACTION "read_only_sql_transaction"
    b"25P01" NO_ACTIVE_SQL_TRANSACTION "no_active_sql_transaction"
    b"25P02" IN_FAILED_SQL_TRANSACTION "in_failed_sql_transaction"
    b"25P03" IDLE_IN_TRANSACTION_SESSION_TIMEOUT "idle_in_transaction_session_timeout"
    b"25P04" TRANSACTION_TIMEOUT "transaction_timeout"
    b"26000" INVALID_SQL_STATEMENT_NAME "invalid_sql_statement_name"
    b"28000" INVALID_AUTHORIZATION_SPECIFICATION "invalid_authorization_specification"
    b"28P01" INVALID_PASSWORD "invalid_password"
    b"34000" INVALID_CURSOR_NAME "invalid_cursor_name"
    b"3D000" INVALID_CATALOG_NAME "invalid_catalog_name"
    b"3F000" INVALID_SCHEMA_NAME "invalid_schema_name"
    b"40000" TRANSACTION_ROLLBACK "transaction_rollback"
    b"40001" SERIALIZATION_FAILURE "serialization_failure"
    b"40003" STATEMENT_COMPLETION_UNKNOWN "statement_completion_unknown"
    b"40P01" DEADLOCK_DETECTED "deadlock_detected"
    b"42501" INSUFFICIENT_PRIVILEGE "insufficient_privilege"
    b"42601" SYNTAX_ERROR "syntax_error"
    b"42704" UNDEFINED_OBJECT "undefined_object"
    b"42P01" UNDEFINED_TABLE "undefined_table"
    b"42P03" DUPLICATE_CURSOR "duplicate_cursor"
    b"42P05" DUPLICATE_PREPARED_STATEMENT "duplicate_prepared_statement"
    b"53000" INSUFFICIENT_RESOURCES "insufficient_resources"
    b"53200" OUT_OF_MEMORY "out_of_memory"
    b"53300" TOO_MANY_CONNECTIONS "too_many_connections"
    b"53400" CONFIGURATION_LIMIT_EXCEEDED "configuration_limit_exceeded"
    b"54000" PROGRAM_LIMIT_EXCEEDED "program_limit_exceeded"
    b"54001" STATEMENT_TOO_COMPLEX "statement_too_complex"
    b"55000" OBJECT_NOT_IN_PREREQUISITE_STATE "object_not_in_prerequisite_state"
    b"55006" OBJECT_IN_USE "object_in_use"
    b"55P03" LOCK_NOT_AVAILABLE "lock_not_available"
    b"57000" OPERATOR_INTERVENTION "operator_intervention"
    b"57014" QUERY_CANCELED "query_canceled"
    b"57P01" ADMIN_SHUTDOWN "admin_shutdown"
    b"57P02" CRASH_SHUTDOWN "crash_shutdown"
    b"57P03" CANNOT_CONNECT_NOW "cannot_connect_now"
    b"57P04" DATABASE_DROPPED "database_dropped"
    b"57P05" IDLE_SESSION_TIMEOUT "idle_session_timeout"
    b"58000" SYSTEM_ERROR "system_error"
    b"58030" IO_ERROR "io_error"
    b"F0000" CONFIG_FILE_ERROR "config_file_error"
    b"XX000" INTERNAL_ERROR "internal_error"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_a_valid_code_and_stands_once() {
        for (at, (code, name)) in TABLE.iter().enumerate() {
            assert_eq!(SqlState::from_bytes(code.as_str().as_bytes()), Some(*code));
            assert_eq!(code.name(), Some(*name));
            assert!(
                TABLE[..at].iter().all(|(other, _)| other.as_str() < code.as_str()),
                "{code} out of order"
            );
        }
    }

    #[test]
    fn foreign_codes_fit_and_nonsense_does_not() {
        let custom = SqlState::from_bytes(b"P0001").unwrap();
        assert_eq!((custom.as_str(), custom.class(), custom.name()), ("P0001", "P0", None));
        for bad in [&b""[..], b"0800", b"080000", b"08p01", b"08\0P1", "08é0".as_bytes()] {
            assert_eq!(SqlState::from_bytes(bad), None, "{bad:?}");
        }
    }
}
