//! Finds Postgres' programs on this machine.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use crate::{Error, Result};

/// What a cluster needs besides `psql`, in the order in which a missing one is named.
const SERVER_PROGRAMS: [&str; 3] = ["postgres", "initdb", "pg_basebackup"];

/// Where distributions put each major version's programs: a folder of numbered folders.
const VERSIONED: [(&str, &str); 2] = [("/usr/lib/postgresql", ""), ("/usr", "pgsql-")];

/// Where Postgres' programs are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    folder: PathBuf,
    psql: PathBuf,
}

impl Binaries {
    /// Looks in `PG_BIN`, then `/usr/lib/postgresql/*/bin` (the highest version), then in `PATH`.
    ///
    /// # Errors
    /// [`Error::BadPgBin`] if `PG_BIN` is set and hasn't the programs; [`Error::NotInstalled`] if they are
    /// nowhere, which says what to install.
    pub fn find() -> Result<Binaries> {
        let path = env::var_os("PATH").unwrap_or_default();
        let path: Vec<PathBuf> = env::split_paths(&path).collect();
        let versioned = VERSIONED.iter().flat_map(|(root, prefix)| versions(Path::new(root), prefix));
        Self::find_in(env::var_os("PG_BIN").map(PathBuf::from), versioned.collect(), path)
    }

    fn find_in(pg_bin: Option<PathBuf>, versioned: Vec<PathBuf>, path: Vec<PathBuf>) -> Result<Binaries> {
        if let Some(folder) = pg_bin.filter(|folder| !folder.as_os_str().is_empty()) {
            return match missing(&folder) {
                Some(program) => Err(Error::BadPgBin { folder, program }),
                None => Self::with_psql(folder, &path),
            };
        }
        let everywhere = versioned.iter().chain(&path);
        match everywhere.clone().find(|folder| missing(folder).is_none()) {
            Some(folder) => Self::with_psql(folder.clone(), &path),
            None => {
                let psql = everywhere.map(|folder| folder.join("psql")).find(|file| file.is_file());
                let seen = psql.map_or_else(String::new, |psql| {
                    format!(" ({} is there, but that is the client only)", psql.display())
                });
                Err(Error::NotInstalled { program: SERVER_PROGRAMS[0], seen })
            }
        }
    }

    fn with_psql(folder: PathBuf, path: &[PathBuf]) -> Result<Binaries> {
        let mut candidates = std::iter::once(&folder).chain(path).map(|folder| folder.join("psql"));
        match candidates.find(|file| file.is_file()) {
            Some(psql) => Ok(Binaries { folder, psql }),
            None => Err(Error::NotInstalled { program: "psql", seen: String::new() }),
        }
    }

    /// The server's own program of that name, such as `initdb`.
    pub fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The `psql` to use.
    pub fn psql(&self) -> &Path {
        &self.psql
    }
}

/// The first program that `folder` hasn't.
fn missing(folder: &Path) -> Option<&'static str> {
    SERVER_PROGRAMS.into_iter().find(|program| !folder.join(program).is_file())
}

/// `root/prefixN/bin` for every number N, the highest first.
fn versions(root: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((version, entry.path().join("bin")))
        })
        .collect();
    found.sort_by_key(|(version, _)| std::cmp::Reverse(*version));
    found.into_iter().map(|(_, folder)| folder).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder_with(root: &Path, name: &str, programs: &[&str]) -> PathBuf {
        let folder = root.join(name);
        fs::create_dir_all(&folder).unwrap();
        for program in programs {
            fs::write(folder.join(program), "").unwrap();
        }
        folder
    }

    const ALL: [&str; 4] = ["postgres", "initdb", "pg_basebackup", "psql"];

    #[test]
    fn the_highest_version_wins_as_a_number() {
        let root = tempfile::tempdir().unwrap();
        folder_with(root.path(), "9/bin", &ALL);
        let sixteen = folder_with(root.path(), "16/bin", &ALL);
        folder_with(root.path(), "17/bin", &["psql"]);
        let found = Binaries::find_in(None, versions(root.path(), ""), vec![]).unwrap();
        assert_eq!(found.program("initdb"), sixteen.join("initdb"));
        assert_eq!(found.psql(), sixteen.join("psql"));
    }

    #[test]
    fn pg_bin_is_obeyed_or_refused_but_never_passed_over() {
        let root = tempfile::tempdir().unwrap();
        let good = folder_with(root.path(), "good", &ALL);
        let bad = folder_with(root.path(), "bad", &["postgres"]);
        let error = Binaries::find_in(Some(bad), vec![good.clone()], vec![]).unwrap_err();
        assert!(matches!(error, Error::BadPgBin { program: "initdb", .. }), "{error}");
        assert_eq!(Binaries::find_in(Some(good.clone()), vec![], vec![]).unwrap().folder, good);
    }

    #[test]
    fn a_lone_psql_is_named_and_the_package_too() {
        let root = tempfile::tempdir().unwrap();
        let client = folder_with(root.path(), "client", &["psql"]);
        let message = Binaries::find_in(None, vec![], vec![client]).unwrap_err().to_string();
        assert!(
            message.contains("client only") && message.contains("apt-get install postgresql"),
            "{message}"
        );
    }

    #[test]
    fn psql_may_be_elsewhere() {
        let root = tempfile::tempdir().unwrap();
        let server = folder_with(root.path(), "server", &ALL[..3]);
        let client = folder_with(root.path(), "client", &["psql"]);
        let found = Binaries::find_in(None, vec![server.clone()], vec![client.clone()]).unwrap();
        assert_eq!((found.folder.as_path(), found.psql()), (server.as_path(), client.join("psql").as_path()));
        assert!(Binaries::find_in(None, vec![server], vec![]).is_err());
    }
}
