//! Looks for a secret in every place where it must not be (product.md P8).

use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::{Context as _, Failed, processes, raft_log};

/// What a file is read in: a value that lies across two of them is seen, since they overlap.
const CHUNK_BYTES: usize = 1 << 20;

/// Bytes that are compared at once: as many as a processor does.
const GRAM_BYTES: usize = 8;
/// Places in the table of grams: beside the few hundred there are, so many that a gram of something else rarely meets one.
const TABLE: usize = 1 << 16;

/// What is looked for, all of it in one pass.
///
/// # Why
/// A search over every disk reads a gigabyte. Whatever holds a form as long as the shortest one holds one of its grams at a
/// multiple of `stride`: so nothing else needs to be looked at, and nothing is missed.
struct Needles {
    /// Each value, and what it looks like to whoever packs bytes into text.
    forms: Vec<Vec<u8>>,
    /// How far it is from one gram that is looked at to the next.
    stride: usize,
    /// Whether a gram of a form belongs here.
    table: Vec<bool>,
}

impl Needles {
    /// # Errors
    /// A value is too short to be told from an accident.
    fn of(values: &[&[u8]]) -> Result<Self, Failed> {
        let forms: Vec<Vec<u8>> = values.iter().flat_map(|value| forms(value)).collect();
        let shortest = forms.iter().map(Vec::len).min().or_fail("nothing to be looked for")?;
        let stride = (shortest + 1).checked_sub(GRAM_BYTES).filter(|stride| *stride > 0);
        let stride = stride.or_fail("a value too short to be looked for")?;
        let mut table = vec![false; TABLE];
        for gram in forms.iter().flat_map(|form| form.windows(GRAM_BYTES).take(stride)) {
            if let Some(known) = table.get_mut(place(gram)) {
                *known = true;
            }
        }
        Ok(Self { forms, stride, table })
    }

    fn are_in(&self, bytes: &[u8]) -> bool {
        let mut at = 0;
        while let Some(gram) = bytes.get(at..at + GRAM_BYTES) {
            if self.table.get(place(gram)) == Some(&true) && self.are_around(bytes, at) {
                return true;
            }
            at += self.stride;
        }
        false
    }

    /// Whether a form begins less than a stride before `at`.
    fn are_around(&self, bytes: &[u8], at: usize) -> bool {
        let starts = (at + 1).saturating_sub(self.stride)..=at;
        let mut rests = starts.filter_map(|start| bytes.get(start..));
        rests.any(|rest| self.forms.iter().any(|form| rest.starts_with(form)))
    }

    fn longest(&self) -> usize {
        self.forms.iter().map(Vec::len).max().unwrap_or_default()
    }
}

/// Where a gram belongs in the table: its bits, mixed by a multiplication (Knuth's, The Art of Computer Programming, 6.4).
fn place(gram: &[u8]) -> usize {
    let bits = gram.first_chunk().map_or(0, |gram| u64::from_le_bytes(*gram));
    let mixed = bits.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - TABLE.trailing_zeros());
    usize::try_from(mixed).unwrap_or_default()
}

fn forms(value: &[u8]) -> Vec<Vec<u8>> {
    let hex = value.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into_bytes();
    // Base64 depends on what stands before: three ways, each without the digits that its neighbours share.
    let base64 = (0..3).map(|skip| base64(value.get(skip..).unwrap_or_default()));
    [value.to_vec(), hex].into_iter().chain(base64).collect()
}

/// Whole groups of three bytes alone.
fn base64(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let bits = group.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| DIGITS.get(bits >> shift & 63).copied().unwrap_or_default())
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// Where to look.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// Files below these, on anything that a disk or swap may hold.
    pub roots: &'a [&'a Path],
    /// Those alone that are no older than this one: what is older can't hold what was drawn since.
    pub since: &'a Path,
    /// How the programs are called that may have values in their environment.
    pub entitled: &'a [&'a str],
}

/// Where any of `values` is found: in files, in what replicated logs among them say, in the command lines of all
/// processes, in the environment of all that aren't entitled to them. Answers also how many files and processes were looked at: a search that looks nowhere finds
/// nothing.
///
/// # Errors
/// The kernel doesn't say what is mounted, or a value is too short to be told from an accident.
pub fn traces(values: &[&[u8]], places: Places<'_>) -> Result<Found, Failed> {
    let Places { roots, since, entitled } = places;
    let since = fs::metadata(since).or_fail(since.display())?.ctime();
    let needles = Needles::of(values)?;
    let mut buffer = vec![];
    let mut found = Found::default();
    let memory = in_memory_alone()?;
    let (mut seen, mut logs) = (BTreeSet::new(), BTreeSet::new());
    for root in roots {
        walk(root, &memory, &mut |path, about| {
            // Once, however many names it has.
            if about.ctime() < since || !seen.insert((about.dev(), about.ino())) {
                return;
            }
            if path.file_name().and_then(|name| name.to_str()).is_some_and(raft_log::is_segment) {
                logs.extend(path.parent().map(Path::to_owned));
            }
            found.files += 1;
            if file_has(path, &needles, &mut buffer) {
                found.at.push(path.display().to_string());
            }
        });
    }
    for log in logs {
        if raft_log::contents(&log)?.iter().any(|data| needles.are_in(data)) {
            found.at.push(format!("the replicated log in {}", log.display()));
        }
    }
    for process in processes::all() {
        found.processes += 1;
        let line = process.args.join(" ");
        let environment = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
        let is_entitled =
            entitled.iter().any(|program| process.args.first().is_some_and(|arg| arg == program));
        if needles.are_in(line.as_bytes()) {
            found.at.push(format!("the command line of process {}", process.pid));
        }
        if !is_entitled && needles.are_in(&environment) {
            found.at.push(format!("the environment of process {} ({line})", process.pid));
        }
    }
    Ok(found)
}

