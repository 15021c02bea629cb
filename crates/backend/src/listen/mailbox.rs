//! The notifications that a session has yet to pass to its client: in order, and bounded.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use wire::backend::NotificationResponse;
use wire::frame;

/// Bytes that may wait for one client. One that doesn't read is sent away when there are more.
pub const MAX_UNREAD: usize = 8 << 20;

/// A session's queue. The listening connection fills it from its thread, the session empties it from its core.
#[derive(Debug, Default)]
pub struct Mailbox(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// NotificationResponses; sessions that get the same share it.
    letters: VecDeque<Arc<[u8]>>,
    bytes: usize,
    closed: Option<Closed>,
    waker: Option<Waker>,
}

/// Why nothing comes any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// The listening connection was lost: some may have been missed.
    Lost,
    /// More came than the client read.
    Overflow,
}

impl Mailbox {
    pub(super) fn push(&self, letter: &Arc<[u8]>) {
        let mut inner = self.lock();
        if inner.closed.is_some() {
            return;
        }
        inner.bytes += letter.len();
        if inner.bytes > MAX_UNREAD {
            inner.letters = VecDeque::new();
            inner.bytes = 0;
            inner.closed = Some(Closed::Overflow);
        } else {
            inner.letters.push_back(Arc::clone(letter));
        }
        wake(inner);
    }

    pub(super) fn close(&self, why: Closed) {
        let mut inner = self.lock();
        inner.closed.get_or_insert(why);
        wake(inner);
    }

    /// Ready when there is something to take; else the task is woken once there is.
    pub fn poll(&self, cx: &Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if !inner.letters.is_empty() || inner.closed.is_some() {
            return Poll::Ready(());
        }
        if !inner.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            inner.waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// Takes what is there, as messages behind each other, until `out` has grown by `room` bytes.
    ///
    /// # Errors
    /// Nothing is left, and nothing will come.
    pub fn take(&self, room: usize, out: &mut Vec<u8>) -> Result<(), Closed> {
        let mut inner = self.lock();
        let enough = out.len().saturating_add(room);
        while out.len() < enough
            && let Some(letter) = inner.letters.pop_front()
        {
            inner.bytes -= letter.len();
            out.extend_from_slice(&letter);
        }
        if inner.letters.is_empty() {
            inner.letters.shrink_to(8);
        }
        match inner.closed {
            Some(why) if inner.letters.is_empty() => Err(why),
            _ => Ok(()),
        }
    }

    /// Drops what came of other channels than these.
    pub fn keep_only(&self, wanted: impl Fn(&[u8]) -> bool) {
        let mut inner = self.lock();
        let of_wanted = |letter: &Arc<[u8]>| {
            NotificationResponse::parse(frame::body(letter))
                .is_ok_and(|notification| wanted(notification.channel))
        };
        inner.letters.retain(of_wanted);
        inner.bytes = inner.letters.iter().map(|letter| letter.len()).sum();
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Wakes who waits, with the queue free to be looked at.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(channel: &str, payload: &[u8]) -> Arc<[u8]> {
        let mut out = Vec::new();
        wire::encode::notification_response(&mut out, 7, channel.as_bytes(), payload).unwrap();
        out.into()
    }

    #[test]
    fn letters_come_in_order_and_as_many_as_there_is_room_for() {
        let mailbox = Mailbox::default();
        let letters = ["a", "b", "c"].map(|channel| letter(channel, b"1"));
        letters.iter().for_each(|letter| mailbox.push(letter));
        let mut out = Vec::new();
        mailbox.take(letters[0].len() + 1, &mut out).unwrap();
        assert_eq!(out, [&*letters[0], &*letters[1]].concat());
        mailbox.keep_only(|channel| channel != b"c");
        out.clear();
        mailbox.take(usize::MAX, &mut out).unwrap();
        assert_eq!(out, b"");
    }

    #[test]
    fn what_came_before_the_end_is_still_taken() {
        let mailbox = Mailbox::default();
        mailbox.push(&letter("a", b"1"));
        mailbox.close(Closed::Lost);
        mailbox.push(&letter("a", b"too late"));
        let mut out = Vec::new();
        assert_eq!(mailbox.take(usize::MAX, &mut out), Err(Closed::Lost));
        assert_eq!(out, *letter("a", b"1"));
    }

    #[test]
    fn more_than_the_bound_ends_it() {
        let mailbox = Mailbox::default();
        let big = letter("a", &[b'x'; 7999]);
        for _ in 0..=MAX_UNREAD / big.len() {
            mailbox.push(&big);
        }
        let mut out = Vec::new();
        assert_eq!(mailbox.take(usize::MAX, &mut out), Err(Closed::Overflow));
        assert!(out.is_empty());
    }
}
