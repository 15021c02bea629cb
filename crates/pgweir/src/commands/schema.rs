//! `pgweir schema`: the JSON Schema of the YAML.

use std::io::Write;

pub(super) fn run(out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{:#}", config::schema())?;
    Ok(())
}
