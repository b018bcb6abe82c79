//! What of the node a container's spec depends on.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::process::{Resource, getrlimit};

use crate::cgroups::{CgroupError, Cgroups};
use crate::containers::StartError;
use crate::containers::oci::{Device, HostFacts};

/// Bit of `CAP_SYS_RESOURCE`, with which limits can be raised.
const CAP_SYS_RESOURCE: u32 = 24;

/// Open files where the node doesn't say: the kernel's own default for its ceiling.
const NR_OPEN_DEFAULT: u64 = 1 << 20;

pub(super) fn facts(cgroups: &Cgroups) -> Result<HostFacts, CgroupError> {
    let capabilities = bounding(Path::new("/proc/self/status"))?;
    // runc has to raise the limit; a node whose Mill may not, say in a container, has what it has.
    let may_raise = capabilities >> CAP_SYS_RESOURCE & 1 == 1;
    let ceiling = match may_raise {
        true => {
            std::fs::read_to_string("/proc/sys/fs/nr_open").ok().and_then(|text| text.trim().parse().ok())
        }
        false => getrlimit(Resource::Nofile).maximum,
    };
    let here = |path: &str| Some(PathBuf::from(path)).filter(|path| path.exists());
    Ok(HostFacts {
        capabilities,
        open_files_max: ceiling.unwrap_or(NR_OPEN_DEFAULT),
        limits_swap: cgroups.limits_swap(),
        cgroup_parent: cgroups.parent().to_owned(),
        resolv_conf: here("/etc/resolv.conf"),
    })
}

/// Capabilities that this process could ever give.
fn bounding(status: &Path) -> Result<u64, CgroupError> {
    let text = std::fs::read_to_string(status)
        .map_err(|source| CgroupError::Read { path: status.to_owned(), source: Arc::new(source) })?;
    let mask = text.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or_else(|| CgroupError::Malformed { path: status.to_owned() })
}

/// The devices that a launch names.
pub(super) fn devices(paths: &[String]) -> Result<Vec<Device>, StartError> {
    paths.iter().map(|path| device(path)).collect()
}

fn device(path: &str) -> Result<Device, StartError> {
    let none = || StartError::NoSuchDevice { path: path.to_owned() };
    let metadata = std::fs::metadata(path).map_err(|_| none())?;
    let kind = metadata.file_type();
    if !kind.is_block_device() && !kind.is_char_device() {
        return Err(none());
    }
    Ok(Device {
        path: path.to_owned(),
        block: kind.is_block_device(),
        major: rustix::fs::major(metadata.rdev()),
        minor: rustix::fs::minor(metadata.rdev()),
        mode: metadata.mode() & 0o7777,
        uid: metadata.uid(),
        gid: metadata.gid(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_found_and_a_file_is_none() {
        let null = device("/dev/null").unwrap();
        assert_eq!((null.block, null.major, null.minor), (false, 1, 3));
        for bad in ["/dev/no-such-device", "/etc/passwd", "/dev"] {
            assert!(matches!(device(bad), Err(StartError::NoSuchDevice { path }) if path == bad), "{bad}");
        }
    }
}
