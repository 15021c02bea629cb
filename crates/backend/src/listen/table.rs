//! Who listens to what, and what of that the server has been told.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::{Channel, Closed, Subscriber, command};

/// Who listens to what.
#[derive(Debug, Default)]
pub(super) struct Table {
    sessions: HashMap<u64, Session>,
    channels: HashMap<Channel, Vec<Arc<Subscriber>>>,
    /// Channels that the server was told to listen to.
    told: HashSet<Channel>,
    /// Channels of those that somebody has left since.
    left: Vec<Channel>,
}

#[derive(Debug)]
struct Session {
    who: Arc<Subscriber>,
    channels: HashSet<Channel>,
}

impl Table {
    /// Sessions, and channels.
    pub(super) fn counts(&self) -> (usize, usize) {
        (self.sessions.len(), self.channels.len())
    }

    /// Whoever may lend its login.
    pub(super) fn anybody(&self) -> Option<&Arc<Subscriber>> {
        self.sessions.values().map(|session| &session.who).next()
    }

    /// From now on it gets what comes of these channels.
    pub(super) fn enter(&mut self, who: &Arc<Subscriber>, channels: Vec<Channel>) {
        if who.is_gone() {
            self.left.extend(channels);
            return;
        }
        let session = self.sessions.entry(who.id);
        let session = session.or_insert_with(|| Session { who: Arc::clone(who), channels: HashSet::new() });
        for channel in channels {
            if session.channels.insert(channel.clone()) {
                self.channels.entry(channel).or_default().push(Arc::clone(who));
            }
        }
    }

    /// From now on it gets nothing more of these.
    pub(super) fn leave(&mut self, id: u64, channels: &[Channel]) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        let left = channels.iter().filter_map(|channel| session.channels.take(channel)).collect();
        if session.channels.is_empty() {
            self.sessions.remove(&id);
        }
        self.release(id, left);
    }

    /// It is no more.
    pub(super) fn remove(&mut self, id: u64) {
        if let Some(session) = self.sessions.remove(&id) {
            self.release(id, session.channels.into_iter().collect());
        }
    }

    fn release(&mut self, id: u64, channels: Vec<Channel>) {
        for channel in channels {
            if let Some(listeners) = self.channels.get_mut(&channel) {
                listeners.retain(|who| who.id != id);
                if listeners.is_empty() {
                    self.channels.remove(&channel);
                    self.left.push(channel);
                }
            }
        }
    }

    /// What the server has to be told so that it listens to these as well, and no more to what nobody wants.
    pub(super) fn tell<'a>(&mut self, wanted: impl Iterator<Item = &'a Channel>) -> Vec<u8> {
        let mut sql = Vec::new();
        let wanted: HashSet<&Channel> = wanted.collect();
        for channel in &wanted {
            if !self.told.contains(*channel) {
                command(&mut sql, b"LISTEN ", channel);
                self.told.insert(Channel::clone(channel));
            }
        }
        for channel in std::mem::take(&mut self.left) {
            let unwanted = !self.channels.contains_key(&channel) && !wanted.contains(&channel);
            if unwanted && self.told.remove(&channel) {
                command(&mut sql, b"UNLISTEN ", &channel);
            }
        }
        sql
    }

    /// Whether the server has something to be told.
    pub(super) fn has_left(&self) -> bool {
        !self.left.is_empty()
    }

    /// A server that knows nothing yet is to be told of all of them.
    pub(super) fn begin_anew(&mut self) -> Vec<u8> {
        self.told.clear();
        self.left.clear();
        let all: Vec<Channel> = self.channels.keys().cloned().collect();
        self.tell(all.iter())
    }

    /// Who listens to a channel.
    pub(super) fn listeners(&self, channel: &[u8]) -> &[Arc<Subscriber>] {
        self.channels.get(channel).map_or(&[], Vec::as_slice)
    }

    /// The connection was lost: sessions that don't bear that are told, and are out; all of them if it is `for_good`.
    pub(super) fn lose(&mut self, for_good: bool) {
        let out = self.sessions.values().filter(|session| for_good || !session.who.keep);
        let out: Vec<_> = out.map(|session| Arc::clone(&session.who)).collect();
        for who in out {
            who.mailbox.close(Closed::Lost);
            self.remove(who.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use super::*;
    use crate::connect::Login;

    fn subscriber(id: u64, keep: bool) -> Arc<Subscriber> {
        let login = Login::new("app", "app", None, Duration::from_secs(1));
        Arc::new(Subscriber { id, login, keep, gone: AtomicBool::new(false), mailbox: Arc::default() })
    }

    fn channels(names: &[&str]) -> Vec<Channel> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    fn told(table: &mut Table, wanted: &[&str]) -> String {
        String::from_utf8(table.tell(channels(wanted).iter())).unwrap()
    }

    #[test]
    fn a_channel_is_listened_to_from_the_first_session_to_the_last() {
        let mut table = Table::default();
        let (one, two) = (subscriber(1, false), subscriber(2, false));
        assert_eq!(told(&mut table, &["a\"b"]), "LISTEN \"a\"\"b\";");
        table.enter(&one, channels(&["a\"b"]));
        assert_eq!(told(&mut table, &["a\"b"]), "");
        table.enter(&two, channels(&["a\"b"]));
        table.remove(1);
        assert_eq!(told(&mut table, &[]), "");
        assert_eq!(table.counts(), (1, 1));
        table.leave(2, &channels(&["a\"b", "never"]));
        assert_eq!(told(&mut table, &["c"]), "LISTEN \"c\";UNLISTEN \"a\"\"b\";");
        assert_eq!(table.counts(), (0, 0));
    }

    #[test]
    fn a_channel_that_is_wanted_again_is_not_left() {
        let mut table = Table::default();
        let one = subscriber(1, false);
        told(&mut table, &["a"]);
        table.enter(&one, channels(&["a"]));
        table.remove(1);
        assert_eq!(told(&mut table, &["a"]), "");
        // Who is gone before it was told doesn't stay.
        one.gone.store(true, std::sync::atomic::Ordering::Release);
        table.enter(&one, channels(&["a"]));
        assert_eq!(told(&mut table, &[]), "UNLISTEN \"a\";");
    }

    #[test]
    fn only_who_bears_it_stays_when_the_connection_is_lost() {
        let mut table = Table::default();
        told(&mut table, &["a", "b"]);
        table.enter(&subscriber(1, false), channels(&["a"]));
        table.enter(&subscriber(2, true), channels(&["b"]));
        table.lose(false);
        assert_eq!(String::from_utf8(table.begin_anew()).unwrap(), "LISTEN \"b\";");
        assert_eq!(table.listeners(b"b").len(), 1);
        assert!(table.listeners(b"a").is_empty());
    }
}
