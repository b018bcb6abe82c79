//! What must never be on a disk: what each process in a container is to become, and the files of secrets.
//!
//! # Why
//! - **ramfs, not tmpfs.** The pages of a tmpfs may be swapped out, and its `noswap` came with Linux 6.3; ramfs has no
//!   other place than memory. It has no bound either: root alone writes to it, and what it writes is bounded.
//! - **Not `noexec`.** The first process of every container lies here too, whatever `/run` is mounted like.
//! - **Looked at before each write.** If somebody unmounts it, what is written would end on the disk below.
//! - **A folder per container**, called like it, so that what a kill -9 leaves is found by name. In it `run`, which
//!   the container sees ([`mill_init::format::FOLDER`]), and `files`, each mounted where the config says.

use std::collections::BTreeSet;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mill_init::format::{LEASE, TOLD};
use mill_init::{Failed, Run, START};
use rustix::fs::{CWD, Mode, mkfifoat, statfs};
use rustix::mount::{MountFlags, mount};
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe;

use crate::containers::{ContainerName, Identity, PrivateFile};
use crate::files::unless_gone;

/// What statfs(2) says of a ramfs.
const RAMFS: i64 = 0x8584_58f6;

/// How the program's file is called, but for what tells its build: another build's is another file.
const PROGRAM: &str = "init-";

/// Bytes of what a process tells of its failure: a sentence, and a pipe's atomic write.
const TOLD_BYTES_MAX: usize = 4096;

/// A memory file system for one Mill's containers.
#[derive(Debug)]
pub(super) struct Memory {
    folder: PathBuf,
    /// Held while it is mounted: once, not twice.
    turn: Mutex<()>,
    heard: Heard,
}

/// Where this process listens to others that tell what they have become.
type Heard = Arc<Mutex<BTreeSet<PathBuf>>>;

impl Memory {
    pub(super) fn at(folder: PathBuf) -> Self {
        Self { folder, turn: Mutex::new(()), heard: Heard::default() }
    }

    /// Where it is.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Mounts it if it isn't, and puts the program there.
    pub(super) fn prepare(&self) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        folder(&self.folder)?;
        if !is_memory(&self.folder)? {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            mount("mill", &self.folder, "ramfs", flags, Some(c"mode=0700"))?;
        }
        let program = self.program();
        if program.exists() {
            return Ok(());
        }
        for old in names_with(&self.folder, PROGRAM)? {
            // Containers that were started with it keep it.
            unless_gone(std::fs::remove_file(self.folder.join(old)))?;
        }
        let new = self.folder.join("init.new");
        unless_gone(std::fs::remove_file(&new))?;
        write(&new, mill_init::PROGRAM)?.set_permissions(Permissions::from_mode(0o555))?;
        std::fs::rename(new, program)
    }

    /// The first process of containers.
    pub(super) fn program(&self) -> PathBuf {
        self.folder.join(format!("{PROGRAM}{}", mill_init::ID))
    }

    /// The folder in which a container's processes find what they are to become.
    pub(super) fn runs(&self, name: &ContainerName) -> PathBuf {
        self.folder.join(name.to_string()).join("run")
    }

    /// Lays down what a process is to become.
    pub(super) fn lay(&self, name: &ContainerName, id: &str, run: &Run) -> io::Result<Laid> {
        self.prepare()?;
        let runs = self.runs(name);
        folder(&runs)?;
        let bytes = run.encode().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let laid = Paths::of(&runs.join(id));
        write(&laid.run, &bytes)?;
        mkfifoat(CWD, &laid.told, Mode::RUSR | Mode::WUSR)?;
        let told = pipe::OpenOptions::new().open_receiver(&laid.told)?;
        let lease = match run.leased {
            true => {
                mkfifoat(CWD, &laid.lease, Mode::RUSR | Mode::WUSR)?;
                // For reading as well: else nobody could open it before the process does.
                Some(OpenOptions::new().read(true).write(true).open(&laid.lease)?)
            }
            false => None,
        };
        let heard = Arc::clone(&self.heard);
        heard.lock().unwrap_or_else(PoisonError::into_inner).insert(laid.told.clone());
        Ok(Laid { paths: laid, told, said: vec![], is_kept: id == START, _lease: lease, heard })
    }

    /// Takes away where a container's first process tells what it has become, unless somebody listens: a Mill that was
    /// killed while it did so leaves it.
    pub(super) fn take_away_unheard(&self, name: &ContainerName) -> io::Result<()> {
        let told = Paths::of(&self.runs(name).join(START)).told;
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        match heard.contains(&told) {
            true => Ok(()),
            false => unless_gone(std::fs::remove_file(told)),
        }
    }

    /// What the container itself became.
    pub(super) fn started_as(&self, name: &ContainerName) -> io::Result<Run> {
        let bytes = std::fs::read(self.runs(name).join(START))?;
        Run::decode(&bytes).map_err(|garbled| io::Error::new(io::ErrorKind::InvalidData, garbled))
    }

    /// Names of what was executed beside containers' own programs, and is still laid down.
    pub(super) fn executed(&self, name: &ContainerName) -> io::Result<Vec<String>> {
        let mut names = names_with(&self.runs(name), "")?;
        names.retain(|name| name != START && !name.ends_with(TOLD) && !name.ends_with(LEASE));
        Ok(names)
    }

    /// Takes away what was laid down for one.
    pub(super) fn take_away(&self, name: &ContainerName, id: &str) -> io::Result<()> {
        Paths::of(&self.runs(name).join(id)).remove()
    }

    /// Writes the files that only a container's program sees; answers where they are, in their order.
    pub(super) fn write_files(
        &self,
        name: &ContainerName,
        files: &[PrivateFile],
        owners: &[Identity],
    ) -> io::Result<Vec<PathBuf>> {
        self.prepare()?;
        let within = self.folder.join(name.to_string()).join("files");
        if !files.is_empty() {
            folder(&within)?;
        }
        let written = files.iter().zip(owners).enumerate().map(|(index, (file, owner))| {
            let path = within.join(index.to_string());
            let made = write(&path, &file.bytes)?;
            fchown(&made, Some(owner.uid), Some(owner.gid))?;
            // Last, since a change of owners may take bits away.
            made.set_permissions(Permissions::from_mode(file.mode & 0o777))?;
            Ok(path)
        });
        written.collect()
    }

    /// Containers of which something is here.
    pub(super) fn names(&self) -> io::Result<Vec<String>> {
        let mut names = names_with(&self.folder, "")?;
        names.retain(|name| !name.starts_with(PROGRAM) && name != "init.new");
        Ok(names)
    }

    /// Removes what is here of a container. None there is as good.
    pub(super) fn remove(&self, name: &ContainerName) -> io::Result<()> {
        unless_gone(std::fs::remove_dir_all(self.folder.join(name.to_string())))
    }
}

