//! The kernel's calls that std has no way to make, each behind a safe function.
//!
//! The program links nothing but the C library that std itself links, so those of its functions that are needed are
//! declared here. Numbers and structures are those of Linux on `x86_64` and `aarch64`, where they agree.

#![expect(unsafe_code, reason = "the program has no crates that would make these calls for it")]

use std::ffi::{CStr, CString, c_char, c_int, c_short, c_uint, c_ulong};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, FromRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::ptr;

pub(crate) const SIGKILL: c_int = 9;
const SIGPIPE: c_int = 13;

const O_NONBLOCK: c_int = 0o4000;
const X_OK: c_int = 1;
const AT_FDCWD: c_int = -100;
const AT_EACCESS: c_int = 0x200;

const PR_SET_PDEATHSIG: c_int = 1;
const PR_SET_DUMPABLE: c_int = 4;
const PR_SET_KEEPCAPS: c_int = 8;
const PR_CAPBSET_READ: c_int = 23;
const PR_CAPBSET_DROP: c_int = 24;
const PR_SET_CHILD_SUBREAPER: c_int = 36;

const RLIMIT_CORE: c_int = 4;

/// Capabilities have 64 bits at most; the kernel knows of fewer, and says so.
const CAPABILITIES_MAX: c_ulong = 64;
const CAP_KILL: u64 = 1 << 5;
/// `_LINUX_CAPABILITY_VERSION_3`
const CAPABILITY_VERSION: u32 = 0x2008_0522;

const SIG_SETMASK: c_int = 2;
const SFD_NONBLOCK_CLOEXEC: c_int = 0o4000 | 0o2_000_000;
/// `SI_KERNEL`: neither a process nor a child's end, so a terminal or the like.
const SI_KERNEL: i32 = 0x80;
const POLLIN: c_short = 1;
const TIOCSWINSZ: c_ulong = 0x5414;
const WNOHANG: c_int = 1;

/// `sigset_t` of the C library.
type SignalSet = [u64; 16];

#[repr(C)]
struct Limit {
    soft: u64,
    hard: u64,
}

#[repr(C)]
struct CapabilityHeader {
    version: u32,
    process: c_int,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapabilityData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

#[repr(C)]
struct TerminalSize {
    rows: u16,
    columns: u16,
    pixels: [u16; 2],
}

#[repr(C)]
struct Poll {
    descriptor: c_int,
    events: c_short,
    happened: c_short,
}

/// `signalfd_siginfo`: 128 bytes, of which the first three fields are read.
const SIGINFO_BYTES: usize = 128;

unsafe extern "C" {
    fn prctl(option: c_int, ...) -> c_int;
    fn setrlimit(resource: c_int, limit: *const Limit) -> c_int;
    fn capget(header: *mut CapabilityHeader, data: *mut CapabilityData) -> c_int;
    fn capset(header: *mut CapabilityHeader, data: *const CapabilityData) -> c_int;
    fn setgroups(count: usize, groups: *const c_uint) -> c_int;
    fn setresgid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn setresuid(real: c_uint, effective: c_uint, saved: c_uint) -> c_int;
    fn faccessat(folder: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int;
    fn execve(path: *const c_char, argv: *const *const c_char, env: *const *const c_char) -> c_int;
    fn signal(signal: c_int, handler: usize) -> usize;
    fn sigfillset(set: *mut SignalSet) -> c_int;
    fn sigemptyset(set: *mut SignalSet) -> c_int;
    fn sigprocmask(how: c_int, set: *const SignalSet, old: *mut SignalSet) -> c_int;
    fn signalfd(descriptor: c_int, set: *const SignalSet, flags: c_int) -> c_int;
    fn poll(list: *mut Poll, count: c_ulong, timeout: c_int) -> c_int;
    fn close(descriptor: c_int) -> c_int;
    fn ioctl(descriptor: c_int, request: c_ulong, ...) -> c_int;
    fn getpid() -> c_int;
    fn getppid() -> c_int;
    #[link_name = "fork"]
    fn c_fork() -> c_int;
    #[link_name = "kill"]
    fn c_kill(process: c_int, signal: c_int) -> c_int;
    fn waitpid(process: c_int, status: *mut c_int, options: c_int) -> c_int;
}

/// -1 is an error, and `errno` says which.
fn checked(result: c_int) -> io::Result<c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        result => Ok(result),
    }
}

fn control(option: c_int, argument: c_ulong) -> io::Result<c_int> {
    let none: c_ulong = 0;
    // SAFETY: prctl(2) takes five numbers; none of the options used here takes a pointer.
    checked(unsafe { prctl(option, argument, none, none, none) })
}

/// Nothing may look into this process until it executes the program: not dumpable (prctl(2)).
pub(crate) fn hide() -> io::Result<()> {
    control(PR_SET_DUMPABLE, 0).map(drop)
}

