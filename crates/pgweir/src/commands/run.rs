//! `pgweir run`: serve until told to stop.

use crate::cli::RunArguments;
use crate::{logging, serve, source};

pub(super) fn run(arguments: &RunArguments) -> anyhow::Result<()> {
    let config = match (&arguments.config, &arguments.url) {
        (Some(file), _) => source::load(file)?,
        (None, Some(url)) => source::from_url(url)?,
        (None, None) => anyhow::bail!("neither a configuration nor a URL"),
    };
    logging::start(&config.log)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    serve::run(config, arguments.config.clone())
}
