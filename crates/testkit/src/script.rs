//! Bytes that a client sends, put together message by message.

/// A pipeline of messages. Each method appends one; [`Script::bytes`] is the whole.
///
/// Lengths and counts are as the protocol says; for malformed input append with [`Script::raw`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    bytes: Vec<u8>,
}

impl Script {
    /// Nothing yet.
    pub fn new() -> Script {
        Script::default()
    }

    /// All messages so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Script {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// A message of any type.
    pub fn message(mut self, tag: u8, body: &[u8]) -> Script {
        self.bytes.push(tag);
        self.bytes.extend(int4(body.len() + 4));
        self.raw(body)
    }

    /// Query.
    pub fn query(self, sql: &str) -> Script {
        self.message(b'Q', &cstring(sql))
    }

    /// Parse; `types` are OIDs, which may be fewer than the parameters.
    pub fn parse(self, statement: &str, sql: &str, types: &[u32]) -> Script {
        let types = types.iter().flat_map(|oid| oid.to_be_bytes()).collect::<Vec<_>>();
        let body = [cstring(statement), cstring(sql), int2(types.len() / 4), types].concat();
        self.message(b'P', &body)
    }

    /// Bind with values and results in text; `None` is NULL.
    pub fn bind(self, portal: &str, statement: &str, values: &[Option<&str>]) -> Script {
        let values: Vec<_> = values.iter().map(|value| value.map(str::as_bytes)).collect();
        self.bind_as(portal, statement, &[], &values, &[])
    }

    /// Bind with format codes (0 text, 1 binary; none: all text, one: for all).
    pub fn bind_as(
        self,
        portal: &str,
        statement: &str,
        formats: &[u16],
        values: &[Option<&[u8]>],
        results: &[u16],
    ) -> Script {
        let body =
            [cstring(portal), cstring(statement), list(formats), values_of(values), list(results)].concat();
        self.message(b'B', &body)
    }

    /// Describe of a statement.
    pub fn describe_statement(self, statement: &str) -> Script {
        self.message(b'D', &[b"S", &*cstring(statement)].concat())
    }

    /// Describe of a portal.
    pub fn describe_portal(self, portal: &str) -> Script {
        self.message(b'D', &[b"P", &*cstring(portal)].concat())
    }

    /// Execute; at most `limit` rows, 0: all.
    pub fn execute(self, portal: &str, limit: u32) -> Script {
        self.message(b'E', &[cstring(portal), limit.to_be_bytes().to_vec()].concat())
    }

    /// Close of a statement.
    pub fn close_statement(self, statement: &str) -> Script {
        self.message(b'C', &[b"S", &*cstring(statement)].concat())
    }

    /// Close of a portal.
    pub fn close_portal(self, portal: &str) -> Script {
        self.message(b'C', &[b"P", &*cstring(portal)].concat())
    }

    /// Sync.
    pub fn sync(self) -> Script {
        self.message(b'S', b"")
    }

    /// Flush.
    pub fn flush(self) -> Script {
        self.message(b'H', b"")
    }

    /// Parse, Bind, Describe, Execute of the unnamed statement, without Sync.
    pub fn run(self, sql: &str, values: &[Option<&str>]) -> Script {
        self.parse("", sql, &[]).bind("", "", values).describe_portal("").execute("", 0)
    }

    /// CopyData.
    pub fn copy_data(self, data: &[u8]) -> Script {
        self.message(b'd', data)
    }

    /// CopyDone.
    pub fn copy_done(self) -> Script {
        self.message(b'c', b"")
    }

    /// CopyFail.
    pub fn copy_fail(self, reason: &str) -> Script {
        self.message(b'f', &cstring(reason))
    }

    /// FunctionCall of a function by its OID, all in text.
    pub fn function_call(self, function: u32, arguments: &[Option<&str>]) -> Script {
        let values: Vec<_> = arguments.iter().map(|value| value.map(str::as_bytes)).collect();
        let body = [function.to_be_bytes().to_vec(), int2(0), values_of(&values), int2(0)].concat();
        self.message(b'F', &body)
    }

    /// Terminate.
    pub fn terminate(self) -> Script {
        self.message(b'X', b"")
    }

    /// How many ReadyForQuery a server answers with: one for each Query, Sync and FunctionCall. (Of COPY in
    /// the extended protocol the test knows better.)
    pub fn ready_count(&self) -> usize {
        let mut rest = self.bytes.as_slice();
        let mut count = 0;
        while let [tag, a, b, c, d, ..] = rest {
            count += usize::from(matches!(tag, b'Q' | b'S' | b'F'));
            let length = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX);
            rest = rest.get(length.saturating_add(1)..).unwrap_or_default();
        }
        count
    }
}

/// A startup packet of that protocol version.
pub(crate) fn startup(protocol: (u16, u16), parameters: &[(String, String)]) -> Vec<u8> {
    let mut body = [protocol.0.to_be_bytes(), protocol.1.to_be_bytes()].concat();
    for (name, value) in parameters {
        body.extend([cstring(name), cstring(value)].concat());
    }
    body.push(0);
    [int4(body.len() + 4), body].concat()
}

/// Text with its terminator.
pub(crate) fn cstring(text: &str) -> Vec<u8> {
    [text.as_bytes(), b"\0"].concat()
}

/// A length. Tests don't build messages of 4 GB.
pub(crate) fn int4(number: usize) -> Vec<u8> {
    u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes().to_vec()
}

fn int2(number: usize) -> Vec<u8> {
    u16::try_from(number).unwrap_or(u16::MAX).to_be_bytes().to_vec()
}

fn list(numbers: &[u16]) -> Vec<u8> {
    [int2(numbers.len()), numbers.iter().flat_map(|number| number.to_be_bytes()).collect()].concat()
}

fn values_of(values: &[Option<&[u8]>]) -> Vec<u8> {
    let value = |value: &Option<&[u8]>| match value {
        Some(bytes) => [int4(bytes.len()), bytes.to_vec()].concat(),
        None => (-1_i32).to_be_bytes().to_vec(),
    };
    [int2(values.len()), values.iter().flat_map(value).collect()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_as_the_protocol_says() {
        assert_eq!(Script::new().query("x").bytes(), b"Q\0\0\0\x06x\0");
        assert_eq!(Script::new().parse("s", "x", &[23]).bytes(), b"P\0\0\0\x0es\0x\0\0\x01\0\0\0\x17");
        let bind = Script::new().bind("p", "s", &[Some("v"), None]);
        assert_eq!(bind.bytes(), b"B\0\0\0\x17p\0s\0\0\0\0\x02\0\0\0\x01v\xff\xff\xff\xff\0\0");
        assert_eq!(Script::new().execute("", 7).sync().bytes(), b"E\0\0\0\x09\0\0\0\0\x07S\0\0\0\x04");
        assert_eq!(Script::new().query("x").run("y", &[]).sync().flush().ready_count(), 2);
        assert_eq!(startup((3, 0), &[("a".into(), "b".into())]), b"\0\0\0\x0d\0\x03\0\0a\0b\0\0");
    }
}
