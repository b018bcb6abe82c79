//! Running stories, one after the other, each on a machine of its own.

use std::fs;
use std::hash::{DefaultHasher, Hasher as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::registry::Registry;
use super::tool::Tool;
use super::{Booted, Context as _, Failed, Machine, World, booted, debian, images, space, vm};
use crate::bench::BENCHES;
use crate::scenarios::{STORIES, Story, Tell};

/// Lines of each log that are shown of a story that failed.
const LINES_SHOWN: usize = 40;

/// What changes when images are built differently, so that those of an earlier version aren't used.
const IMAGES_VERSION: u32 = 5;

/// What stories are run with.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The `mill` binary.
    pub mill: PathBuf,
    /// The programs of `e2e/apps`.
    pub apps: PathBuf,
    /// The same built with the feature `faults`, for the stories that need one.
    pub faulty: Option<PathBuf>,
    /// Mill's Debian package; only stories of whole machines need it.
    pub deb: Option<PathBuf>,
    /// Where images are kept from run to run, and stories have their files.
    pub folder: PathBuf,
    /// Full counts.
    pub long: bool,
}

/// How many passed and which failed.
#[derive(Debug, Default)]
pub struct Tally {
    /// Stories that passed.
    pub passed: usize,
    /// Names of those that failed.
    pub failed: Vec<&'static str>,
}

/// The stories' folder with all images, held for this run until the lock goes: two at once build them once.
fn prepared(setup: &Setup) -> Result<(fs::File, PathBuf), Failed> {
    fs::create_dir_all(&setup.folder).or_fail("the stories' folder")?;
    let lock = fs::File::create(setup.folder.join("lock")).or_fail("the stories' lock")?;
    lock.lock().or_fail("the stories' lock")?;
    clear_dead_runs(&setup.folder);
    let storage = prepare_images(setup)?;
    Ok((lock, storage))
}

