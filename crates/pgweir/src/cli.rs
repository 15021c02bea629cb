//! The command line, as clap sees it: every command, flag and help text.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Postgres connection pooler, read/write router and shard router.
///
/// Exit codes: 0 fine, 1 what was asked failed, 2 bad usage.
#[derive(Debug, Parser)]
#[command(name = "pgweir", version, propagate_version = true)]
pub(crate) struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// One command of the binary.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve until SIGTERM (open transactions may end; a second one: now) or SIGINT
    Run(RunArguments),
    /// Say what a configuration means, or what is wrong with it
    Check(CheckArguments),
    /// Say where SQL would go and why, without a server
    Explain(ExplainArguments),
    /// Print a pgbouncer.ini as pgweir's YAML
    Import(ImportArguments),
    /// Print the JSON Schema of the YAML, for editors
    Schema,
    /// Start a whole cluster on this machine, with pgweir in front: two regions of a primary and two replicas
    Demo(DemoArguments),
}

/// `pgweir run`.
#[derive(Debug, Args)]
#[group(id = "source", required = true, multiple = false)]
pub(crate) struct RunArguments {
    /// Configuration: .yaml, .yml, or a pgbouncer.ini
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Serve one database instead: a libpq URL; several hosts in it are a primary and its replicas
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
}

/// `pgweir check`.
#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// Configuration: .yaml, .yml, or a pgbouncer.ini
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// Ask the servers too: roles, rights, connection arithmetic
    #[arg(long)]
    pub(crate) live: bool,
}

/// `pgweir explain`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("text").required(true).multiple(false).args(["sql", "file"]))]
pub(crate) struct ExplainArguments {
    /// Configuration: .yaml, .yml, or a pgbouncer.ini
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: PathBuf,
    /// The database, as a client names it
    #[arg(short, long, value_name = "DB")]
    pub(crate) database: String,
    /// Every statement of this file (-: standard input), with totals
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// The statement
    #[arg(value_name = "SQL")]
    pub(crate) sql: Option<String>,
}

/// `pgweir import`.
#[derive(Debug, Args)]
pub(crate) struct ImportArguments {
    /// A pgbouncer.ini
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

/// `pgweir demo`.
#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Run the tour, verify each answer, stop everything and exit
    #[arg(long)]
    pub(crate) check: bool,
    /// Port of pgweir; any free one if it is taken
    #[arg(long, value_name = "PORT", default_value_t = 6432)]
    pub(crate) port: u16,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::error::ErrorKind> {
        Arguments::try_parse_from(line.split(' ')).map_err(|error| error.kind())
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn run_wants_exactly_one_source() {
        assert!(parse("pgweir run -c a.yaml").is_ok());
        assert!(parse("pgweir run --url postgres://db/app").is_ok());
        assert_eq!(parse("pgweir run").unwrap_err(), clap::error::ErrorKind::MissingRequiredArgument);
        assert_eq!(
            parse("pgweir run -c a.yaml --url postgres://db/app").unwrap_err(),
            clap::error::ErrorKind::ArgumentConflict
        );
    }

    #[test]
    fn explain_takes_a_statement_or_a_file() {
        assert!(parse("pgweir explain -c a.yaml -d app SELECT").is_ok());
        assert!(parse("pgweir explain -c a.yaml -d app -f a.sql").is_ok());
        assert!(parse("pgweir explain -c a.yaml -d app").is_err());
        assert!(parse("pgweir explain -c a.yaml -d app -f a.sql SELECT").is_err());
        assert!(parse("pgweir explain -c a.yaml SELECT").is_err());
    }
}
