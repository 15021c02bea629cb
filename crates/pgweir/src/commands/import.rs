//! `pgweir import`: a pgbouncer.ini as pgweir's YAML.

use std::io::Write;

use crate::cli::ImportArguments;

pub(super) fn run(arguments: &ImportArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    write!(out, "{}", config::import_ini(&arguments.file)?)?;
    Ok(())
}