/// What a search came to.
#[derive(Debug, Default)]
pub struct Found {
    /// Where it is.
    pub at: Vec<String>,
    /// Files looked into.
    pub files: usize,
    /// Processes looked at.
    pub processes: usize,
}

/// File systems that the kernel makes up: no disk holds what they show.
const MADE_UP: [&str; 16] = [
    "proc",
    "sysfs",
    "cgroup",
    "cgroup2",
    "bpf",
    "tracefs",
    "debugfs",
    "securityfs",
    "devpts",
    "mqueue",
    "pstore",
    "configfs",
    "fusectl",
    "binfmt_misc",
    "nsfs",
    "ramfs",
];

/// Mount points whose contents are on no disk: of what the kernel makes up, and of what is never swapped.
fn in_memory_alone() -> Result<BTreeSet<PathBuf>, Failed> {
    let text = fs::read_to_string("/proc/self/mountinfo").or_fail("/proc/self/mountinfo")?;
    let of_line = |line: &str| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (kind, options) = (after.next()?, after.nth(1)?);
        let is_one =
            MADE_UP.contains(&kind) || (kind == "tmpfs" && options.split(',').any(|o| o == "noswap"));
        is_one.then(|| before.split(' ').nth(4).map(PathBuf::from)).flatten()
    };
    Ok(text.lines().filter_map(of_line).collect())
}

fn walk(folder: &Path, memory: &BTreeSet<PathBuf>, look: &mut impl FnMut(&Path, &fs::Metadata)) {
    let entries = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    for path in entries.map(|entry| entry.path()) {
        let Ok(about) = fs::symlink_metadata(&path) else { continue };
        if about.is_dir() && !memory.contains(&path) {
            walk(&path, memory, look);
        }
        if about.is_file() {
            look(&path, &about);
        }
    }
}

/// Reads a file through `buffer`, which is lent from file to file.
fn file_has(path: &Path, needles: &Needles, buffer: &mut Vec<u8>) -> bool {
    let Ok(mut file) = fs::File::open(path) else { return false };
    let overlap = needles.longest();
    buffer.clear();
    loop {
        let kept = buffer.len().saturating_sub(overlap);
        buffer.drain(..kept);
        let limit = u64::try_from(CHUNK_BYTES).unwrap_or(u64::MAX);
        match (&mut file).take(limit).read_to_end(buffer) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
        if needles.are_in(buffer) {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder() -> PathBuf {
        let folder = std::env::temp_dir().join(format!("mill-search-{}", std::process::id()));
        fs::create_dir_all(folder.join("deep/er")).unwrap();
        folder
    }

    #[test]
    fn a_value_is_found_wherever_it_begins_and_a_part_of_it_is_none() {
        let value = b"correct-horse-battery";
        let needles = Needles::of(&[value, b"another-value-that-is-longer"]).unwrap();
        for before in 0..100 {
            let mut bytes = vec![b'c'; before];
            bytes.extend_from_slice(&value[..value.len() - 1]);
            assert!(!needles.are_in(&bytes), "after {before} bytes, without its last");
            bytes.push(b'y');
            assert!(needles.are_in(&bytes), "after {before} bytes");
            bytes.extend_from_slice(&[b'x'; 50]);
            assert!(needles.are_in(&bytes), "after {before} bytes, with more behind it");
        }
        assert!(Needles::of(&[b"short"]).is_err() && Needles::of(&[]).is_err());
    }

    #[test]
    fn a_value_is_found_however_it_is_packed_and_wherever_it_lies() {
        let (folder, value) = (folder(), b"correct-horse-battery");
        let mut across = vec![b'x'; CHUNK_BYTES - 5];
        across.extend_from_slice(value);
        let files: [(&str, Vec<u8>); 5] = [
            ("plain", value.to_vec()),
            ("deep/er/across", across),
            ("hex", b"636f72726563742d686f7273652d62617474657279".to_vec()),
            // "user:correct-horse-battery" as base64
            ("base64", b"dXNlcjpjb3JyZWN0LWhvcnNlLWJhdHRlcnk=".to_vec()),
            ("innocent", b"correct-horse".to_vec()),
        ];
        for (name, bytes) in &files {
            fs::write(folder.join(name), bytes).unwrap();
        }
        let places = Places { roots: &[&folder], since: &folder.join("plain"), entitled: &[] };
        let found = traces(&[value], places).unwrap();
        fs::remove_dir_all(&folder).unwrap();
        let mut at: Vec<String> =
            found.at.iter().map(|path| path.rsplit('/').next().unwrap().to_owned()).collect();
        at.sort();
        assert_eq!(at, ["across", "base64", "hex", "plain"]);
        assert!(found.files == 5 && found.processes > 0);
    }
}
