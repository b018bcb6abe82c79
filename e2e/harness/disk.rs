//! A disk of a story's own: a small file system on a loop device, which fills up, breaks and is mended.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::tool::Tool;
use super::until::let_pass;
use super::{Context as _, Failed};

/// What is put on it so that nothing else fits.
const BALLAST: &str = "ballast";
/// What one write of ballast takes; smaller ones follow until not even one byte fits.
const BALLAST_STEPS: [usize; 3] = [1 << 20, 4 << 10, 1];

/// How long what is given back stays free at most.
const FILL_EVERY: Duration = Duration::from_millis(5);

/// A disk that is full.
pub struct Full {
    path: PathBuf,
    over: Arc<AtomicBool>,
    filler: Option<thread::JoinHandle<()>>,
}

impl Drop for Full {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.filler.take().map(thread::JoinHandle::join);
        let _ = fs::remove_file(&self.path);
    }
}

/// Appends until nothing fits any more.
fn fill(ballast: &Path) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().create(true).append(true).open(ballast)?;
    for step in BALLAST_STEPS {
        let bytes = vec![b'x'; step];
        loop {
            match file.write_all(&bytes) {
                Ok(()) => {}
                Err(full) if full.kind() == io::ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

/// A mounted file system. It goes with the story's mounts, and the loop device with it.
pub struct SmallDisk {
    image: PathBuf,
    at: PathBuf,
}

impl SmallDisk {
    /// Makes one of so many bytes at `at`, with its image in `folder`.
    ///
    /// # Errors
    /// The tools'.
    pub fn mount(folder: &Path, at: &Path, bytes: u64) -> Result<Self, Failed> {
        let image = folder.join("small-disk");
        fs::File::create(&image).and_then(|file| file.set_len(bytes)).or_fail("a disk's image")?;
        // No blocks set aside for root: Mill is root.
        Tool::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).args([&image]).run()?;
        fs::create_dir_all(at).or_fail("a mount point")?;
        let disk = Self { image, at: at.to_owned() };
        disk.attach()?;
        Ok(disk)
    }

    /// Mounts it.
    ///
    /// # Errors
    /// The tool's.
    pub fn attach(&self) -> Result<(), Failed> {
        let options = ["-o", "loop,errors=remount-ro"];
        Tool::new("mount").args(options).args([&self.image, &self.at]).run().map(drop)
    }

    /// Takes all of its space, and at once what anybody gives back, until the answer is dropped: then there is room.
    ///
    /// # Errors
    /// It breaks otherwise than by being full.
    pub fn fill(&self) -> Result<Full, Failed> {
        fill(&self.at.join(BALLAST)).or_fail("ballast")?;
        let (path, over) = (self.at.join(BALLAST), Arc::<AtomicBool>::default());
        let (ballast, told) = (path.clone(), Arc::clone(&over));
        let filler = thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                // Full is what it is to be.
                let _ = fill(&ballast);
                let_pass(FILL_EVERY);
            }
        });
        Ok(Full { path, over, filler: Some(filler) })
    }

    /// Lets the kernel find an error in it, as it would on a disk that fails: it is read-only from now on (ext4(5),
    /// `errors=remount-ro`; the trigger is in the kernel's documentation of ext4's sysfs).
    ///
    /// # Errors
    /// The kernel has no such trigger.
    pub fn fail(&self) -> Result<(), Failed> {
        let name = self.device()?.rsplit('/').next().unwrap_or_default().to_owned();
        let trigger = format!("/sys/fs/ext4/{name}/trigger_fs_error");
        fs::write(&trigger, "1").or_fail(trigger)
    }

    /// Checks it, mends it and mounts it again. Nobody may have it open.
    ///
    /// # Errors
    /// The tools'.
    pub fn repair(&self) -> Result<(), Failed> {
        Tool::new("umount").args([&self.at]).run()?;
        // e2fsck(8): 1 is "errors were corrected"
        Tool::new("sh").args(["-c", "e2fsck -f -y \"$0\" || [ $? -eq 1 ]"]).args([&self.image]).run()?;
        self.attach()
    }

    /// The loop device.
    fn device(&self) -> Result<String, Failed> {
        let mounts = fs::read_to_string("/proc/self/mounts").or_fail("/proc/self/mounts")?;
        let at = self.at.to_str().or_fail("a path that is text")?;
        let line = mounts.lines().find(|line| line.split(' ').nth(1) == Some(at)).or_fail("its mount")?;
        Ok(line.split(' ').next().unwrap_or_default().to_owned())
    }
}
