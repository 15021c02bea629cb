//! The type bytes of all messages, by the names that the protocol chapter gives them.
//!
//! A byte may mean two things, one in each direction: the constants of one direction stand together.
//! Source: Postgres documentation, "Message Formats".

/// Frontend: Bind.
pub const BIND: u8 = b'B';
/// Frontend: Close a statement or portal.
pub const CLOSE: u8 = b'C';
/// Frontend: Describe a statement or portal.
pub const DESCRIBE: u8 = b'D';
/// Frontend: Execute a portal.
pub const EXECUTE: u8 = b'E';
/// Frontend: CopyFail.
pub const COPY_FAIL: u8 = b'f';
/// Frontend: FunctionCall.
pub const FUNCTION_CALL: u8 = b'F';
/// Frontend: Flush.
pub const FLUSH: u8 = b'H';
/// Frontend: Parse.
pub const PARSE: u8 = b'P';
/// Frontend: PasswordMessage, SASLInitialResponse, SASLResponse and GSSResponse; which one, the context says.
pub const PASSWORD: u8 = b'p';
/// Frontend: a simple Query.
pub const QUERY: u8 = b'Q';
/// Frontend: Sync.
pub const SYNC: u8 = b'S';
/// Frontend: Terminate.
pub const TERMINATE: u8 = b'X';

/// Both directions: CopyData.
pub const COPY_DATA: u8 = b'd';
/// Both directions: CopyDone.
pub const COPY_DONE: u8 = b'c';

/// Backend: every Authentication message.
pub const AUTHENTICATION: u8 = b'R';
/// Backend: BackendKeyData.
pub const BACKEND_KEY_DATA: u8 = b'K';
/// Backend: BindComplete.
pub const BIND_COMPLETE: u8 = b'2';
/// Backend: CloseComplete.
pub const CLOSE_COMPLETE: u8 = b'3';
/// Backend: CommandComplete.
pub const COMMAND_COMPLETE: u8 = b'C';
/// Backend: CopyInResponse.
pub const COPY_IN_RESPONSE: u8 = b'G';
/// Backend: CopyOutResponse.
pub const COPY_OUT_RESPONSE: u8 = b'H';
/// Backend: CopyBothResponse.
pub const COPY_BOTH_RESPONSE: u8 = b'W';
/// Backend: DataRow.
pub const DATA_ROW: u8 = b'D';
/// Backend: EmptyQueryResponse.
pub const EMPTY_QUERY_RESPONSE: u8 = b'I';
/// Backend: ErrorResponse.
pub const ERROR_RESPONSE: u8 = b'E';
/// Backend: FunctionCallResponse.
pub const FUNCTION_CALL_RESPONSE: u8 = b'V';
/// Backend: NegotiateProtocolVersion.
pub const NEGOTIATE_PROTOCOL_VERSION: u8 = b'v';
/// Backend: NoData.
pub const NO_DATA: u8 = b'n';
/// Backend: NoticeResponse.
pub const NOTICE_RESPONSE: u8 = b'N';
/// Backend: NotificationResponse.
pub const NOTIFICATION_RESPONSE: u8 = b'A';
/// Backend: ParameterDescription.
pub const PARAMETER_DESCRIPTION: u8 = b't';
/// Backend: ParameterStatus.
pub const PARAMETER_STATUS: u8 = b'S';
/// Backend: ParseComplete.
pub const PARSE_COMPLETE: u8 = b'1';
/// Backend: PortalSuspended.
pub const PORTAL_SUSPENDED: u8 = b's';
/// Backend: ReadyForQuery.
pub const READY_FOR_QUERY: u8 = b'Z';
/// Backend: RowDescription.
pub const ROW_DESCRIPTION: u8 = b'T';

/// Is this the type byte of a message that a client may send at all, once it is authenticated?
///
/// A password message isn't in it: after authentication Postgres takes `p` for an unknown message.
#[inline]
#[must_use]
pub const fn is_frontend(tag: u8) -> bool {
    matches!(
        tag,
        BIND | CLOSE
            | DESCRIBE
            | EXECUTE
            | COPY_FAIL
            | FUNCTION_CALL
            | FLUSH
            | PARSE
            | QUERY
            | SYNC
            | TERMINATE
            | COPY_DATA
            | COPY_DONE
    )
}
