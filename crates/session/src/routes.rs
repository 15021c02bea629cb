//! What went where, and why: counted for each core, and for each shape beside its facts. Read by the console.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use route::{ShardIndex, Target, TargetRole, Why};
use sql::facts::Facts;

use crate::admit::Admission;
use crate::book::Book;
use crate::core::Core;

/// Databases that are told apart; the last number stands for all others.
const DATABASES: usize = 511;
/// Shards that are told apart, likewise.
const SHARDS: u16 = 127;

/// One core's counts by role and reason, and the databases that its shapes' counts are of.
#[derive(Debug)]
pub struct Routes {
    counts: [[Cell<u64>; Why::COUNT]; 2],
    databases: RefCell<Vec<Arc<str>>>,
}

/// How often a shape went to one place for one reason.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Routed {
    /// The beginning of its text without literals.
    pub shape: String,
    /// The database; `None`: one of those beyond the number that is told apart.
    pub database: Option<Arc<str>>,
    /// Where; `None`: to several places for several reasons.
    pub target: Option<(TargetRole, ShardIndex)>,
    /// Why, likewise.
    pub why: Option<Why>,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            counts: std::array::from_fn(|_| std::array::from_fn(|_| Cell::new(0))),
            databases: RefCell::default(),
        }
    }
}

impl Routes {
    /// The number of a database here.
    pub(crate) fn database(&self, name: &Arc<str>) -> u32 {
        let mut databases = self.databases.borrow_mut();
        let at = databases.iter().position(|known| known == name).unwrap_or_else(|| {
            if databases.len() < DATABASES {
                databases.push(Arc::clone(name));
                databases.len() - 1
            } else {
                DATABASES
            }
        });
        u32::try_from(at).unwrap_or_default()
    }

    /// Statements by role and reason.
    pub fn counts(&self) -> impl Iterator<Item = (TargetRole, Why, u64)> {
        let of = |role: TargetRole| {
            let counts = &self.counts[usize::from(role == TargetRole::Replica)];
            Why::all().zip(counts).map(move |(why, count)| (role, why, count.get()))
        };
        of(TargetRole::Primary).chain(of(TargetRole::Replica))
    }
}

impl Core {
    /// The places that this core's shapes went to, the most used first, at most so many.
    pub fn routed(&self, most: usize) -> Vec<(Routed, u64)> {
        let analyzer = self.analyzer.borrow();
        let databases = self.routes.databases.borrow();
        let mut all = Vec::new();
        for (shape, facts) in analyzer.all_shapes() {
            all.extend(facts.routed.counts().map(|(key, count)| (count, shape, key)));
        }
        all.sort_unstable_by_key(|(count, _, _)| std::cmp::Reverse(*count));
        all.truncate(most);
        all.into_iter().map(|(count, shape, key)| (Routed::of(shape, key, &databases), count)).collect()
    }
}

impl Routed {
    fn of(shape: &[u8], key: Option<u32>, databases: &[Arc<str>]) -> Self {
        let shape = sql::outline_of_shape(shape);
        let Some(key) = key else { return Self { shape, database: None, target: None, why: None } };
        let bits =
            |from: u32, width: u32| usize::try_from(key >> from & ((1 << width) - 1)).unwrap_or_default();
        let role = if bits(0, 1) == 1 { TargetRole::Replica } else { TargetRole::Primary };
        let shard = ShardIndex(u16::try_from(bits(7, 7)).unwrap_or_default());
        Self {
            shape,
            database: databases.get(bits(14, 9)).cloned(),
            target: Some((role, shard)),
            why: Why::numbered(bits(1, 6)),
        }
    }
}

impl Book {
    /// A statement is sent there.
    #[inline]
    pub(crate) fn count_route(&self, at: &Admission<'_>, facts: &Facts) {
        let Some(last) = &self.last else { return };
        let why = last.reason.role.why();
        let Target { shard, role } = at.target;
        let replica = role == TargetRole::Replica;
        let count = &at.core.routes.counts[usize::from(replica)][why.number()];
        count.set(count.get().wrapping_add(1));
        let why = u32::try_from(why.number()).unwrap_or_default();
        let shard = u32::from(shard.0.min(SHARDS));
        facts.routed.count(u32::from(replica) | why << 1 | shard << 7 | self.database << 14);
    }
}
