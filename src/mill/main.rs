//! `mill`: the program. It reads its command line ([`cli`]) and is then one of three things: a client that asks a
//! cluster, the daemon, or the plane.

mod cli;

use std::process::ExitCode;

use cli::{CliError, Exit, Invocation};

fn main() -> ExitCode {
    let exit = match cli::read(std::env::args_os()) {
        Invocation::Client(client) => block_on(cli::run(&client)),
        Invocation::Over(exit) => exit,
        Invocation::Daemon(_) | Invocation::Dev(_) | Invocation::Plane(_) | Invocation::Clean(_) => unwired(),
    };
    exit.into()
}

/// A client does one thing at a time: one thread is enough.
fn block_on(work: impl Future<Output = Exit>) -> Exit {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => {
            let error = CliError::new(Exit::Failed, "the command can't be started")
                .source(&error)
                .hint("is the machine out of memory or file descriptors?");
            cli::report(&error, false)
        }
    }
}

fn unwired() -> Exit {
    let error = CliError::new(Exit::Failed, "this build has no daemon")
        .because("the command line came first; daemon, plane and their clean-up are being put together")
        .hint("use a later build");
    cli::report(&error, false)
}
