//! One file for each command.

use std::io::Write;

use crate::cli::Command;

mod check;
mod explain;
mod import;
mod run;
mod schema;

/// Runs `command`; what it has to say goes to `out`.
pub(crate) fn run(command: Command, out: &mut dyn Write) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run::run(&arguments),
        Command::Check(arguments) => check::run(&arguments, out),
        Command::Explain(arguments) => explain::run(&arguments, out),
        Command::Import(arguments) => import::run(&arguments, out),
        Command::Schema => schema::run(out),
        Command::Demo(arguments) => crate::demo::run(&arguments, out),
    }
}
