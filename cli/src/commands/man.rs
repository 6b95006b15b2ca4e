//! `mountless man`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mountless::source::Replacement;

use crate::failure::{EXIT_FAILED, Failure, Result};

/// Writes the manual into a directory: a page for each command
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mountless man /usr/local/share/man/man1")]
pub(crate) struct Args {
    /// The directory, which must be there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &Args, command: clap::Command) -> Result {
    // So that the pages of commands know what they are commands of.
    let mut command = command;
    command.build();
    write(&args.dir, "mountless", command.clone())?;
    for inner in command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help") {
        let name = format!("mountless-{}", inner.get_name());
        write(&args.dir, &name, inner.clone().display_name(&name))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn write(dir: &Path, name: &str, command: clap::Command) -> Result<()> {
    let path = dir.join(format!("{name}.1"));
    let failed = |error: &dyn std::fmt::Display| {
        let failure = Failure::new(EXIT_FAILED, format!("cannot write: {}: {error}", path.display()));
        failure.next("the directory must exist")
    };
    let mut page = Vec::new();
    clap_mangen::Man::new(command).render(&mut page).map_err(|error| failed(&error))?;
    let mut file = Replacement::create(&path).map_err(|error| failed(&error))?;
    file.write_all(&page).map_err(|error| failed(&error))?;
    file.commit().map_err(|error| failed(&error))
}
