//! The project's own commands: `cargo demo`, `cargo prove`, `cargo xtask …`.
//!
//! Needs std alone, since it installs what everything else needs.

use std::io::Write as _;
use std::process::ExitCode;

mod bpf;
mod deb;
mod demo;
mod failures;
mod guard;
mod house;
mod install;
mod prove;
mod shell;
mod tally;

use house::House;
use shell::Trouble;

const USAGE: &str = "\
cargo demo                  a tour of Mill on this machine; leaves it running
cargo demo stop             ends what the tour left running
cargo prove                 everything that must pass, and what ran

cargo xtask install         what a build and the tests need, by apt-get
cargo xtask check           format, lints, licences, documentation, the rules of the house: no tests of rooms
cargo xtask e2e [NAME…]     end-to-end stories; `all`, or a name that `cargo xtask e2e list` gives;
                            with --vm on Debian's own kernel, with control groups of version 2 alone
cargo xtask sim [ARGS…]     the simulation; --seeds N, --seed S
cargo xtask bpf             builds the programs for the kernel; needs clang and llvm
cargo xtask deb             Mill's Debian package, of a release build
cargo xtask bench           measurements beside the peers, printed
cargo xtask prove-long      everything in full counts: an hour or more
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = House::find().and_then(|house| run(&house, &words));
    done.unwrap_or_else(|trouble| {
        let _ = writeln!(std::io::stderr(), "\n{trouble}");
        ExitCode::FAILURE
    })
}

fn run(house: &House, words: &[&str]) -> Result<ExitCode, Trouble> {
    match words {
        ["demo"] => demo::run(house).map(|()| ExitCode::SUCCESS),
        ["demo", "stop"] => demo::stop(house).map(|()| ExitCode::SUCCESS),
        [guard::COMMAND, ..] => guard::watch(house).map(|()| ExitCode::SUCCESS),
        ["prove"] => prove::prove(house),
        ["prove-long"] => prove::prove_long(house),
        ["check"] => prove::check(house),
        ["install"] => install::all(house).map(|()| ExitCode::SUCCESS),
        ["e2e", names @ ..] => prove::stories(house, names),
        ["sim", args @ ..] => prove::simulation(house, args),
        ["bpf"] => bpf::build(house).map(|()| ExitCode::SUCCESS),
        ["deb"] => deb::release(house).map(|()| ExitCode::SUCCESS),
        ["bench"] => prove::bench(house),
        _ => Err(Trouble::Usage(USAGE)),
    }
}
