//! One direction of a relay: bytes come in on one side, are looked at frame by frame, and go out on the other.
//!
//! What may pass as it came goes out of the block that it was read into, without a copy. Where something is left out
//! or put in between, what was approved before is copied to `out` first, so that the order holds:
//! `out` always goes before the approved bytes of the block.

use std::io;
use std::task::{Context, Poll, ready};

use net::Stream;
use tokio::io::ReadBuf;

/// The size of a block of an ordinary request or reply.
const BLOCK: usize = 16 << 10;
/// The size once a read has filled a whole block: bulk.
const BULK: usize = 256 << 10;
/// Less room than this behind the last byte is not worth a read.
const LITTLE: usize = 4 << 10;
/// `out` keeps at most this capacity between uses.
const KEPT: usize = 64 << 10;

/// One direction of a relay.
#[derive(Debug)]
pub(crate) struct Pipe {
    block: Vec<u8>,
    /// Before this nothing is needed any more.
    floor: usize,
    /// Before this all was written.
    sent: usize,
    /// Before this all may be written.
    approved: usize,
    /// Before this all was read.
    end: usize,
    out: Vec<u8>,
    out_sent: usize,
    /// Keeps what was written, so that it can be rewound.
    held: bool,
    /// TLS may keep some of what was written: the socket hasn't taken it.
    kept: bool,
    /// Bytes read since somebody asked.
    read: u64,
}

impl Pipe {
    pub(crate) fn new() -> Self {
        Self::with_block(BLOCK)
    }

    /// With a block of so many bytes, which should be big enough for what it is to keep.
    pub(crate) fn with_block(size: usize) -> Self {
        Self {
            block: vec![0; size],
            floor: 0,
            sent: 0,
            approved: 0,
            end: 0,
            out: Vec::new(),
            out_sent: 0,
            held: false,
            kept: false,
            read: 0,
        }
    }

    /// Takes over what is pending in another, where nothing is to be written.
    pub(crate) fn take_over(&mut self, other: &mut Self) {
        self.clear();
        let pending = other.pending();
        let end = pending.len();
        if self.block.len() < end {
            self.block.resize(end, 0);
        }
        self.block[..end].copy_from_slice(pending);
        self.end = end;
        self.read = std::mem::take(&mut other.read);
        other.clear();
    }

    /// The size of its block.
    #[inline]
    pub(crate) fn size(&self) -> usize {
        self.block.len()
    }

    /// Bytes read since this was last asked, for the statistics.
    pub(crate) fn take_read(&mut self) -> u64 {
        std::mem::take(&mut self.read)
    }

    /// Bytes that were read and are no longer pending, since `take_read`.
    pub(crate) fn gone_through(&self) -> u64 {
        self.read - self.pending().len() as u64
    }

