//! From raw shapes to the checked configuration: the order of the parts, and what all of them need.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::error::{Errors, Sink};
use crate::model::{ClusterId, Config, Secret};
use crate::raw;
use crate::reader::Reader;
use crate::said::Said;
use crate::scalar::{Password, Text};
use crate::tree::Tree;
use crate::{auth, clusters, databases, listen, pool, users};

/// What every part of the check needs.
pub(crate) struct Context<'a> {
    pub(crate) sink: &'a Sink,
    pub(crate) env: &'a dyn Fn(&str) -> Option<String>,
    /// Folder that relative paths start from.
    pub(crate) base_dir: &'a Path,
    /// Cores of this machine.
    pub(crate) cores: usize,
}

/// Checks a tree; `sink` holds what was wrong with it before.
pub(crate) fn check(
    tree: Option<Tree>,
    sink: Sink,
    env: &dyn Fn(&str) -> Option<String>,
    base_dir: &Path,
) -> Result<Config, Errors> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let config = tree.and_then(|tree| {
        let raw = match tree.root {
            Some(root) => raw::File::deserialize(Reader::new(&tree, &sink, root)).ok()?,
            None => raw::File::default(),
        };
        assemble(&raw, &Context { sink: &sink, env, base_dir, cores })
    });
    let (mut config, warnings) = sink.finish(config)?;
    config.warnings = warnings;
    Ok(config)
}

/// `None` only where the checked type cannot be made at all; errors are in the sink.
fn assemble(raw: &raw::File, context: &Context<'_>) -> Option<Config> {
    let instance = listen::instance(&raw.instance.clone_or_default(), context);
    let health = pool::health(&raw.health.clone_or_default());
    let clusters = clusters::clusters(raw.clusters.get(), instance.fleet, context);
    let users = users::users(raw, context);
    let mut config = Config {
        listen: listen::listen(&raw.listen.clone_or_default(), context),
        admin: auth::admin(&raw.admin.clone_or_default()),
        log: listen::log(&raw.log.clone_or_default()),
        auth: auth::auth(&raw.auth.clone_or_default(), context),
        limits: pool::limits(&raw.limits.clone_or_default(), context),
        pool: pool::pool_defaults(&raw.pool.clone_or_default(), context),
        route: pool::route_defaults(&raw.route.clone_or_default()),
        failover_wait: pool::failover_wait(&raw.failover.clone_or_default()),
        resolve_commits: pool::resolve_commits(&raw.failover.clone_or_default()),
        instance,
        health,
        clusters,
        users,
        databases: Vec::new(),
        warnings: Vec::new(),
    };
    databases::databases(raw, &mut config, context);
    auth::check_names(raw, &config, context);
    pool::check_detection(raw, &config, context);
    Some(config)
}

impl<T: Clone + Default> Said<T> {
    pub(crate) fn clone_or_default(&self) -> T {
        self.get().cloned().unwrap_or_default()
    }
}

impl Context<'_> {
    /// A setting that this version cannot obey, and whose absence would be wrong without a word.
    pub(crate) fn refuse_later<T>(&self, said: &Said<T>) {
        if let Some((place, _)) = said.with_place() {
            self.sink.error(place, "is not supported by this version");
        }
    }

    /// The same for one that may be null.
    pub(crate) fn refuse_later_unless_null<T>(&self, said: &Said<Option<T>>) {
        if let Some((place, Some(_))) = said.with_place() {
            self.sink.error(place, "is not supported by this version");
        }
    }

    /// A setting that only tunes what this version doesn't do.
    pub(crate) fn warn_no_effect<T>(&self, said: &Said<T>) {
        if let Some(place) = said.place() {
            self.sink.warn(place, "has no effect in this version");
        }
    }

    pub(crate) fn resolve(&self, path: &str) -> PathBuf {
        self.base_dir.join(path)
    }

    pub(crate) fn path(&self, said: &Said<Option<Text>>) -> Option<PathBuf> {
        text(said).map(|path| self.resolve(path))
    }

    /// A password, said or in a file. An empty one is none.
    pub(crate) fn secret(&self, said: &Said<Option<Password>>, file: &Said<Option<Text>>) -> Option<Secret> {
        let direct = said.get().and_then(|password| password.as_ref()).map(|password| password.0.clone());
        if let (Some(_), Some((place, Some(_)))) = (&direct, file.with_place()) {
            self.sink.error(place, "password and password_file are both there; expected one of them");
        }
        direct.or_else(|| self.secret_file(file)).filter(|secret| !secret.0.is_empty())
    }

    fn secret_file(&self, file: &Said<Option<Text>>) -> Option<Secret> {
        let (place, Some(path)) = file.with_place()? else { return None };
        let path = self.resolve(&path.0);
        match std::fs::read_to_string(&path) {
            Ok(text) => Some(Secret(text.trim_end_matches(['\r', '\n']).to_owned())),
            Err(error) => {
                let message =
                    format!("{} cannot be read: {error}; expected a file with a password", path.display());
                self.sink.error(place, message);
                None
            }
        }
    }

    /// The cluster of a name, which must exist.
    pub(crate) fn cluster_id(
        &self,
        said: &Said<Text>,
        clusters: &[crate::model::Cluster],
    ) -> Option<ClusterId> {
        let (place, name) = said.with_place()?;
        let index = clusters.iter().position(|cluster| cluster.name == name.0);
        let id = index.and_then(|index| u16::try_from(index).ok()).map(ClusterId);
        if id.is_none() {
            let known: Vec<&str> = clusters.iter().map(|cluster| cluster.name.as_str()).collect();
            self.dangling(place, "cluster", &name.0, &known, "clusters");
        }
        id
    }

    /// Notes a name that names nothing.
    pub(crate) fn dangling(
        &self,
        place: crate::error::Place,
        what: &str,
        name: &str,
        known: &[&str],
        section: &str,
    ) {
        let near = crate::error::suggestion(name, known.iter().copied());
        let message = if !near.is_empty() {
            format!("no {what} `{name}`{near}")
        } else if known.is_empty() {
            format!("no {what} `{name}`; expected a name under {section}, which has none")
        } else if known.len() <= 12 {
            format!("no {what} `{name}`; expected a name under {section}: {}", known.join(", "))
        } else {
            format!("no {what} `{name}`; expected a name under {section}")
        };
        self.sink.error(place, message);
    }
}

/// The text of a setting that may be null.
pub(crate) fn text(said: &Said<Option<Text>>) -> Option<&str> {
    said.get().and_then(|text| text.as_ref()).map(|text| text.0.as_str())
}

/// The same, owned.
pub(crate) fn owned(said: &Said<Option<Text>>) -> Option<String> {
    text(said).map(str::to_owned)
}