/// Runs `stories` and prints a line for each.
///
/// # Errors
/// The images can't be built; stories' own failures are in the tally.
pub fn run(
    setup: &Setup,
    stories: &[&'static Story],
    out: &mut impl std::io::Write,
) -> Result<Tally, Failed> {
    let (lock, storage) = prepared(setup)?;
    let whole = stories.iter().any(|story| matches!(story.tell, Tell::Booted(_)));
    let base = if whole { prepare_debian(setup)? } else { PathBuf::new() };
    let materials = Materials { storage, base, deb: setup.deb.clone().unwrap_or_default() };
    drop(lock);
    let run = setup.folder.join(format!("run-{}", std::process::id()));
    let mut tally = Tally::default();
    for story in stories {
        let begun = Instant::now();
        let folder = run.join(story.name);
        fs::create_dir_all(&folder).or_fail("the story's folder")?;
        let passed = run_one(setup, story, &folder, &materials)?;
        let word = if passed { "ok" } else { "FAILED" };
        let _ = writeln!(out, "story {} ... {word} ({:.1} s)", story.name, begun.elapsed().as_secs_f64());
        // What was measured, and what a long story has to say of its rounds.
        if setup.long || BENCHES.iter().any(|bench| bench.name == story.name) {
            let _ = write!(out, "{}", fs::read_to_string(folder.join("story.log")).unwrap_or_default());
        }
        match passed {
            true => tally.passed += 1,
            false => {
                tally.failed.push(story.name);
                // Beside the others, from wherever the node had its data.
                for data in fs::read_dir(&folder).into_iter().flatten().flatten() {
                    let _ = fs::rename(data.path().join("plane.log"), folder.join("plane.log"));
                }
                show_logs(&folder, out);
            }
        }
        // a failed story leaves its logs, not its containers and images
        let kept = ["story.log", "mill.log", "machine.log", "plane.log", "containerd.log", "registry.log"];
        clear_folder(&folder, if passed { &[] } else { &kept });
    }
    if tally.failed.is_empty() {
        let _ = fs::remove_dir_all(&run);
    }
    Ok(tally)
}

/// Runs `stories` in a virtual machine: another kernel, and control groups of version 2 alone. Prints what that says.
///
/// # Errors
/// The images can't be built, or there is no such machine; stories' own failures are in the tally.
pub fn run_in_vm(
    setup: &Setup,
    stories: &[&'static Story],
    out: &mut impl std::io::Write,
) -> Result<Tally, Failed> {
    let (lock, storage) = prepared(setup)?;
    let images = storage.parent().or_fail("a folder of images")?.to_owned();
    let debian = setup.folder.join(format!("debian-{IMAGES_VERSION}"));
    let kernel = vm::Kernel::fetch(&setup.folder.join("kernel"))?;
    drop(lock);
    let run = setup.folder.join(format!("run-{}", std::process::id()));
    let folder = run.join("vm");
    let program = std::env::current_exe().or_fail("this program")?;
    let mut command = format!("{} run --folder {}", program.display(), folder.join("stories").display());
    let files =
        [("--mill", Some(&setup.mill)), ("--apps", Some(&setup.apps)), ("--faulty", setup.faulty.as_ref())];
    for (option, file) in files.iter().filter_map(|(option, file)| Some((option, (*file)?))) {
        command.push_str(&format!(" {option} {}", file.display()));
    }
    for story in stories {
        command.push_str(&format!(" {}", story.name));
    }
    let errand = vm::Errand {
        folder: &folder,
        stories: &folder.join("stories"),
        kept: &[images, debian],
        command: &command,
    };
    let lines = vm::run(&kernel, &errand, out)?;
    let mut tally = Tally::default();
    for story in stories {
        let ok = format!("story {} ... ok", story.name);
        match lines.iter().any(|line| line.contains(&ok)) {
            true => tally.passed += 1,
            false => tally.failed.push(story.name),
        }
    }
    let _ = fs::remove_dir_all(&run);
    Ok(tally)
}

/// What stories' machines are made of.
struct Materials {
    /// A registry's storage.
    storage: PathBuf,
    /// A Debian, for whole machines.
    base: PathBuf,
    /// Mill's package, for the same.
    deb: PathBuf,
}

fn run_one(setup: &Setup, story: &Story, folder: &Path, materials: &Materials) -> Result<bool, Failed> {
    let log = fs::File::create(folder.join("story.log")).or_fail("the story's log")?;
    let text = |path: &Path| path.to_str().map(str::to_owned).or_fail("a path that is text");
    let mill = match (&story.tell, &setup.faulty) {
        (Tell::Faulty(_), Some(faulty)) => faulty,
        (Tell::Faulty(_), None) => {
            return Err(Failed::because("a story of faults wants --faulty FILE".to_owned()));
        }
        _ => &setup.mill,
    };
    let args = [
        story.name.to_owned(),
        text(folder)?,
        text(mill)?,
        text(&materials.storage)?,
        if setup.long { "long" } else { "short" }.to_owned(),
        text(&materials.base)?,
        text(&materials.deb)?,
    ];
    let parent = cgroup_parent(folder);
    let status = space::run_inside(&args, &parent, log)?;
    space::sweep_cgroups(&parent);
    Ok(status.success())
}

/// A story's cgroup, named like its folder: `run-PID/STORY`.
fn cgroup_parent(folder: &Path) -> String {
    let name = |path: Option<&Path>| {
        path.and_then(Path::file_name).map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
    };
    format!("/mill-e2e-{}-{}", name(folder.parent()), name(Some(folder)))
}

/// Tells the story that `run_one` named, on the machine made for it.
///
/// # Errors
/// The story's failure.
pub fn tell(args: &[String]) -> Result<(), Failed> {
    let [name, folder, mill, storage, length, base, deb] = args else {
        return Err(Failed::because(format!("not how a story is told: {args:?}")));
    };
    let mut known = STORIES.iter().chain(BENCHES);
    let story = known.find(|story| story.name == name).or_fail(format_args!("no story `{name}`"))?;
    let mut machine =
        Machine::start(Path::new(folder), Path::new(storage), Path::new(mill), length == "long")?;
    match story.tell {
        Tell::Machine(tell) => tell(&mut machine),
        Tell::Node(tell) | Tell::Faulty(tell) => tell(&mut World::start(machine)?),
        Tell::Addressed(tell) => tell(&mut World::start_addressed(machine)?),
        Tell::Unmapped(tell) => tell(&mut World::start_unmapped(machine)?),
        Tell::Booted(tell) => {
            tell(&machine, Booted::start(Path::new(folder), Path::new(base))?, Path::new(deb))
        }
    }
}

/// A registry's storage with all images: found from an earlier run with the same programs, else filled.
fn prepare_images(setup: &Setup) -> Result<PathBuf, Failed> {
    let debian = setup.folder.join(format!("debian-{IMAGES_VERSION}"));
    once(&debian, |registry| debian::push_all(&debian, registry))?;
    let mut hasher = DefaultHasher::new();
    hasher.write(&fs::read(&setup.apps).or_fail(format_args!("{}", setup.apps.display()))?);
    hasher.write_u32(IMAGES_VERSION);
    let images = setup.folder.join(format!("images-{:016x}", hasher.finish()));
    if !images.join(DONE).exists() {
        clear_older(&setup.folder, &[&debian, &images]);
        let _ = fs::remove_dir_all(&images);
        fs::create_dir_all(&images).or_fail("a folder for images")?;
        Tool::new("cp").args(["--archive"]).args([debian.join(STORAGE), images.join(STORAGE)]).run()?;
    }
    once(&images, |registry| images::push_ours(&images, &setup.apps, registry))?;
    Ok(images.join(STORAGE))
}

/// A Debian with systemd: found from an earlier run, else built.
fn prepare_debian(setup: &Setup) -> Result<PathBuf, Failed> {
    if setup.deb.is_none() {
        return Err(Failed::because("a whole machine needs Mill's package: --deb FILE is missing"));
    }
    let base = setup.folder.join(format!("systemd-{}", booted::VERSION));
    let done = setup.folder.join(format!("systemd-{}.{DONE}", booted::VERSION));
    if !done.exists() {
        clear_those(&setup.folder, |name| name.starts_with("systemd-"));
        booted::prepare(&base)?;
        fs::write(&done, "").or_fail("the stories' folder")?;
    }
    Ok(base)
}

/// In a folder of images: the registry's storage, and the mark that it is whole.
const STORAGE: &str = "registry";
const DONE: &str = "done";

/// Lets `fill` push into a registry over `folder`, unless that was done before.
fn once(folder: &Path, fill: impl FnOnce(SocketAddr) -> Result<(), Failed>) -> Result<(), Failed> {
    if folder.join(DONE).exists() {
        return Ok(());
    }
    fs::create_dir_all(folder).or_fail("a folder for images")?;
    clear_folder(folder, &[STORAGE]);
    let registry = Registry::start(folder, &folder.join(STORAGE), free_address()?)?;
    fill(registry.address())?;
    drop(registry);
    clear_folder(folder, &[STORAGE]);
    fs::write(folder.join(DONE), "").or_fail("a folder for images")
}

/// Removes images of earlier versions of programs and harness.
fn clear_older(folder: &Path, kept: &[&Path]) {
    let is_kept = |name: &str| kept.iter().any(|kept| kept.file_name().is_some_and(|kept| kept == name));
    let of_images = |name: &str| name.starts_with("images-") || name.starts_with("debian-");
    clear_those(folder, |name| of_images(name) && !is_kept(name));
}

/// Removes folders and files of these names.
fn clear_those(folder: &Path, wanted: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let path = entry.path();
        if entry.file_name().to_str().is_some_and(&wanted) {
            let _ = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        }
    }
}

fn free_address() -> Result<SocketAddr, Failed> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).or_fail("a free port")?;
    listener.local_addr().or_fail("a free port")
}

/// Removes what runs left that were killed: their folders are named by process, and that process is gone.
fn clear_dead_runs(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok) {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix("run-"));
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            for story in fs::read_dir(entry.path()).into_iter().flatten().filter_map(Result::ok) {
                space::sweep_cgroups(&cgroup_parent(&story.path()));
            }
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn clear_folder(folder: &Path, kept: &[&str]) {
    clear_those(folder, |name| !kept.contains(&name));
}

fn show_logs(folder: &Path, out: &mut impl std::io::Write) {
    for name in ["mill.log", "machine.log", "story.log"] {
        let path = folder.join(name);
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let lines: Vec<&str> = text.lines().collect();
        let _ = writeln!(out, "  --- the end of {}", path.display());
        for line in lines.iter().skip(lines.len().saturating_sub(LINES_SHOWN)) {
            let _ = writeln!(out, "  {line}");
        }
    }
}
