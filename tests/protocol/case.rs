//! A conversation: what a client sends, and how much of an answer it waits for before it goes on.

use std::cell::Cell;

use testkit::{Client, Error, Frame, Script, normalize};

/// A conversation with a name.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) turns: Vec<Turn>,
    /// Short enough to be sent byte by byte.
    pub(crate) fragmented: bool,
    /// The server ends the connection, or the client does without a goodbye.
    pub(crate) ends: bool,
}

/// One turn of a conversation.
pub(crate) struct Turn {
    send: Vec<u8>,
    wait: Wait,
}

/// What a client waits for.
enum Wait {
    /// So many ReadyForQuery.
    Ready(usize),
    /// So many messages of that type.
    Tags(u8, usize),
    /// The end of the connection.
    Closed,
    /// Nothing.
    Nothing,
}

impl Case {
    pub(crate) fn new(name: &'static str) -> Case {
        Case { name, turns: Vec::new(), fragmented: false, ends: false }
    }

    /// Sends, and waits for as many ReadyForQuery as the script asks for.
    pub(crate) fn ask(self, script: Script) -> Case {
        let ready = script.ready_count();
        self.ask_for(script, ready)
    }

    /// One Query.
    pub(crate) fn query(self, sql: &str) -> Case {
        self.ask(Script::new().query(sql))
    }

    /// Sends, and waits for so many ReadyForQuery: where COPY makes the server ignore a Sync.
    pub(crate) fn ask_for(self, script: Script, ready: usize) -> Case {
        self.turn(script, Wait::Ready(ready))
    }

    /// Sends, and waits for so many messages of a type: where no ReadyForQuery comes.
    pub(crate) fn until(self, script: Script, tag: u8, count: usize) -> Case {
        self.turn(script, Wait::Tags(tag, count))
    }

    /// Sends, and waits for nothing.
    pub(crate) fn send(self, script: Script) -> Case {
        self.turn(script, Wait::Nothing)
    }

    /// Sends, and waits for the server to close the connection.
    pub(crate) fn ends_with(mut self, script: Script) -> Case {
        self.ends = true;
        self.turn(script, Wait::Closed)
    }

    /// The client goes away without a word: what it sent last was the end.
    pub(crate) fn vanishes(mut self) -> Case {
        self.ends = true;
        self
    }

    /// Sent byte by byte as well.
    pub(crate) fn fragmented(mut self) -> Case {
        self.fragmented = true;
        self
    }

    fn turn(mut self, script: Script, wait: Wait) -> Case {
        self.turns.push(Turn { send: script.bytes().to_vec(), wait });
        self
    }

    /// Holds the conversation: all that the server said, as lines to compare. A client that got less than it waited
    /// for says so in its last line.
    pub(crate) async fn hold(&self, mut client: Client) -> Vec<Line> {
        let mut lines = Vec::new();
        for turn in &self.turns {
            let answer = turn.take(&mut client).await;
            let failed = answer.is_err();
            lines.extend(Line::of(answer));
            if failed {
                return lines;
            }
        }
        if !self.ends {
            // Whatever else was on its way comes before this.
            let last = client.query("SELECT 'the end'").await;
            let failed = last.is_err();
            lines.extend(Line::of(last));
            if !failed && let Err(error) = client.close().await {
                lines.extend(Line::of(Err(error)));
            }
        }
        lines
    }
}

impl Turn {
    async fn take(&self, client: &mut Client) -> Result<Vec<Frame>, Error> {
        client.send(&self.send).await?;
        let (tag, count) = match self.wait {
            Wait::Ready(count) => (b'Z', count),
            Wait::Tags(tag, count) => (tag, count),
            Wait::Closed => return client.read_until_closed().await,
            Wait::Nothing => (b'Z', 0),
        };
        if count == 0 {
            return Ok(Vec::new());
        }
        let left = Cell::new(count);
        let last = |frame: &Frame| {
            left.set(left.get() - usize::from(frame.tag == tag));
            left.get() == 0
        };
        client.read_until("answer", last).await
    }
}

/// What is compared: a message, or how the conversation broke off.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Line {
    Frame(Frame),
    BrokeOff(String),
}

impl Line {
    pub(crate) fn of(answer: Result<Vec<Frame>, Error>) -> Vec<Line> {
        let (frames, end) = match answer {
            Ok(frames) => (frames, None),
            Err(Error::Closed { what, so_far }) => (so_far, Some(format!("closed before {what}"))),
            Err(Error::Deadline { what, so_far, .. }) => (so_far, Some(format!("no {what} in time"))),
            Err(other) => (Vec::new(), Some(other.to_string())),
        };
        let frames = normalize(frames).into_iter().map(without_source).map(Line::Frame);
        frames.chain(end.map(Line::BrokeOff)).collect()
    }
}

/// Takes file, line and routine out of an ErrorResponse or NoticeResponse, and the CONTEXT of what isn't the protocol:
/// see the table of differences.
fn without_source(frame: Frame) -> Frame {
    if !matches!(frame.tag, b'E' | b'N') {
        return frame;
    }
    let fields = frame.body.split(|byte| *byte == 0).filter(|field| !field.is_empty());
    let malformed = frame.field(b'C').as_deref() == Some("08P01");
    let kept =
        fields.filter(|field| !(matches!(field[0], b'F' | b'L' | b'R') || malformed && field[0] == b'W'));
    let mut body: Vec<u8> = kept.flat_map(|field| [field, b"\0"].concat()).collect();
    body.push(0);
    Frame { body, ..frame }
}

/// As a failure shows it; long ones are cut.
impl std::fmt::Debug for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = match self {
            Line::Frame(frame) if matches!(frame.tag, b'E' | b'N') => {
                format!("{} {:?}", char::from(frame.tag), frame.body.escape_ascii().to_string())
            }
            Line::Frame(frame) => format!("{frame:?}"),
            Line::BrokeOff(how) => format!("-- {how}"),
        };
        f.write_str(&text.chars().take(300).collect::<String>())
    }
}

/// Where two conversations part, in words; `None`: they are the same.
pub(crate) fn difference(direct: &[Line], through: &[Line]) -> Option<String> {
    if direct == through {
        return None;
    }
    let same = direct.iter().zip(through).take_while(|(a, b)| a == b).count();
    let show = |lines: &[Line]| -> String {
        let from = same.saturating_sub(2);
        let shown = lines.iter().enumerate().skip(from).take(8);
        shown.map(|(i, line)| format!("      {} {line:?}\n", if i == same { '>' } else { ' ' })).collect()
    };
    Some(format!("    direct:\n{}    through pgweir:\n{}", show(direct), show(through)))
}
