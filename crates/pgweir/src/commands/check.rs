//! `pgweir check`: what a configuration means, or what is wrong with it.

use std::io::Write;

use crate::cli::CheckArguments;
use crate::source;

mod live;

pub(super) fn run(arguments: &CheckArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let config = source::load(&arguments.config)?;
    writeln!(out, "{} is a valid configuration.\n", arguments.config.display())?;
    write!(out, "{}", config.describe())?;
    if arguments.live {
        live::run(&config, out)?;
    }
    Ok(())
}
