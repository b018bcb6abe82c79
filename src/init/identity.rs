//! Becoming what the image wants: limits, streams, capabilities, groups, user.
//!
//! # Why
//! The order is runc's (`finalizeNamespace` in libcontainer's `init_linux.go`): the bounding set goes down first, then
//! groups and user, with capabilities kept, and what is left of those is set last. So a program of another user than
//! root has none in effect, and one whose file has capabilities gets them as far as it was granted them.

use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, fchown};

use crate::format::{Failed, Run};
use crate::{system, unprepared};

/// The device that swallows everything: 1, 3. It is nobody's.
const NULL_DEVICE: u64 = 0x103;

/// Sets this process to be what is to be run, for good.
pub(crate) fn take(run: &Run) -> Result<(), Failed> {
    if run.no_core {
        system::forbid_cores().map_err(unprepared("forbid cores"))?;
    }
    if let (columns @ 1.., rows @ 1..) = run.terminal {
        // Here, since whoever asked can do so only when the program runs already. Not to know it is no reason to fail.
        drop(system::size_terminal(columns, rows));
    }
    own_streams(run.uid).map_err(unprepared("own its streams"))?;
    system::bound_capabilities(run.capabilities).map_err(unprepared("bound its capabilities"))?;
    system::keep_capabilities(true).map_err(unprepared("keep capabilities"))?;
    system::set_groups(&run.groups).map_err(unprepared("join its groups"))?;
    system::set_group(run.gid).map_err(unprepared("join its group"))?;
    system::set_user(run.uid).map_err(unprepared("become its user"))?;
    system::keep_capabilities(false).map_err(unprepared("let go of capabilities"))?;
    system::set_capabilities(run.capabilities).map_err(unprepared("set its capabilities"))
}

/// Gives it the pipes and the terminal that it reads and writes, so that it can open them again by `/dev/stdout`.
fn own_streams(uid: u32) -> io::Result<()> {
    let (input, output, errors) = (io::stdin(), io::stdout(), io::stderr());
    for stream in [input.as_fd(), output.as_fd(), errors.as_fd()] {
        let file = std::fs::File::from(stream.try_clone_to_owned()?);
        let metadata = file.metadata()?;
        let is_null = metadata.file_type().is_char_device() && metadata.rdev() == NULL_DEVICE;
        if is_null || metadata.uid() == uid {
            continue;
        }
        match fchown(&file, Some(uid), None) {
            // A stream of a file system that has no owners, or that isn't to be changed.
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::InvalidInput
                ) => {}
            done => done?,
        }
    }
    Ok(())
}
