//! The faults that a proxy makes: its switches, and what they say of each piece of data.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

/// Which way bytes flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

impl Direction {
    fn index(self) -> usize {
        match self {
            Direction::ToServer => 0,
            Direction::ToClient => 1,
        }
    }
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// RST to both sides; what they have not read yet is lost.
    Reset,
    /// FIN to both sides; what they send afterwards is dropped.
    Fin,
}

/// When an armed cut fires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// When exactly so many bytes of a connection have been passed on in that direction.
    Bytes(u64),
    /// When these bytes have come, before the last of them is passed on.
    Before(Vec<u8>),
    /// When these bytes have been passed on.
    After(Vec<u8>),
}

struct Armed {
    direction: Direction,
    trigger: Trigger,
    how: Cut,
}

/// What all connections of a proxy share.
pub(crate) struct Faults {
    delay: [AtomicU64; 2],
    swallow: [AtomicBool; 2],
    split: AtomicBool,
    pub(crate) refuse: AtomicBool,
    armed: Mutex<Vec<Armed>>,
    pub(crate) fired: watch::Sender<usize>,
    pub(crate) accepted: AtomicU64,
    bytes: [AtomicU64; 2],
    /// How to end each open connection, by its number.
    pub(crate) open: Mutex<HashMap<u64, watch::Sender<Option<Cut>>>>,
}

impl Faults {
    pub(crate) fn new() -> Faults {
        Faults {
            delay: Default::default(),
            swallow: Default::default(),
            split: AtomicBool::new(false),
            refuse: AtomicBool::new(false),
            armed: Mutex::default(),
            fired: watch::Sender::new(0),
            accepted: AtomicU64::new(0),
            bytes: Default::default(),
            open: Mutex::default(),
        }
    }

    pub(crate) fn set_delay(&self, direction: Direction, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.delay[direction.index()].store(micros, Ordering::SeqCst);
    }

    pub(crate) fn delay(&self, direction: Direction) -> Option<Duration> {
        let micros = self.delay[direction.index()].load(Ordering::SeqCst);
        (micros > 0).then(|| Duration::from_micros(micros))
    }

    pub(crate) fn set_swallow(&self, direction: Direction, on: bool) {
        self.swallow[direction.index()].store(on, Ordering::SeqCst);
    }

    pub(crate) fn swallows(&self, direction: Direction) -> bool {
        self.swallow[direction.index()].load(Ordering::SeqCst)
    }

    pub(crate) fn set_split(&self, on: bool) {
        self.split.store(on, Ordering::SeqCst);
    }

    pub(crate) fn splits(&self) -> bool {
        self.split.load(Ordering::SeqCst)
    }

    pub(crate) fn count(&self, direction: Direction, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        self.bytes[direction.index()].fetch_add(bytes, Ordering::SeqCst);
    }

    pub(crate) fn bytes(&self, direction: Direction) -> u64 {
        self.bytes[direction.index()].load(Ordering::SeqCst)
    }

    pub(crate) fn arm(&self, direction: Direction, trigger: Trigger, how: Cut) {
        self.armed().push(Armed { direction, trigger, how });
    }

    pub(crate) fn disarm(&self) {
        self.armed().clear();
    }

    /// What the armed cuts say of a piece of data: how much of it may still be passed on, and how the
    /// connection ends then. The one that fires is used up.
    pub(crate) fn judge(&self, direction: Direction, history: &History, data: &[u8]) -> Option<(usize, Cut)> {
        let mut armed = self.armed();
        let place = |rule: &Armed| {
            let allowed = (rule.direction == direction).then(|| history.allows(&rule.trigger, data));
            allowed.flatten()
        };
        let first = armed.iter().enumerate().filter_map(|(i, rule)| Some((place(rule)?, i))).min();
        first.map(|(allowed, i)| {
            let how = armed.remove(i).how;
            self.fired.send_modify(|fired| *fired += 1);
            (allowed, how)
        })
    }

    fn armed(&self) -> MutexGuard<'_, Vec<Armed>> {
        self.armed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What has passed on one connection in one direction, as far as triggers need it.
#[derive(Debug, Default)]
pub(crate) struct History {
    passed: u64,
    tail: Vec<u8>,
}

/// The longest pattern that may be split over pieces.
const TAIL: usize = 4_096;

impl History {
    pub(crate) fn pass(&mut self, data: &[u8]) {
        self.passed += u64::try_from(data.len()).unwrap_or(0);
        self.tail.extend_from_slice(data);
        self.tail.drain(..self.tail.len().saturating_sub(TAIL));
    }

    /// How many bytes of `data` the trigger lets pass before it fires; `None` if it doesn't fire in them.
    fn allows(&self, trigger: &Trigger, data: &[u8]) -> Option<usize> {
        let (pattern, kept_back) = match trigger {
            Trigger::Bytes(limit) => {
                let left = usize::try_from(limit.saturating_sub(self.passed)).unwrap_or(usize::MAX);
                return (left <= data.len()).then_some(left);
            }
            Trigger::Before(pattern) => (pattern, 1),
            Trigger::After(pattern) => (pattern, 0),
        };
        // Only a match that ends in `data` is new.
        let before = self.tail.len().min(pattern.len().saturating_sub(1));
        let text = [&self.tail[self.tail.len() - before..], data].concat();
        let at = text.windows(pattern.len().max(1)).position(|window| window == pattern.as_slice())?;
        Some((at + pattern.len()).saturating_sub(before + kept_back))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_found_over_the_border_of_two_pieces() {
        let mut history = History::default();
        let (before, after) = (Trigger::Before(b"COMMIT".to_vec()), Trigger::After(b"COMMIT".to_vec()));
        assert_eq!(history.allows(&after, b"xxCOMMITyy"), Some(8));
        assert_eq!(history.allows(&before, b"xxCOMMITyy"), Some(7));
        history.pass(b"xxCOM");
        assert_eq!(history.allows(&after, b"MITyy"), Some(3));
        assert_eq!(history.allows(&before, b"MITyy"), Some(2));
        assert_eq!(history.allows(&after, b"MI"), None);
        history.pass(b"MIT");
        assert_eq!(history.allows(&after, b"yy"), None);
    }

    #[test]
    fn bytes_are_counted_over_pieces() {
        let mut history = History::default();
        let trigger = Trigger::Bytes(10);
        assert_eq!(history.allows(&trigger, b"123456789"), None);
        history.pass(b"123456789");
        assert_eq!(history.allows(&trigger, b"abc"), Some(1));
        history.pass(b"abc");
        assert_eq!(history.allows(&trigger, b"abc"), Some(0));
    }

    #[test]
    fn the_earliest_trigger_fires_once() {
        let faults = Faults::new();
        faults.arm(Direction::ToServer, Trigger::Bytes(5), Cut::Fin);
        faults.arm(Direction::ToServer, Trigger::Bytes(3), Cut::Reset);
        let history = History::default();
        assert_eq!(faults.judge(Direction::ToClient, &history, b"1234567"), None);
        assert_eq!(faults.judge(Direction::ToServer, &history, b"1234567"), Some((3, Cut::Reset)));
        assert_eq!(faults.judge(Direction::ToServer, &history, b"1234567"), Some((5, Cut::Fin)));
        assert_eq!(faults.judge(Direction::ToServer, &history, b"1234567"), None);
        assert_eq!(*faults.fired.borrow(), 2);
    }
}
