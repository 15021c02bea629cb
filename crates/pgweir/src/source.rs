//! Where a configuration comes from: a file or a URL.

use std::path::Path;

use anyhow::bail;
use config::{Config, Database};

/// The configuration in `file`, YAML or pgbouncer.ini by its name.
pub(crate) fn load(file: &Path) -> anyhow::Result<Config> {
    Ok(config::load(file)?)
}

/// The configuration that serves the one database of a libpq URL.
pub(crate) fn from_url(url: &str) -> anyhow::Result<Config> {
    Ok(config::from_url(url)?)
}

/// The database that a client names so: by its name, or by `*`.
pub(crate) fn database<'a>(config: &'a Config, name: &str) -> anyhow::Result<&'a Database> {
    match config.database(name) {
        Some(database) => Ok(database),
        None => {
            let known: Vec<&str> = config.databases.iter().map(|database| database.name.as_str()).collect();
            bail!("no database \"{name}\"; the configuration has {}", known.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_docker_compose_serves_is_valid() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/pgweir.yaml");
        let config = load(&file).unwrap();
        assert_eq!(config.warnings, Vec::<String>::new());
        assert!(database(&config, "shop").is_ok());
        let unknown = database(&config, "nowhere").unwrap_err().to_string();
        assert_eq!(unknown, "no database \"nowhere\"; the configuration has shop, saas");
    }
}
