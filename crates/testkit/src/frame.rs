//! Messages from a server, as a test looks at them.

use std::fmt;

/// A whole message.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    /// The message's type.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

/// What an ErrorResponse or NoticeResponse says.
#[derive(Debug, Clone, PartialEq, Eq, Default, thiserror::Error)]
#[error("{severity} {code}: {message}")]
pub struct ServerError {
    /// Not localised, such as `ERROR` (field V).
    pub severity: String,
    /// SQLSTATE (C).
    pub code: String,
    /// M.
    pub message: String,
    /// D.
    pub detail: Option<String>,
    /// H.
    pub hint: Option<String>,
}

impl Frame {
    /// The message as it was on the wire.
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = u32::try_from(self.body.len() + 4).unwrap_or(u32::MAX);
        [&[self.tag][..], &length.to_be_bytes(), &self.body].concat()
    }

    /// A field of an ErrorResponse or NoticeResponse, by its letter.
    pub fn field(&self, letter: u8) -> Option<String> {
        let fields = self.body.split(|byte| *byte == 0);
        fields
            .filter_map(|field| field.split_first())
            .find(|(name, _)| **name == letter)
            .map(|(_, text)| lossy(text))
    }

    /// What an ErrorResponse or NoticeResponse says; `None` for other messages.
    pub fn server_error(&self) -> Option<ServerError> {
        matches!(self.tag, b'E' | b'N').then(|| ServerError {
            severity: self.field(b'V').unwrap_or_default(),
            code: self.field(b'C').unwrap_or_default(),
            message: self.field(b'M').unwrap_or_default(),
            detail: self.field(b'D'),
            hint: self.field(b'H'),
        })
    }

    /// The values of a DataRow; `None` for other messages and for a DataRow that isn't well formed.
    pub fn values(&self) -> Option<Vec<Option<&[u8]>>> {
        if self.tag != b'D' {
            return None;
        }
        let (count, mut rest) = self.body.split_first_chunk::<2>()?;
        let mut values = Vec::new();
        for _ in 0..u16::from_be_bytes(*count) {
            let (length, after) = rest.split_first_chunk::<4>()?;
            let length = i32::from_be_bytes(*length);
            let (value, after) = match usize::try_from(length) {
                Ok(length) => (Some(after.get(..length)?), after.get(length..)?),
                Err(_) if length == -1 => (None, after),
                Err(_) => return None,
            };
            values.push(value);
            rest = after;
        }
        rest.is_empty().then_some(values)
    }

    /// Name and value of a ParameterStatus.
    pub fn parameter(&self) -> Option<(String, String)> {
        if self.tag != b'S' {
            return None;
        }
        let mut texts = self.body.split(|byte| *byte == 0).map(lossy);
        texts.next().zip(texts.next())
    }

    /// The tag of a CommandComplete, such as `INSERT 0 1`.
    pub fn command_tag(&self) -> Option<String> {
        (self.tag == b'C').then(|| lossy(self.body.strip_suffix(&[0]).unwrap_or(&self.body)))
    }

    /// The transaction status of a ReadyForQuery: `I`, `T` or `E`.
    pub fn status(&self) -> Option<char> {
        (self.tag == b'Z').then(|| self.body.first().copied().map(char::from)).flatten()
    }
}

/// Readable where a test fails: `C "SELECT 1"`, `E 42P01 "…"`, `D ["1", NULL]`.
impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", char::from(self.tag))?;
        if let Some(error) = self.server_error() {
            return write!(f, " {} {:?}", error.code, error.message);
        }
        if let Some(values) = self.values() {
            let shown = values
                .into_iter()
                .map(|value| value.map_or("NULL".to_owned(), |v| format!("{:?}", lossy(v))));
            return write!(f, " [{}]", shown.collect::<Vec<_>>().join(", "));
        }
        write!(f, " \"{}\"", self.body.escape_ascii())
    }
}

/// The tags of the frames, as text: `TDCZ`.
pub fn tags(frames: &[Frame]) -> String {
    frames.iter().map(|frame| char::from(frame.tag)).collect()
}

/// The DataRows as text, NULL as `None`.
pub fn rows(frames: &[Frame]) -> Vec<Vec<Option<String>>> {
    let rows = frames.iter().filter_map(Frame::values);
    rows.map(|row| row.into_iter().map(|value| value.map(lossy)).collect()).collect()
}

/// The first ErrorResponse.
pub fn first_error(frames: &[Frame]) -> Option<ServerError> {
    frames.iter().find(|frame| frame.tag == b'E').and_then(Frame::server_error)
}

/// Takes out what may differ between two connections that behave the same: BackendKeyData goes, runs of
/// ParameterStatus are sorted, the process id in a NotificationResponse becomes 0.
pub fn normalize(frames: Vec<Frame>) -> Vec<Frame> {
    let mut frames: Vec<Frame> = frames.into_iter().filter(|frame| frame.tag != b'K').collect();
    for frame in frames.iter_mut().filter(|frame| frame.tag == b'A') {
        frame.body.iter_mut().take(4).for_each(|byte| *byte = 0);
    }
    for run in frames.chunk_by_mut(|a, b| a.tag == b'S' && b.tag == b'S') {
        run.sort_by(|a, b| a.body.cmp(&b.body));
    }
    frames
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(tag: u8, body: &[u8]) -> Frame {
        Frame { tag, body: body.to_vec() }
    }

    #[test]
    fn a_row_is_read_whole_or_not_at_all() {
        let row = frame(b'D', b"\0\x02\0\0\0\x01x\xff\xff\xff\xff");
        assert_eq!(row.values(), Some(vec![Some(&b"x"[..]), None]));
        assert_eq!(format!("{row:?}"), "D [\"x\", NULL]");
        for broken in
            [&b"\0\x02\0\0\0\x01x"[..], b"\0\x01\0\0\0\x09x", b"\0\x01\xff\xff\xff\xfe", b"\0\0x", b"\0"]
        {
            assert_eq!(frame(b'D', broken).values(), None, "{broken:?}");
        }
    }

    #[test]
    fn what_may_differ_is_taken_out_and_nothing_else() {
        let frames = vec![
            frame(b'S', b"b\0"),
            frame(b'S', b"a\0"),
            frame(b'K', b"12345678"),
            frame(b'Z', b"I"),
            frame(b'S', b"c\0"),
            frame(b'A', b"\x01\x02\x03\x04name\0"),
        ];
        let expected = vec![
            frame(b'S', b"a\0"),
            frame(b'S', b"b\0"),
            frame(b'Z', b"I"),
            frame(b'S', b"c\0"),
            frame(b'A', b"\0\0\0\0name\0"),
        ];
        assert_eq!(normalize(frames), expected);
    }

    #[test]
    fn fields_of_an_error() {
        let error = frame(b'E', b"SFEHLER\0VERROR\0C42P01\0Mno table\0\0").server_error().unwrap();
        assert_eq!(error.to_string(), "ERROR 42P01: no table");
        assert_eq!((error.detail, error.hint), (None, None));
    }
}
