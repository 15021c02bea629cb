//! A server connection's socket and the right to have it: one doesn't end without the other.

use std::future::poll_fn;
use std::ops::{Deref, DerefMut};
use std::task::ready;
use std::time::Duration;

use net::Stream;
use tokio::io::ReadBuf;

use crate::shared::Right;

/// How long a server may take to close its side.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket and its right. Once dropped it is closed, and the right is given back when the server has closed its side
/// too: until then its backend may still be there, and another connection would be one more than are allowed.
#[derive(Debug)]
pub struct Link(Option<(Stream, Right)>);

impl Link {
    pub(crate) fn new(stream: Stream, right: Right) -> Self {
        Self(Some((stream, right)))
    }

    /// It is about to be closed, for another pool.
    pub(crate) fn yields(&mut self) {
        if let Some((_, right)) = &mut self.0 {
            right.yields();
        }
    }

    /// The two by themselves, for who puts them together again.
    pub(crate) fn take_apart(mut self) -> Option<(Stream, Right)> {
        self.0.take()
    }
}

impl Deref for Link {
    type Target = Stream;

    #[inline]
    fn deref(&self) -> &Stream {
        self.0.as_ref().map_or_else(|| unreachable!("only a drop takes it out"), |(stream, _)| stream)
    }
}

impl DerefMut for Link {
    #[inline]
    fn deref_mut(&mut self) -> &mut Stream {
        self.0.as_mut().map_or_else(|| unreachable!("only a drop takes it out"), |(stream, _)| stream)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Some((stream, right)) = self.0.take() {
            tokio::task::spawn_local(async move {
                // A server that doesn't answer keeps the right for a moment only.
                let _ = tokio::time::timeout(PATIENCE, close(stream)).await;
                drop(right);
            });
        }
    }
}

/// Closes our side and waits for the other. No Terminate: behind half a message it would be taken for the other half.
async fn close(mut stream: Stream) {
    if poll_fn(|cx| stream.poll_shutdown(cx)).await.is_err() {
        return;
    }
    let mut block = [0; 4096];
    let _gone: std::io::Result<()> = poll_fn(|cx| {
        loop {
            let mut buf = ReadBuf::new(&mut block);
            ready!(stream.poll_read(cx, &mut buf))?;
            if buf.filled().is_empty() {
                return std::task::Poll::Ready(Ok(()));
            }
        }
    })
    .await;
}
