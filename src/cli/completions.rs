use clap::{Args, Command};
use clap_complete::Shell;
use ipsight::{Error, Result};

use super::output::STDOUT;

#[derive(Args)]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub fn run(args: CompletionsArgs, mut program: Command) -> Result<()> {
    // Through a buffer, because clap_complete panics where stdout is closed.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut program, "ipsight", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(Error::io("write", STDOUT))
}
