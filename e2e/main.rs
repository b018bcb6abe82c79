//! `mill-e2e`: runs stories, lists them, or fills a registry with their images.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use mill_e2e::bench::BENCHES;
use mill_e2e::harness::runner::{self, Setup};
use mill_e2e::harness::{Context as _, Failed, images, space};
use mill_e2e::scenarios::{Pace, STORIES, Story};

const USAGE: &str = "\
mill-e2e list
    names of all stories
mill-e2e run --mill FILE --apps FILE --folder DIR [--faulty FILE] [--deb FILE] [--long] [--vm] [NAME… | all | --patient]
    runs the stories of these names, one after the other; without a name those that want the machine
    for themselves, with --patient those that take their time: two such runs may go side by side;
    with --vm in a virtual machine: Debian's own kernel, control groups of version 2 alone
mill-e2e bench …
    measures in the same way, and prints what it measured
mill-e2e images --apps FILE --folder DIR --registry HOST:PORT
    builds the images of the test programs and pushes them
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let rest = args.get(1..).unwrap_or_default();
    let done = match args.first().map(String::as_str) {
        Some(space::INIT) => space::init(rest).map(ExitCode::from),
        Some(space::TELL) => runner::tell(rest).map(|()| ExitCode::SUCCESS),
        Some("list") => list(),
        Some("run") => run(rest, STORIES),
        Some("bench") => run(rest, BENCHES),
        Some("images") => push_images(rest),
        _ => Err(Failed::because(format!("usage:\n{USAGE}"))),
    };
    done.unwrap_or_else(|failed| {
        let _ = writeln!(io::stderr(), "{failed}");
        ExitCode::FAILURE
    })
}

fn list() -> Result<ExitCode, Failed> {
    for story in STORIES {
        let waits = if story.pace == Pace::Patient { "  (takes its time)" } else { "" };
        writeln!(io::stdout(), "{}{waits}", story.name).or_fail("stdout")?;
    }
    Ok(ExitCode::SUCCESS)
}

fn run(args: &[String], known: &'static [Story]) -> Result<ExitCode, Failed> {
    let options = Options::parse(args)?;
    let setup = Setup {
        mill: options.mill.or_fail("--mill FILE is missing")?,
        apps: options.apps.or_fail("--apps FILE is missing")?,
        faulty: options.faulty,
        deb: options.deb,
        folder: options.folder.or_fail("--folder DIR is missing")?,
        long: options.long,
    };
    let stories = chosen(&options.names, options.patient, known)?;
    let tally = match options.vm {
        true => runner::run_in_vm(&setup, &stories, &mut io::stdout())?,
        false => runner::run(&setup, &stories, &mut io::stdout())?,
    };
    let failed = tally.failed.len();
    writeln!(io::stdout(), "{} passed, {failed} failed", tally.passed).or_fail("stdout")?;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String], patient: bool, known: &'static [Story]) -> Result<Vec<&'static Story>, Failed> {
    let of = |pace| known.iter().filter(|story| story.pace == pace).collect();
    match names {
        [] if patient => Ok(of(Pace::Patient)),
        [] => Ok(of(Pace::Brisk)),
        [all] if all == "all" => Ok(known.iter().collect()),
        names => names
            .iter()
            .map(|name| {
                let story = known.iter().find(|story| story.name == name);
                story.or_fail(format_args!("no story `{name}`; `mill-e2e list` names them"))
            })
            .collect(),
    }
}

fn push_images(args: &[String]) -> Result<ExitCode, Failed> {
    let options = Options::parse(args)?;
    let folder = options.folder.or_fail("--folder DIR is missing")?;
    let apps = options.apps.or_fail("--apps FILE is missing")?;
    images::push_ours(&folder, &apps, options.registry.or_fail("--registry HOST:PORT is missing")?)?;
    Ok(ExitCode::SUCCESS)
}

#[derive(Default)]
struct Options {
    mill: Option<PathBuf>,
    apps: Option<PathBuf>,
    faulty: Option<PathBuf>,
    deb: Option<PathBuf>,
    folder: Option<PathBuf>,
    registry: Option<SocketAddr>,
    long: bool,
    patient: bool,
    vm: bool,
    names: Vec<String>,
}

impl Options {
    fn parse(args: &[String]) -> Result<Self, Failed> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let mut value = || args.next().or_fail(format_args!("{arg} lacks its value"));
            // programs are run from other directories
            let absolute = |path: &String| std::path::absolute(path).or_fail(path);
            match arg.as_str() {
                "--mill" => options.mill = Some(absolute(value()?)?),
                "--apps" => options.apps = Some(absolute(value()?)?),
                "--faulty" => options.faulty = Some(absolute(value()?)?),
                "--deb" => options.deb = Some(absolute(value()?)?),
                "--folder" => options.folder = Some(absolute(value()?)?),
                "--registry" => options.registry = Some(value()?.parse().or_fail("--registry")?),
                "--long" => options.long = true,
                "--patient" => options.patient = true,
                "--vm" => options.vm = true,
                name if !name.starts_with('-') => options.names.push(name.to_owned()),
                unknown => return Err(Failed::because(format!("no option {unknown}; usage:\n{USAGE}"))),
            }
        }
        Ok(options)
    }
}
