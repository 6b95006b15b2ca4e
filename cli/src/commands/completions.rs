//! `mountless completions`.

use std::process::ExitCode;

use clap_complete::Shell;

use crate::failure::Result;

/// Prints the completions of this command for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  mountless completions bash >/etc/bash_completion.d/mountless")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(crate) fn run(args: &Args, mut command: clap::Command) -> Result {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "mountless", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script)?;
    Ok(ExitCode::SUCCESS)
}
