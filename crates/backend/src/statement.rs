//! Prepared statements by content: one text, prepared once on a server whoever uses it.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use crate::settings::Settings;

/// A statement as a client's Parse described it.
#[derive(Debug)]
pub struct Statement {
    /// Names it on the servers, and in the set of what a connection has.
    pub id: u64,
    /// `pgweir_<id>`.
    pub server_name: Box<str>,
    /// The text, without the terminating NUL.
    pub sql: Box<[u8]>,
    /// The parameter types of Parse: four bytes each, network order.
    pub types: Box<[u8]>,
}

type Content = (Box<[u8]>, Box<[u8]>);

impl Statement {
    /// The parameter types of Parse.
    pub fn type_oids(&self) -> impl Iterator<Item = u32> + '_ {
        self.types.chunks_exact(4).map(|oid| u32::from_be_bytes([oid[0], oid[1], oid[2], oid[3]]))
    }
}

/// All statements of this process by content. Looked into on the first use of a text on a core.
#[derive(Debug, Default)]
pub struct Statements {
    next: AtomicU64,
    known: Mutex<HashMap<Content, Weak<Statement>>>,
}

impl Statements {
    /// The statement of this text and these types.
    pub fn intern(&self, sql: &[u8], types: &[u8]) -> Arc<Statement> {
        let content: Content = (sql.into(), types.into());
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(statement) = known.get(&content).and_then(Weak::upgrade) {
            return statement;
        }
        if known.len() % 1024 == 1023 {
            known.retain(|_, statement| statement.strong_count() > 0);
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let statement = Arc::new(Statement {
            id,
            server_name: format!("pgweir_{id}").into(),
            sql: content.0.clone(),
            types: content.1.clone(),
        });
        known.insert(content, Arc::downgrade(&statement));
        statement
    }
}

/// What one server connection has prepared, by `Statement::id`; the least recently used goes first.
#[derive(Debug, Default)]
pub struct PreparedSet {
    used: HashMap<u64, u64, foldhash::fast::RandomState>,
    turn: u64,
}

impl PreparedSet {
    /// Whether the statement is there; it counts as used.
    pub fn touch(&mut self, id: u64) -> bool {
        self.turn += 1;
        match self.used.get_mut(&id) {
            Some(turn) => {
                *turn = self.turn;
                true
            }
            None => false,
        }
    }

    /// Notes a statement that the server is being asked to prepare.
    pub fn insert(&mut self, id: u64) {
        self.turn += 1;
        self.used.insert(id, self.turn);
    }

    /// Forgets one that the server refused or closed.
    pub fn remove(&mut self, id: u64) {
        self.used.remove(&id);
    }

    /// Takes out the least recently used one if there are more than `limit`, so that it can be closed.
    pub fn evict(&mut self, limit: usize) -> Option<u64> {
        if self.used.len() <= limit.max(1) {
            return None;
        }
        let oldest = self.used.iter().min_by_key(|(_, turn)| **turn).map(|(id, _)| *id)?;
        self.used.remove(&oldest);
        Some(oldest)
    }

    /// Forgets all (DISCARD ALL, DEALLOCATE ALL).
    pub fn clear(&mut self) {
        self.used.clear();
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }
}

/// Statements (`Statement::id`) that a server has prepared under some settings: a Parse of one needs no server to be
/// answered.
#[derive(Debug, Default)]
pub struct Proven(RefCell<HashSet<(u64, Rc<Settings>)>>);

/// So many are remembered.
const PROVEN: usize = 10_000;

impl Proven {
    /// A server has prepared this statement under these settings.
    pub fn note(&self, statement: u64, settings: &Rc<Settings>) {
        let mut proven = self.0.borrow_mut();
        if proven.len() >= PROVEN {
            proven.clear();
        }
        proven.insert((statement, Rc::clone(settings)));
    }

    /// Whether a server has.
    pub fn contains(&self, statement: u64, settings: &Rc<Settings>) -> bool {
        self.0.borrow().contains(&(statement, Rc::clone(settings)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_names_a_statement() {
        let all = Statements::default();
        let a = all.intern(b"SELECT 1", b"");
        assert!(Arc::ptr_eq(&a, &all.intern(b"SELECT 1", b"")));
        assert_ne!(a.id, all.intern(b"SELECT 1", &[0, 0, 0, 23]).id);
        drop(a);
        assert_eq!(all.intern(b"SELECT 2", b"").id, 2);
    }

    #[test]
    fn the_least_recently_used_goes_first() {
        let mut set = PreparedSet::default();
        for id in 0..4 {
            set.insert(id);
        }
        assert!(set.touch(0));
        assert_eq!(set.evict(3), Some(1));
        assert_eq!(set.evict(3), None);
        assert!(!set.touch(1));
    }
}
