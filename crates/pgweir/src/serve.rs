//! Serving: wires the rooms together and runs until shutdown.

use std::path::PathBuf;

/// Serves until shutdown.
pub(crate) fn run(_config: config::Config, _config_path: Option<PathBuf>) -> anyhow::Result<()> {
    anyhow::bail!("not wired yet")
}