    /// Takes these bytes for read.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.make_room_for(bytes.len());
        if self.block.len() - self.end < bytes.len() {
            self.block.resize(self.end + bytes.len(), 0);
        }
        self.block[self.end..self.end + bytes.len()].copy_from_slice(bytes);
        self.end += bytes.len();
        self.read += bytes.len() as u64;
    }

    /// Read, but neither approved nor skipped.
    #[inline]
    pub(crate) fn pending(&self) -> &[u8] {
        &self.block[self.approved..self.end]
    }

    /// Bytes that were put in and not yet written.
    pub(crate) fn unsent_out(&self) -> usize {
        self.out.len() - self.out_sent
    }

    /// Nothing pending and nothing to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.approved == self.end && self.is_flushed()
    }

    /// Nothing approved or put in that isn't written.
    #[inline]
    pub(crate) fn is_flushed(&self) -> bool {
        self.sent == self.approved && self.out_sent == self.out.len() && !self.kept
    }

    /// The next `n` pending bytes may pass as they are.
    #[inline]
    pub(crate) fn approve(&mut self, n: usize) {
        self.approved += n;
        debug_assert!(self.approved <= self.end);
    }

    /// The next `n` pending bytes don't pass.
    pub(crate) fn skip(&mut self, n: usize) {
        self.settle();
        self.approved += n;
        self.sent = self.approved;
        debug_assert!(self.approved <= self.end);
        self.let_go();
    }

    /// Where to append bytes that go out behind everything approved so far.
    pub(crate) fn inject(&mut self) -> &mut Vec<u8> {
        self.settle();
        &mut self.out
    }

    /// Appends the next `n` pending bytes to `out` through `edit`, and skips them.
    pub(crate) fn rewrite<R>(&mut self, n: usize, edit: impl FnOnce(&[u8], &mut Vec<u8>) -> R) -> R {
        self.settle();
        let result = edit(&self.block[self.approved..self.approved + n], &mut self.out);
        self.skip(n);
        result
    }

    /// Moves what is approved but not written to `out`.
    fn settle(&mut self) {
        if self.sent < self.approved {
            self.out.extend_from_slice(&self.block[self.sent..self.approved]);
            self.sent = self.approved;
        }
    }

    /// From here on what is written is kept, until `release`.
    pub(crate) fn hold(&mut self) {
        self.held = true;
        self.floor = self.approved;
    }

    /// What was kept is needed no more.
    #[inline]
    pub(crate) fn release(&mut self) {
        if self.held {
            self.held = false;
            self.let_go();
        }
    }

    /// Back to where `hold` was called: all since then is pending again, what was put in is forgotten.
    pub(crate) fn rewind(&mut self) {
        self.held = false;
        self.sent = self.floor;
        self.approved = self.floor;
        self.out.clear();
        self.out_sent = 0;
    }

    /// What may be written but isn't yet never will be.
    pub(crate) fn drop_unsent(&mut self) {
        self.held = false;
        self.out.clear();
        self.out_sent = 0;
        self.sent = self.approved;
        self.let_go();
    }

    /// What was read but neither approved nor skipped is forgotten.
    pub(crate) fn drop_pending(&mut self) {
        self.end = self.approved;
        self.let_go();
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.floor = 0;
        self.sent = 0;
        self.approved = 0;
        self.end = 0;
        self.out.clear();
        self.out_sent = 0;
        self.held = false;
        self.kept = false;
    }

    fn let_go(&mut self) {
        if !self.held {
            self.floor = self.sent;
            if self.floor == self.end {
                (self.floor, self.sent, self.approved, self.end) = (0, 0, 0, 0);
            }
        }
    }

    /// Makes room for more of the next `need` bytes from the first pending one on. What has come vouches for as much
    /// again, not the length that a stranger claims: the block grows as it fills.
    pub(crate) fn make_room_for(&mut self, need: usize) {
        let need = need.max(self.pending().len() + LITTLE);
        if self.block.len() - self.approved < need {
            self.close_up();
            let wanted = (self.approved + need).min(self.block.len() * 2);
            if self.block.len() - self.end < LITTLE && self.block.len() < wanted {
                self.block.resize(wanted, 0);
            }
        }
    }

    /// Moves what is still needed to the front.
    fn close_up(&mut self) {
        if self.floor > 0 {
            self.block.copy_within(self.floor..self.end, 0);
            self.sent -= self.floor;
            self.approved -= self.floor;
            self.end -= self.floor;
            self.floor = 0;
        }
    }

    /// Whether a read makes sense now. Without it the other side isn't read: its sender waits.
    #[inline]
    pub(crate) fn has_room(&mut self) -> bool {
        if self.block.len() - self.end >= LITTLE {
            return true;
        }
        self.close_up();
        let room = self.block.len() - self.end;
        // Where nothing is left to be written, waiting would make no more room.
        room >= LITTLE || (room > 0 && self.is_flushed())
    }

    /// Reads once. `Ready(Ok(0))` is the end of the stream. Needs room.
    #[inline]
    pub(crate) fn poll_fill(&mut self, cx: &mut Context<'_>, from: &mut Stream) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(&mut self.block[self.end..]);
        ready!(from.poll_read(cx, &mut buf))?;
        let n = buf.filled().len();
        let was_full = buf.remaining() == 0;
        self.end += n;
        self.read += n as u64;
        if was_full && self.block.len() < BULK {
            self.block.resize(BULK, 0);
        }
        Poll::Ready(Ok(n))
    }

    /// Writes all that may be written.
    #[inline]
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>, to: &mut Stream) -> Poll<io::Result<()>> {
        if self.is_flushed() {
            return Poll::Ready(Ok(()));
        }
        loop {
            let (out, block) = (&self.out[self.out_sent..], &self.block[self.sent..self.approved]);
            let wrote = match (out.is_empty(), block.is_empty()) {
                (true, true) => break,
                (true, false) => ready!(to.poll_write(cx, block))?,
                (false, true) => ready!(to.poll_write(cx, out))?,
                (false, false) if block.len() <= LITTLE => {
                    self.settle(); // to write one piece is cheaper
                    continue;
                }
                (false, false) => {
                    let both = [io::IoSlice::new(out), io::IoSlice::new(block)];
                    ready!(to.poll_write_vectored(cx, &both))?
                }
            };
            if wrote == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.kept = true;
            let of_out = wrote.min(self.out.len() - self.out_sent);
            self.out_sent += of_out;
            self.sent += wrote - of_out;
        }
        if !self.held {
            self.out.clear();
            self.out_sent = 0;
        }
        self.let_go();
        ready!(to.poll_flush(cx))?;
        self.kept = false;
        Poll::Ready(Ok(()))
    }

    /// Makes it as good as new for the next session.
    pub(crate) fn recycle(&mut self) {
        self.clear();
        if self.block.len() > BLOCK {
            self.block.truncate(BLOCK);
            self.block.shrink_to_fit();
        }
        if self.out.capacity() > KEPT {
            self.out = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::task::Poll;
    use std::time::Duration;

    use net::{ClientTls, ServerTls, Stream, Verify};
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::{BLOCK, Pipe};

    fn filled(bytes: &[u8]) -> Pipe {
        let mut pipe = Pipe::new();
        pipe.block[..bytes.len()].copy_from_slice(bytes);
        pipe.end = bytes.len();
        pipe
    }

    fn output(pipe: &Pipe) -> Vec<u8> {
        [&pipe.out[pipe.out_sent..], &pipe.block[pipe.sent..pipe.approved]].concat()
    }

    /// Both ends of a TLS connection: a server's and a client's.
    async fn tls_ends() -> (Stream, Stream) {
        let folder = tempfile::tempdir().unwrap();
        let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("crt"), folder.path().join("key"));
        std::fs::write(&certificate, issued.cert.pem()).unwrap();
        std::fs::write(&key, issued.signing_key.serialize_pem()).unwrap();
        let server_tls = ServerTls::load(&certificate, &key, None).unwrap();
        let client_tls = ClientTls::new(Verify::Nothing, None).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (client, server) = (Stream::from(client.unwrap()), Stream::from(server.unwrap().0));
        let ends = tokio::join!(server.accept_tls(&server_tls), client.connect_tls(&client_tls, "localhost"));
        (ends.0.unwrap(), ends.1.unwrap())
    }

    #[tokio::test]
    async fn what_tls_keeps_is_written_though_nothing_follows_it() {
        let (mut server, mut client) = tls_ends().await;
        let (mut pipe, mut given) = (Pipe::new(), 0);
        // Until the socket takes no more: the last of it is in the hands of TLS then.
        while poll_fn(|cx| Poll::Ready(pipe.poll_flush(cx, &mut server))).await.is_ready() {
            pipe.inject().extend_from_slice(&[b'x'; 4096]);
            given += 4096;
        }
        assert_eq!((pipe.out.len(), pipe.is_flushed()), (0, false), "TLS has taken all of it");
        let mut got = vec![0; given];
        let flush = poll_fn(|cx| pipe.poll_flush(cx, &mut server));
        let both = async { tokio::join!(flush, client.read_exact(&mut got)) };
        let (flushed, read) = tokio::time::timeout(Duration::from_secs(30), both).await.unwrap();
        flushed.unwrap();
        read.unwrap();
        assert!(pipe.is_flushed());
    }

    #[test]
    fn the_order_holds_whatever_is_put_in_or_left_out() {
        let mut pipe = filled(b"abcdef");
        pipe.approve(2);
        pipe.inject().extend_from_slice(b"[1]");
        pipe.approve(1);
        pipe.skip(1);
        pipe.approve(1);
        pipe.inject().extend_from_slice(b"[2]");
        pipe.approve(1);
        assert_eq!(output(&pipe), b"ab[1]ce[2]f");
        assert!(pipe.pending().is_empty());
    }

    #[test]
    fn what_is_pending_moves_to_another() {
        let mut pipe = filled(b"abcdef");
        pipe.approve(2);
        pipe.sent = 2;
        let mut small = Pipe::with_block(3);
        small.take_over(&mut pipe);
        assert_eq!((small.pending(), small.size()), (&b"cdef"[..], 4));
        assert!(pipe.is_empty() && small.is_flushed());
        pipe.take_over(&mut small);
        assert_eq!((pipe.pending(), pipe.size()), (&b"cdef"[..], BLOCK));
    }

    #[test]
    fn what_is_held_can_be_had_again() {
        let mut pipe = filled(b"abcdef");
        pipe.approve(1);
        pipe.sent = 1;
        pipe.hold();
        pipe.approve(2);
        pipe.inject().extend_from_slice(b"[1]");
        pipe.skip(1);
        pipe.rewind();
        assert_eq!(pipe.pending(), b"bcdef");
        assert!(output(&pipe).is_empty());
    }

    #[test]
    fn a_long_frame_makes_the_block_grow_as_it_comes() {
        let mut pipe = filled(b"abcdef");
        pipe.skip(2);
        pipe.make_room_for(1 << 30);
        assert_eq!((pipe.pending(), pipe.block.len()), (&b"cdef"[..], BLOCK));
        pipe.end = pipe.block.len();
        pipe.make_room_for(1 << 30);
        assert_eq!((&pipe.pending()[..4], pipe.block.len()), (&b"cdef"[..], 2 * BLOCK));
        pipe.make_room_for(1 << 30);
        assert_eq!(pipe.block.len(), 2 * BLOCK);
    }
}
