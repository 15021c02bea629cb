//! `pgweir import`: a pgbouncer.ini as pgweir's YAML.

use std::io::Write;

use crate::cli::ImportArguments;

pub(super) fn run(arguments: &ImportArguments, out: &mut dyn Write) -> anyhow::Result<()> {
    let _ = (arguments, out);
    anyhow::bail!("pgbouncer.ini cannot be read yet")
}
