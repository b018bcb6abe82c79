//! Where links and maps are kept while no process holds them: a folder of the BPF file system for each Mill.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::mount::{MountFlags, mount};

use super::DatapathError;
use super::layout::{MAPS, PROGRAMS, VERSION};

/// Where the BPF file system is mounted, on every Linux.
const ROOT: &str = "/sys/fs/bpf";

/// What the kernel calls that kind of file system (linux/magic.h).
const MAGIC: u64 = 0xcafe_4a11;

/// Below it, what is Mill's.
const MILLS: &str = "mill";

/// Folders of links that are looked through for a name that is free. There are two at a time.
const GENERATIONS_MAX: u32 = 100;

/// The folder of one Mill.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pins {
    folder: PathBuf,
}

impl Pins {
    /// That of the Mill whose containers' cgroups are below `parent`.
    pub(super) fn of(parent: &str) -> Self {
        Self { folder: Path::new(ROOT).join(MILLS).join(escaped(parent.trim_matches('/'))) }
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Mounts the file system if it isn't, and makes the folder.
    pub(super) fn prepare(&self) -> Result<(), DatapathError> {
        let root = Path::new(ROOT);
        let is_mounted = || -> io::Result<bool> {
            Ok(u64::try_from(rustix::fs::statfs(root)?.f_type).unwrap_or_default() & 0xffff_ffff == MAGIC)
        };
        if !is_mounted().map_err(failed(root))? {
            mount("bpf", root, "bpf", MountFlags::empty(), Some(c"mode=0700"))
                .map_err(|errno| failed(root)(errno.into()))?;
        }
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(failed(&self.folder))
    }

    /// Where a map is.
    pub(super) fn map(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{VERSION}_{name}"))
    }

    /// The folder of links of a generation of programs that is whole, with all its maps.
    pub(super) fn whole(&self, generation: &str) -> Option<PathBuf> {
        let has_maps = MAPS.iter().all(|name| self.map(name).exists());
        let is_whole = |path: &Path| PROGRAMS.iter().all(|name| path.join(name).exists());
        let of_it = |path: &PathBuf| name_of(path).rsplit_once('_').is_some_and(|(of, _)| of == generation);
        self.generations().into_iter().find(|path| has_maps && of_it(path) && is_whole(path))
    }

    /// A new folder for links of this generation.
    pub(super) fn begin(&self, generation: &str) -> Result<PathBuf, DatapathError> {
        let mut names = (0..GENERATIONS_MAX).map(|n| self.folder.join(format!("{generation}_{n}")));
        let made = names.try_for_each(|path| match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(Err(failed(&path)(error))),
            Ok(()) => Err(Ok(path)),
        });
        match made {
            Err(made) => made,
            Ok(()) => Err(failed(&self.folder)(io::ErrorKind::AlreadyExists.into())),
        }
    }

    /// Takes away all folders of links but this one: what was attached by them isn't any more.
    pub(super) fn keep_only(&self, kept: &Path) -> Result<(), DatapathError> {
        let others = self.generations().into_iter().filter(|path| path != kept);
        others.into_iter().try_for_each(|path| remove(&path))
    }

    /// Takes everything away.
    pub(super) fn remove(&self) -> Result<(), DatapathError> {
        self.keep_only(Path::new(""))?;
        remove(&self.folder)?;
        // Another Mill may have its own there.
        let _ = fs::remove_dir(Path::new(ROOT).join(MILLS));
        Ok(())
    }

    /// Folders of links.
    fn generations(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

/// Removes a folder of pins. None there is as good.
fn remove(folder: &Path) -> Result<(), DatapathError> {
    let gone = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed(folder)(error)),
        _ => Ok(()),
    };
    for pin in fs::read_dir(folder).into_iter().flatten().flatten() {
        gone(fs::remove_file(pin.path()))?;
    }
    gone(fs::remove_dir(folder))
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

/// A name that this file system takes, which has no dots, and that no other name has.
fn escaped(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let letters = name.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("_{byte:02x}"),
    });
    letters.collect()
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DatapathError {
    let path = path.to_owned();
    move |source| DatapathError::Pins { path, source: Arc::new(source) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mill_has_a_folder_of_its_own_without_dots_and_slashes() {
        let folders = ["/mill", "/mill.slice", "/mill_slice", "/mill/slice", "/mill-slice"];
        let names = folders.map(|parent| name_of(&Pins::of(parent).folder).to_owned());
        assert_eq!(names, ["mill", "mill_2eslice", "mill_5fslice", "mill_2fslice", "mill-slice"]);
    }

    #[test]
    fn a_generation_is_whole_with_every_link_and_every_map_and_others_go() {
        let dir = tempfile::tempdir().unwrap();
        let pins = Pins { folder: dir.path().to_owned() };
        let (old, new) = (pins.begin("old").unwrap(), pins.begin("new").unwrap());
        MAPS.iter().for_each(|name| fs::write(pins.map(name), "").unwrap());
        PROGRAMS.iter().for_each(|name| fs::write(old.join(name), "").unwrap());
        assert_eq!((pins.whole("old"), pins.whole("new")), (Some(old), None));
        assert_ne!(pins.begin("new").unwrap(), new, "a half of one is in the way");
        PROGRAMS.iter().for_each(|name| fs::write(new.join(name), "").unwrap());
        pins.keep_only(&new).unwrap();
        assert_eq!(pins.generations(), std::slice::from_ref(&new));
        assert_eq!((pins.whole("old"), pins.whole("new")), (None, Some(new)));
        fs::remove_file(pins.map("bound")).unwrap();
        assert_eq!(pins.whole("new"), None);
        pins.remove().unwrap();
        pins.remove().unwrap();
        assert!(!dir.path().exists());
    }
}
