//! `mill completions`

use clap::{Args, Command};
use clap_complete::Shell;

use super::error::CliError;
use super::ui::Ui;

/// Print completions for a shell
///
/// bash: `mill completions bash > /etc/bash_completion.d/mill`;
/// zsh: `mill completions zsh > "${fpath[1]}/_mill"`;
/// fish: `mill completions fish > ~/.config/fish/completions/mill.fish`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// Which shell
    shell: Wanted,
}

/// Shells that are tested.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Wanted {
    Bash,
    Zsh,
    Fish,
}

pub(crate) fn run(ui: &mut Ui<'_>, args: &CompletionsArgs, mut command: Command) -> Result<(), CliError> {
    let shell = match args.shell {
        Wanted::Bash => Shell::Bash,
        Wanted::Zsh => Shell::Zsh,
        Wanted::Fish => Shell::Fish,
    };
    // Into memory first: the generator panics when its output goes away.
    let mut text = vec![];
    clap_complete::generate(shell, &mut command, "mill", &mut text);
    ui.data.write_all(&text)?;
    Ok(())
}
