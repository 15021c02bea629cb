//! The ways in: a file, a text, a URL.

use std::path::Path;

use crate::check;
use crate::error::{Errors, Sink};
use crate::ini;
use crate::model::Config;
use crate::tree::{Entry, Style, Tree, Value};
use crate::yaml;

/// The environment of this process.
fn process_env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads and checks a file: YAML (`.yaml`, `.yml`) or PgBouncer's (`.ini`). Relative paths in it start from its
/// folder, variables are those of this process.
pub fn load(path: &Path) -> Result<Config, Errors> {
    let source = path.display().to_string();
    let text = read_file(path)?;
    let base_dir = path.parent().unwrap_or(Path::new(""));
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("yaml" | "yml") => parse_yaml(&text, &source, &process_env, base_dir),
        Some("ini") => ini::parse_ini(&text, &source, &process_env, base_dir),
        _ => Err(Errors::one(&source, "not a known kind of file; expected .yaml, .yml or .ini")),
    }
}

pub(crate) fn read_file(path: &Path) -> Result<String, Errors> {
    std::fs::read_to_string(path)
        .map_err(|error| Errors::one(&path.display().to_string(), format!("cannot be read: {error}")))
}

/// Reads and checks YAML text. `source_name` stands in messages, `env` gives variables, relative paths start from
/// `base_dir`.
pub fn parse_yaml(
    text: &str,
    source_name: &str,
    env: &dyn Fn(&str) -> Option<String>,
    base_dir: &Path,
) -> Result<Config, Errors> {
    let sink = Sink::new(source_name);
    let tree = yaml::read(text, &sink, env);
    check::check(tree, sink, env, base_dir)
}

/// The configuration of a libpq URL: one database of the URL's name (any name where it has none), its hosts a
/// primary and its replicas, on the default address. The URL's user may log in with the URL's password.
pub fn from_url(url: &str) -> Result<Config, Errors> {
    const SOURCE: &str = "--url";
    let target = crate::url::parse(url).map_err(|message| Errors::one(SOURCE, message))?;
    let sink = Sink::new(SOURCE);
    let mut tree = Tree::default();
    let entry = |key: String, value| Entry { key, line: 0, column: 0, label: None, value };
    let text = tree.add(0, 0, Value::Scalar { text: url.to_owned(), style: Style::Quoted });
    let databases = vec![entry(target.dbname.unwrap_or_else(|| "*".into()), text)];
    let databases = tree.add(0, 0, Value::Map(databases));
    tree.root = Some(tree.add(0, 0, Value::Map(vec![entry("databases".into(), databases)])));
    check::check(Some(tree), sink, &process_env, Path::new(""))
}