/// No core of what this process becomes. One byte, not none: to a program that takes cores by a pipe, and with them
/// looks at the environment, the kernel hands one over whatever the limit is, but for this one (`do_coredump` in
/// fs/coredump.c). No file is as small, so none is written either.
pub(crate) fn forbid_cores() -> io::Result<()> {
    let limit = Limit { soft: 1, hard: 1 };
    // SAFETY: the structure is laid out as `struct rlimit` of 64-bit Linux and outlives the call.
    checked(unsafe { setrlimit(RLIMIT_CORE, &raw const limit) }).map(drop)
}

/// Sets the size of the terminal that is the standard input.
pub(crate) fn size_terminal(columns: u16, rows: u16) -> io::Result<()> {
    let size = TerminalSize { rows, columns, pixels: [0; 2] };
    // SAFETY: the structure is laid out as `struct winsize` and outlives the call.
    checked(unsafe { ioctl(0, TIOCSWINSZ, &raw const size) }).map(drop)
}

/// Takes out of the bounding set what isn't granted.
pub(crate) fn bound_capabilities(granted: u64) -> io::Result<()> {
    for number in 0..CAPABILITIES_MAX {
        // One that the kernel doesn't know is an error, and so are all that follow.
        let Ok(is_bounded) = control(PR_CAPBSET_READ, number) else { break };
        if is_bounded == 1 && granted >> number & 1 == 0 {
            control(PR_CAPBSET_DROP, number)?;
        }
    }
    Ok(())
}

/// Whether capabilities stay when the user changes.
pub(crate) fn keep_capabilities(keep: bool) -> io::Result<()> {
    control(PR_SET_KEEPCAPS, c_ulong::from(keep)).map(drop)
}

/// Sets those that are permitted and in effect; none is inheritable, so none is ambient.
pub(crate) fn set_capabilities(granted: u64) -> io::Result<()> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION, process: 0 };
    let (low, high) = halves(granted);
    let data = [low, high].map(|half| CapabilityData { effective: half, permitted: half, inheritable: 0 });
    // SAFETY: version 3 reads two structures, and both outlive the call.
    checked(unsafe { capset(&raw mut header, data.as_ptr()) }).map(drop)
}

/// Keeps the right to end others, if it is there, and no other one.
pub(crate) fn only_kill() -> io::Result<()> {
    let mut header = CapabilityHeader { version: CAPABILITY_VERSION, process: 0 };
    let mut data = [CapabilityData::default(); 2];
    // SAFETY: version 3 writes two structures, and both outlive the call.
    checked(unsafe { capget(&raw mut header, data.as_mut_ptr()) })?;
    let [low, _] = data;
    set_capabilities(CAP_KILL & u64::from(low.permitted))
}

#[expect(clippy::cast_possible_truncation, reason = "the halves are what is wanted")]
const fn halves(mask: u64) -> (u32, u32) {
    (mask as u32, (mask >> 32) as u32)
}

pub(crate) fn set_groups(groups: &[u32]) -> io::Result<()> {
    // SAFETY: the pointer and the count are those of one slice, which outlives the call.
    checked(unsafe { setgroups(groups.len(), groups.as_ptr()) }).map(drop)
}

pub(crate) fn set_group(gid: u32) -> io::Result<()> {
    // SAFETY: three numbers.
    checked(unsafe { setresgid(gid, gid, gid) }).map(drop)
}

pub(crate) fn set_user(uid: u32) -> io::Result<()> {
    // SAFETY: three numbers.
    checked(unsafe { setresuid(uid, uid, uid) }).map(drop)
}

/// Whether this process, as who it has become, may execute a file.
pub(crate) fn may_execute(path: &Path) -> bool {
    let Ok(path) = crate::c_path(path) else { return false };
    // SAFETY: the text ends with a NUL and outlives the call.
    unsafe { faccessat(AT_FDCWD, path.as_ptr(), X_OK, AT_EACCESS) == 0 }
}

/// Undoes what programs inherit and std or this program changed: a broken pipe ends a program, no signal is blocked.
pub(crate) fn as_any_program() -> io::Result<()> {
    // SAFETY: the default action (0) is no handler of ours; nothing runs beside this thread.
    unsafe { signal(SIGPIPE, 0) };
    let mut none: SignalSet = [0; 16];
    // SAFETY: the set is as large as the C library's, and outlives both calls; no old one is asked for.
    checked(unsafe {
        sigemptyset(&raw mut none);
        sigprocmask(SIG_SETMASK, &raw const none, ptr::null_mut())
    })
    .map(drop)
}

/// Executes a program in place of this one: returns only why not.
pub(crate) fn execute(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const c_char> {
        list.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both lists end with a null pointer, each text with a NUL, and all of them outlive the call.
    unsafe { execve(path.as_ptr(), argv.as_ptr(), env.as_ptr()) };
    io::Error::last_os_error()
}

/// Opens a pipe that somebody reads already; nobody is waited for.
pub(crate) fn open_for_writing(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(O_NONBLOCK).open(path)
}

/// Opens a pipe to be read without waiting.
pub(crate) fn open_for_reading(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)
}