/// The files of one process.
#[derive(Debug)]
struct Paths {
    run: PathBuf,
    told: PathBuf,
    lease: PathBuf,
}

impl Paths {
    fn of(run: &Path) -> Self {
        let beside = |ending: &str| {
            let mut path = run.as_os_str().to_owned();
            path.push(ending);
            PathBuf::from(path)
        };
        Self { run: run.to_owned(), told: beside(TOLD), lease: beside(LEASE) }
    }

    /// The one that it is known by goes last.
    fn remove(&self) -> io::Result<()> {
        [&self.told, &self.lease, &self.run]
            .into_iter()
            .try_for_each(|path| unless_gone(std::fs::remove_file(path)))
    }
}

/// What a process is to become, laid where it looks. Goes when this is dropped, but for a container's own.
#[derive(Debug)]
pub(super) struct Laid {
    paths: Paths,
    told: pipe::Receiver,
    /// What was read of that so far.
    said: Vec<u8>,
    is_kept: bool,
    /// The process ends when this is closed: by being dropped, or by the kernel when Mill is killed.
    _lease: Option<File>,
    heard: Heard,
}

impl Laid {
    /// Waits until the process has become what it was to be, or tells why not. For ever, if it never comes to that. May
    /// be dropped at any time.
    pub(super) async fn became(&mut self) -> io::Result<Result<(), Failed>> {
        let mut chunk = [0; TOLD_BYTES_MAX];
        loop {
            match self.told.read(&mut chunk).await? {
                0 => return Ok(self.had_become()),
                count => self.said.extend_from_slice(chunk.get(..count).unwrap_or_default()),
            }
            self.said.truncate(TOLD_BYTES_MAX);
        }
    }

    /// The same of a process that has ended.
    pub(super) fn had_become(&self) -> Result<(), Failed> {
        let mut rest = [0; TOLD_BYTES_MAX];
        // Asked of the kernel: tokio may not have heard of it yet. Nothing to be read: it was executed, or came to
        // nothing without a word.
        let length = rustix::io::read(&self.told, &mut rest).unwrap_or(0);
        let said = [&self.said, rest.get(..length).unwrap_or_default()].concat();
        Failed::from_bytes(&said).map_or(Ok(()), Err)
    }
}

impl Drop for Laid {
    fn drop(&mut self) {
        let gone = match self.is_kept {
            true => unless_gone(std::fs::remove_file(&self.paths.told)),
            false => self.paths.remove(),
        };
        if let Err(error) = gone {
            tracing::warn!(path = %self.paths.run.display(), %error, "what was to be run isn't taken away");
        }
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.paths.told);
    }
}

/// Makes a folder for root alone, and what is above it.
fn folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

fn is_memory(path: &Path) -> io::Result<bool> {
    Ok(statfs(path)?.f_type == RAMFS)
}

