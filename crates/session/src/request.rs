//! Where a request of the client ends: one Query, or a pipeline of extended messages up to its Sync.

use wire::frame::{self, FrameError, Head};
use wire::frontend::BindHead;
use wire::tag;

/// A text longer than this isn't analyzed: it passes in parts, to the primary.
pub(crate) const MAX_TEXT: usize = 16 << 20;
/// A pipeline is held up to its Sync for as long as it is no longer than this.
const MAX_PIPELINE: usize = 64 << 10;

/// What is in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Not enough to tell; so many bytes in all would help.
    Incomplete(usize),
    /// A Query, or a FunctionCall, whole.
    Single { total: usize },
    /// A Query that is too long to hold.
    Long,
    /// Extended messages. `synced`: up to and with their Sync; otherwise they go on, and what is in hand of whole
    /// messages is `total`.
    Pipeline { total: usize, synced: bool },
    /// CopyData, CopyDone or CopyFail when no COPY is going on: ignored, as Postgres does.
    Stray { total: usize },
    /// Goodbye.
    Terminate,
    /// Not a message that a client may send.
    Invalid(u8),
}

/// Looks at what is in hand.
///
/// # Errors
/// A length that no message can have.
pub(crate) fn delimit(pending: &[u8], max_body: usize) -> Result<Request, FrameError> {
    let Some(head) = frame::peek(pending, max_body)? else { return Ok(Request::Incomplete(0)) };
    match head.tag {
        tag::QUERY | tag::FUNCTION_CALL if head.total > MAX_TEXT => Ok(Request::Long),
        tag::QUERY | tag::FUNCTION_CALL if pending.len() < head.total => Ok(Request::Incomplete(head.total)),
        tag::QUERY | tag::FUNCTION_CALL => Ok(Request::Single { total: head.total }),
        tag::TERMINATE => Ok(Request::Terminate),
        tag::COPY_DATA | tag::COPY_DONE | tag::COPY_FAIL => Ok(Request::Stray { total: head.total }),
        tag if is_extended(tag) => delimit_pipeline(pending, max_body),
        other => Ok(Request::Invalid(other)),
    }
}

fn delimit_pipeline(pending: &[u8], max_body: usize) -> Result<Request, FrameError> {
    let mut at = 0;
    loop {
        let head = match frame::peek(&pending[at..], max_body) {
            Ok(Some(head)) => head,
            Ok(None) => break,
            // What came before it is answered first.
            Err(_) if at > 0 => return Ok(Request::Pipeline { total: at, synced: false }),
            Err(error) => return Err(error),
        };
        if !is_extended(head.tag) {
            // A Query or a Terminate in the middle of a pipeline: what came before it is a request of its own.
            return Ok(Request::Pipeline { total: at, synced: false });
        }
        if at + head.total > pending.len() {
            return match at {
                0 if head.total > MAX_PIPELINE => delimit_long(pending, head),
                // What comes after the first ones is taken message by message.
                1.. if at + head.total > MAX_PIPELINE => Ok(Request::Pipeline { total: at, synced: false }),
                _ => Ok(Request::Incomplete(at + head.total)),
            };
        }
        at += head.total;
        match head.tag {
            tag::SYNC => return Ok(Request::Pipeline { total: at, synced: true }),
            tag::FLUSH => return Ok(Request::Pipeline { total: at, synced: false }),
            _ if at > MAX_PIPELINE => return Ok(Request::Pipeline { total: at, synced: false }),
            _ => {}
        }
    }
    Ok(Request::Incomplete(0))
}

/// A long message that begins a pipeline: held whole as far as a text may be, so that its values can be looked at. A
/// Bind that is longer still passes in parts, once its names are in hand.
fn delimit_long(pending: &[u8], head: Head) -> Result<Request, FrameError> {
    if head.total <= MAX_TEXT {
        return Ok(Request::Incomplete(head.total));
    }
    let names = match head.tag {
        tag::BIND => BindHead::parse(frame::body(pending), head.body()),
        _ => return Err(FrameError::TooLong { body: head.body(), max: MAX_TEXT }),
    };
    match names {
        Ok(None) if pending.len() > MAX_PIPELINE => {
            Err(FrameError::TooLong { body: pending.len(), max: MAX_PIPELINE })
        }
        Ok(None) => Ok(Request::Incomplete(MAX_PIPELINE)),
        Ok(Some(_)) | Err(_) => Ok(Request::Pipeline { total: head.total, synced: false }),
    }
}

/// A message of the extended protocol.
#[inline]
pub(crate) fn is_extended(tag: u8) -> bool {
    matches!(tag, tag::PARSE | tag::BIND | tag::DESCRIBE | tag::EXECUTE | tag::CLOSE | tag::FLUSH | tag::SYNC)
}

#[cfg(test)]
mod tests {
    use super::{Request, delimit};
    use wire::encode;
    use wire::frame::MAX_BODY;

    fn parse_and(then: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode::parse(&mut bytes, b"", b"SELECT 1", &[]).unwrap();
        then(&mut bytes);
        bytes
    }

    #[test]
    fn a_query_is_a_request_once_it_is_whole() {
        let mut bytes = Vec::new();
        encode::query(&mut bytes, b"SELECT 1").unwrap();
        let total = bytes.len();
        assert_eq!(delimit(&bytes, MAX_BODY), Ok(Request::Single { total }));
        assert_eq!(delimit(&bytes[..total - 1], MAX_BODY), Ok(Request::Incomplete(total)));
        assert_eq!(delimit(&bytes[..3], MAX_BODY), Ok(Request::Incomplete(0)));
    }

    #[test]
    fn a_pipeline_ends_at_its_sync_or_flush() {
        let synced = parse_and(encode::sync);
        let total = synced.len();
        assert_eq!(delimit(&synced, MAX_BODY), Ok(Request::Pipeline { total, synced: true }));
        let flushed = parse_and(encode::flush);
        assert_eq!(delimit(&flushed, MAX_BODY), Ok(Request::Pipeline { total, synced: false }));
        assert_eq!(delimit(&parse_and(|_| {}), MAX_BODY), Ok(Request::Incomplete(0)));
    }

    #[test]
    fn what_comes_before_a_query_in_a_pipeline_is_a_request_of_its_own() {
        let bytes = parse_and(|bytes| encode::query(bytes, b"SELECT 1").unwrap());
        assert!(
            matches!(delimit(&bytes, MAX_BODY), Ok(Request::Pipeline { total, synced: false }) if total < bytes.len())
        );
    }
}
