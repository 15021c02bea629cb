//! The console: the database `pgweir` (or `pgbouncer`) that an administrator connects to with any Postgres client.

mod commands;
mod extended;
mod outcome;
mod reply;
mod session;
mod text;
mod visitors;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use ::session::{Arrival, Console};

use crate::admin::Admin;
pub(crate) use visitors::Visitors;

/// The console as `session::Context` takes it.
struct Door(Arc<Admin>);

impl Admin {
    /// What to put into `Context::console`.
    pub fn console(self: &Arc<Self>) -> Arc<dyn Console> {
        Arc::new(Door(Arc::clone(self)))
    }
}

impl Console for Door {
    fn serve(&self, client: Arrival) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(session::serve(Arc::clone(&self.0), client))
    }
}