/// Writes a new file for root alone.
fn write(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o400).open(path)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// Names in a folder that begin so; none if there is no such folder.
fn names_with(folder: &Path, beginning: &str) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        entries => entries?,
    };
    let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    Ok(names.filter(|name| name.starts_with(beginning)).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use mill_init::Kind;
    use rustix::mount::{UnmountFlags, unmount};

    use super::*;

    struct Mounted(Memory, tempfile::TempDir);

    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = unmount(self.0.folder(), UnmountFlags::DETACH);
        }
    }

    fn memory() -> Mounted {
        assert!(rustix::process::geteuid().is_root(), "this test mounts: it needs root");
        let dir = tempfile::tempdir().unwrap();
        Mounted(Memory::at(dir.path().join("memory")), dir)
    }

    fn run() -> Run {
        Run { argv: vec![b"true".to_vec()], leased: true, ..Run::default() }
    }

    #[tokio::test]
    async fn it_is_mounted_once_and_again_when_somebody_took_it_away() {
        let Mounted(memory, dir) = &memory();
        for _ in 0..3 {
            memory.prepare().unwrap();
        }
        let mounted = || crate::mounts::within(dir.path()).unwrap().len();
        assert_eq!(mounted(), 1);
        assert_eq!(std::fs::metadata(memory.folder()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(std::fs::read(memory.program()).unwrap(), mill_init::PROGRAM);
        unmount(memory.folder(), UnmountFlags::empty()).unwrap();
        let name = "web-2222.1".parse().unwrap();
        let _laid = memory.lay(&name, START, &run()).unwrap();
        assert_eq!(mounted(), 1, "nothing is laid down on a disk");
        assert!(memory.program().exists());
    }

    #[tokio::test]
    async fn what_is_laid_down_is_roots_alone_and_goes_with_whoever_asked() {
        let Mounted(memory, _dir) = &memory();
        let name = "web-2222.1".parse().unwrap();
        drop(memory.lay(&name, START, &Run { leased: false, ..run() }).unwrap());
        let laid = memory.lay(&name, "exec-1", &run()).unwrap();
        assert_eq!(memory.executed(&name).unwrap(), ["exec-1"]);
        let metadata = std::fs::metadata(memory.runs(&name).join("exec-1")).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (0, 0o400));
        drop(laid);
        assert_eq!(std::fs::read_dir(memory.runs(&name)).unwrap().count(), 1);
        assert_eq!(memory.started_as(&name).unwrap().argv, run().argv);
        assert_eq!(memory.names().unwrap(), ["web-2222.1"]);
        memory.remove(&name).unwrap();
        memory.remove(&name).unwrap();
        assert_eq!(memory.names().unwrap(), [""; 0]);
    }

    #[tokio::test]
    async fn where_nobody_listens_any_more_is_taken_away_and_where_somebody_does_is_not() {
        let Mounted(memory, _dir) = &memory();
        let name = "web-2222.1".parse().unwrap();
        let laid = memory.lay(&name, START, &Run { leased: false, ..run() }).unwrap();
        let here = || std::fs::read_dir(memory.runs(&name)).unwrap().count();
        memory.take_away_unheard(&name).unwrap();
        assert_eq!(here(), 2, "it is still listened to");
        // The Mill after the one that was killed.
        Memory::at(memory.folder().to_owned()).take_away_unheard(&name).unwrap();
        assert_eq!(here(), 1);
        assert_eq!(memory.started_as(&name).unwrap().argv, run().argv);
        drop(laid);
        memory.take_away_unheard(&name).unwrap();
    }

    #[tokio::test]
    async fn a_process_that_tells_nothing_was_executed_and_one_that_does_failed() {
        let Mounted(memory, _dir) = &memory();
        let name = "web-2222.1".parse().unwrap();
        let failed = Failed { kind: Kind::NotFound, said: "no such thing".to_owned() };
        for (id, said, wanted) in
            [("exec-1", vec![], Ok(())), ("exec-2", failed.to_bytes(), Err(failed.clone()))]
        {
            let mut laid = memory.lay(&name, id, &run()).unwrap();
            assert_eq!(laid.had_become(), Ok(()), "nobody has come yet");
            let path = memory.runs(&name).join(format!("{id}{TOLD}"));
            let writer = std::thread::spawn(move || {
                OpenOptions::new().write(true).open(path).unwrap().write_all(&said).unwrap();
            });
            assert_eq!(laid.became().await.unwrap(), wanted);
            writer.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_file_is_its_owners_and_as_its_mode_says() {
        let Mounted(memory, _dir) = &memory();
        let name = "web-2222.1".parse().unwrap();
        let file =
            |bytes: &[u8], mode| PrivateFile { path: "/x".into(), bytes: bytes.into(), owner: None, mode };
        let owner = |uid, gid| Identity { uid, gid, groups: vec![], home: "/".to_owned() };
        let files = [file(b"one", 0o400), file(b"two", 0o6440)];
        let paths = memory.write_files(&name, &files, &[owner(70, 71), owner(0, 7)]).unwrap();
        let seen: Vec<_> = paths
            .iter()
            .map(|path| (std::fs::read(path).unwrap(), std::fs::metadata(path).unwrap()))
            .map(|(bytes, found)| (bytes, found.uid(), found.gid(), found.mode() & 0o7777))
            .collect();
        assert_eq!(seen, [(b"one".to_vec(), 70, 71, 0o400), (b"two".to_vec(), 0, 7, 0o440)]);
    }
}
