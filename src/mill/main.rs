//! `mill`: the program. It reads its command line ([`cli`]) and is then one of three things: a client that asks a
//! cluster, the daemon, or the plane.

mod cli;
mod daemon;
mod faults;
#[cfg(test)]
mod package;
mod plane;
mod unit;

use std::process::ExitCode;

use cli::{CliError, Exit, Invocation};

fn main() -> ExitCode {
    if let Some(exit) = cli::complete(std::env::args_os()) {
        return exit.into();
    }
    let exit = match cli::read(std::env::args_os()) {
        Invocation::Client(client) => block_on(cli::run(&client)),
        Invocation::Over(exit) => exit,
        Invocation::Daemon(config) => over(daemon::run(&config, false)),
        Invocation::Dev(config) => over(daemon::run(&config, true)),
        Invocation::Plane(config) => over(plane::run(&config)),
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

fn over(result: Result<Exit, CliError>) -> Exit {
    result.unwrap_or_else(|error| cli::report(&error, false))
}