/// Closes standard input, output and errors.
pub(crate) fn close_streams() {
    for descriptor in 0..3 {
        // SAFETY: nothing in this program uses them by value any more; std's own handles report errors and no more.
        unsafe { close(descriptor) };
    }
}

/// Whoever's parent ends becomes this process's child, however far down it is.
pub(crate) fn adopt_orphans() -> io::Result<()> {
    control(PR_SET_CHILD_SUBREAPER, 1).map(drop)
}

/// Ends with the parent, which may have ended already.
pub(crate) fn die_with(parent: c_int) -> io::Result<()> {
    control(PR_SET_PDEATHSIG, 9)?;
    // SAFETY: takes nothing.
    match unsafe { getppid() } == parent {
        true => Ok(()),
        false => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Which of two processes this is.
pub(crate) enum Fork {
    /// The new one.
    Child { parent: c_int },
    /// The old one.
    Parent { child: c_int },
}

pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: takes nothing.
    let parent = unsafe { getpid() };
    // SAFETY: this process has one thread, so the copy has all of it, and no lock is held by another.
    Ok(match checked(unsafe { c_fork() })? {
        0 => Fork::Child { parent },
        child => Fork::Parent { child },
    })
}

/// Sends a signal. Whoever has ended already is as good.
pub(crate) fn kill(process: c_int, signal: c_int) {
    // SAFETY: two numbers; neither 0 nor a negative one, which would mean groups, comes from the callers.
    unsafe { c_kill(process, signal) };
}

/// Direct children; none where the kernel doesn't tell (`CONFIG_PROC_CHILDREN`) or shows no processes.
pub(crate) fn children() -> Vec<c_int> {
    let list = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Exited(u8),
    Signalled(u8),
}

/// The next child that has ended; waits for it if there is none yet, if so told. `None`: no such child.
pub(crate) fn reap(wait: bool) -> Option<(c_int, Status)> {
    let mut status = 0;
    // SAFETY: the number outlives the call.
    let process = unsafe { waitpid(-1, &raw mut status, if wait { 0 } else { WNOHANG }) };
    (process > 0).then(|| (process, ended(status)))
}

/// `WIFEXITED` and the like: the low seven bits are the signal, the next byte is the code.
fn ended(status: c_int) -> Status {
    let [low, high, ..] = status.to_le_bytes();
    match low & 0x7f {
        0 => Status::Exited(high),
        signal => Status::Signalled(signal),
    }
}

/// All signals, to be read instead of being obeyed.
pub(crate) struct Signals(File);

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) signal: c_int,
    /// Not by a process.
    pub(crate) by_terminal: bool,
}

impl Signals {
    /// From here on.
    pub(crate) fn block() -> io::Result<Self> {
        let mut all: SignalSet = [0; 16];
        // SAFETY: the set is as large as the C library's, and outlives the calls; no old one is asked for.
        checked(unsafe {
            sigfillset(&raw mut all);
            sigprocmask(SIG_SETMASK, &raw const all, ptr::null_mut())
        })?;
        // SAFETY: as above; a new descriptor is asked for (-1).
        let descriptor = checked(unsafe { signalfd(-1, &raw const all, SFD_NONBLOCK_CLOEXEC) })?;
        // SAFETY: it was just made, and nobody else knows its number.
        Ok(Self(unsafe { File::from_raw_fd(descriptor) }))
    }

    /// The next one that has come.
    pub(crate) fn next(&self) -> Option<Heard> {
        let mut info = [0; SIGINFO_BYTES];
        (&self.0).read_exact(&mut info).ok()?;
        let (signal, rest) = info.split_first_chunk()?;
        let (_, rest) = rest.split_first_chunk::<4>()?;
        let (code, _) = rest.split_first_chunk()?;
        Some(Heard {
            signal: c_int::from_ne_bytes(*signal),
            by_terminal: i32::from_ne_bytes(*code) == SI_KERNEL,
        })
    }
}

/// Waits until a signal has come, or the pipe has something to say.
pub(crate) fn wait(signals: &Signals, pipe: &File) -> io::Result<()> {
    let mut list = [signals.0.as_raw_fd(), pipe.as_raw_fd()].map(|descriptor| Poll {
        descriptor,
        events: POLLIN,
        happened: 0,
    });
    // SAFETY: two structures, laid out as poll(2) has them, which outlive the call; -1: for ever.
    match checked(unsafe { poll(list.as_mut_ptr(), 2, -1) }) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        waited => waited.map(drop),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_the_kernel_means_it() {
        for (status, wanted) in [
            (0, Status::Exited(0)),
            (0x2a00, Status::Exited(42)),
            (9, Status::Signalled(9)),
            (0x8b, Status::Signalled(11)),
        ] {
            assert_eq!(ended(status), wanted, "{status:#x}");
        }
    }

    #[test]
    fn what_may_be_executed_is_told_from_what_may_not() {
        assert!(may_execute(&std::env::current_exe().unwrap()));
        assert!(!may_execute(Path::new("/etc/passwd")) && !may_execute(Path::new("/no/such/file")));
    }
}
