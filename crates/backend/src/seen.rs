//! A core's own hold of a cluster's view: as new as the view, without counting who looks at it.

use std::cell::RefCell;
use std::ops::Deref;
use std::sync::Arc;

use arc_swap::{ArcSwap, Cache};
use route::view::ClusterView;

use crate::cluster::Cluster;

/// A cluster's view, as a core looks at it with each request: one load and a comparison, as long as it is the same.
#[derive(Debug)]
pub struct SeenView(RefCell<Cache<ViewOf, Arc<ClusterView>>>);

#[derive(Debug)]
struct ViewOf(Arc<Cluster>);

impl Deref for ViewOf {
    type Target = ArcSwap<ClusterView>;

    fn deref(&self) -> &Self::Target {
        &self.0.view
    }
}

impl SeenView {
    pub(crate) fn new(cluster: &Arc<Cluster>) -> Self {
        Self(RefCell::new(Cache::new(ViewOf(Arc::clone(cluster)))))
    }

    /// What is known now. Not to be asked from within `look`.
    #[inline]
    pub fn look<T>(&self, look: impl FnOnce(&ClusterView) -> T) -> T {
        look(self.0.borrow_mut().load())
    }
}
