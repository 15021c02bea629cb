//! The nodes of a cluster that reads may go to, as a choice asks for them: found out once for each view.

use config::{MaxLag, NodeRole};

use crate::standing::Standing;
use crate::view::{FULL_EASE, Lag, NodeIndex, NodeView, Proximity, numbered};

/// The nodes that reads may go to, nearest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Readers {
    all: Vec<Reader>,
    /// So many of them are the nearest.
    nearest: usize,
    /// The worst of the nearest, in each respect.
    lag: Lag,
    /// Whether one of the nearest doesn't take all of its share yet.
    easing: bool,
}

/// A node that reads may go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reader {
    pub(crate) node: NodeIndex,
    pub(crate) weight: u32,
    /// How much of its share it takes, in thousandths.
    pub(crate) ease: u16,
    /// Its weight, less while it starts slowly: what its load is measured by.
    pub(crate) pull: u64,
    lag: Lag,
    proximity: Proximity,
}

impl Reader {
    fn new((node, view): (NodeIndex, &NodeView)) -> Self {
        // What isn't known doesn't count against it: some services don't tell their position.
        let lag = view.lag.unwrap_or_default();
        let pull = u64::from(view.weight) * u64::from(view.ease);
        Self { node, weight: view.weight, ease: view.ease, pull, lag, proximity: view.proximity }
    }

    /// Whether it is no further behind than this.
    pub(crate) fn keeps_up(&self, max_lag: Option<MaxLag>) -> bool {
        self.lag.is_within(max_lag)
    }
}

impl Readers {
    /// The replicas that are up and have a weight; `primary` counts as one of them.
    pub(crate) fn new(nodes: &[NodeView], standings: &[Standing], primary: Option<NodeIndex>) -> Self {
        let reads = |(index, node): &(NodeIndex, &NodeView)| {
            let reads = node.role == Some(NodeRole::Replica) || Some(*index) == primary;
            let member = standings.get(usize::from(index.0)) == Some(&Standing::Member);
            node.up && member && reads && node.weight > 0
        };
        let replicas = numbered(nodes).filter(reads).filter(|(index, _)| Some(*index) != primary);
        let heed = may_heed_outliers(replicas.map(|(_, node)| node));
        let all = numbered(nodes).filter(reads).filter(|(_, node)| !heed || node.out.is_none());
        let mut all: Vec<_> = all.map(Reader::new).collect();
        all.sort_by_key(|reader| reader.proximity);
        let nearest = all.chunk_by(is_as_near).next().unwrap_or_default();
        let worst = |worst: Lag, reader: &Reader| Lag {
            bytes: worst.bytes.max(reader.lag.bytes),
            time: worst.time.max(reader.lag.time),
        };
        let lag = nearest.iter().fold(Lag::default(), worst);
        // Who is alone has nobody to leave its share to.
        let easing = nearest.len() > 1 && nearest.iter().any(|reader| reader.ease < FULL_EASE);
        let nearest = nearest.len();
        Self { all, nearest, lag, easing }
    }

    /// Those that reads go to as long as one of them may be used.
    #[inline]
    pub(crate) fn nearest(&self) -> &[Reader] {
        &self.all[..self.nearest]
    }

    /// Whether there is nothing to be said against any of the nearest.
    #[inline]
    pub(crate) fn nearest_are_sound(&self, max_lag: Option<MaxLag>) -> bool {
        !self.easing && self.lag.is_within(max_lag)
    }

    /// All of them, those of the same distance together, nearest first.
    pub(crate) fn by_distance(&self) -> impl Iterator<Item = &[Reader]> {
        self.all.chunk_by(is_as_near)
    }
}

impl Reader {
    /// Whether it is further away than this.
    pub(crate) fn is_beyond(&self, bound: Option<Proximity>) -> bool {
        bound.is_some_and(|bound| self.proximity > bound)
    }
}

fn is_as_near(a: &Reader, b: &Reader) -> bool {
    a.proximity == b.proximity
}

/// Traffic may have replicas out of the reads only as long as that leaves as many of those that are up as it takes away,
/// and one at least: when more of them look sick, it is more likely something else that is.
fn may_heed_outliers<'a>(replicas: impl Iterator<Item = &'a NodeView>) -> bool {
    let (mut up, mut out) = (0, 0);
    for node in replicas {
        up += 1;
        out += u32::from(node.out.is_some());
    }
    out <= up / 2
}
