//! pgbouncer.ini: read with positions, turned into the tree that YAML would give, and written as YAML.
//!
//! PgBouncer's defaults hold where its file is silent: `pool_mode` is session there, `auth_type` md5, and so on.

mod convert;
mod databases;
mod doc;
mod parse;
mod settings;
mod write;

use std::path::Path;

use crate::check;
use crate::error::{Errors, Sink};
use crate::load::read_file;
use crate::model::Config;

/// Reads and checks text in PgBouncer's format.
pub(crate) fn parse_ini(
    text: &str,
    source_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    base_dir: &Path,
) -> Result<Config, Errors> {
    let sink = Sink::new(source_name);
    let tree = doc::tree(&convert::convert(&parse::parse(text, &sink), &sink, base_dir));
    check::check(Some(tree), sink, env, base_dir)
}

/// What a pgbouncer.ini says, as YAML for the same folder. It is checked first.
pub fn import_ini(path: &Path) -> Result<String, Errors> {
    let text = read_file(path)?;
    let source = path.display().to_string();
    let base_dir = path.parent().unwrap_or(Path::new(""));
    let config = parse_ini(&text, &source, &|name| std::env::var(name).ok(), base_dir)?;
    let sink = Sink::new(&source);
    let doc = convert::convert(&parse::parse(&text, &sink), &sink, base_dir);
    let mut out = format!("# From {}, as pgweir reads it.\n", path.file_name().unwrap_or_default().display());
    for warning in &config.warnings {
        out.push_str(&format!("# Not carried over, or to be looked at: {}\n", warning.replace('\n', " ")));
    }
    out.push('\n');
    write::write(&doc, &mut out);
    Ok(out)
}

/// A piece of text and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spot<T> {
    pub(crate) line: usize,
    pub(crate) column: usize,
    pub(crate) text: T,
}
