//! The system calls that a container may make, by purpose.
//!
//! The set is the allow-list of Docker's default profile (moby's `seccomp/default.json` as of August 2026), so that
//! what runs under Docker runs under Mill. Names that the node's libseccomp doesn't know are left out by runc.

/// Allowed to every container.
pub(super) const ALWAYS: &[&str] = &[
    // files: open, read, write, seek
    "open openat openat2 creat close close_range read readv preadv preadv2 pread64 write writev pwritev pwritev2",
    "pwrite64 lseek _llseek sendfile sendfile64 splice tee vmsplice copy_file_range truncate truncate64 ftruncate",
    "ftruncate64 fallocate fadvise64 fadvise64_64 readahead sync syncfs fsync fdatasync sync_file_range name_to_handle_at",
    "cachestat",
    // files: names, links, directories
    "link linkat symlink symlinkat readlink readlinkat unlink unlinkat rename renameat renameat2 mkdir mkdirat",
    "mknod mknodat rmdir getcwd chdir fchdir getdents getdents64 umask access faccessat faccessat2",
    // files: what they are
    "stat stat64 lstat lstat64 fstat fstat64 fstatat64 newfstatat statx statfs statfs64 fstatfs fstatfs64 statmount listmount",
    "chmod fchmod fchmodat fchmodat2 chown chown32 fchown fchown32 fchownat lchown lchown32 utime utimes utimensat",
    "utimensat_time64 futimesat flock",
    "getxattr lgetxattr fgetxattr getxattrat listxattr llistxattr flistxattr listxattrat setxattr lsetxattr fsetxattr",
    "setxattrat removexattr lremovexattr fremovexattr removexattrat",
    // descriptors, waiting
    "dup dup2 dup3 fcntl fcntl64 ioctl pipe pipe2 poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64",
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_wait epoll_wait_old epoll_pwait epoll_pwait2",
    "eventfd eventfd2 signalfd signalfd4 inotify_init inotify_init1 inotify_add_watch inotify_rm_watch fanotify_mark",
    "timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64",
    "io_setup io_submit io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64",
    // memory
    "brk mmap mmap2 munmap mremap mprotect madvise mincore mlock mlock2 mlockall munlock munlockall msync mseal",
    "remap_file_pages memfd_create memfd_secret membarrier pkey_alloc pkey_free pkey_mprotect map_shadow_stack",
    "process_mrelease",
    // processes and threads
    "execve execveat exit exit_group fork vfork wait4 waitid waitpid getpid getppid gettid getpgid getpgrp getsid",
    "setpgid setsid set_tid_address get_thread_area set_thread_area getrusage times prctl seccomp",
    "pidfd_open pidfd_send_signal get_robust_list set_robust_list rseq restart_syscall uretprobe",
    "futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue",
    "landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    // scheduling and limits
    "sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam",
    "sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval",
    "sched_rr_get_interval_time64 getpriority setpriority ioprio_get ioprio_set getcpu",
    "getrlimit ugetrlimit setrlimit prlimit64",
    // signals
    "kill tkill tgkill pause alarm sigprocmask sigreturn sigaltstack",
    "rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait",
    "rt_sigtimedwait_time64 rt_tgsigqueueinfo",
    // time
    "clock_getres clock_getres_time64 clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 clock_adjtime",
    "clock_adjtime64 adjtimex time gettimeofday nanosleep getitimer setitimer timer_create timer_delete timer_getoverrun",
    "timer_gettime timer_gettime64 timer_settime timer_settime64",
    // who one is
    "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32 getresgid getresgid32",
    "getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32 setregid setregid32 setresuid",
    "setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 setgroups setgroups32 capget capset",
    // the network; `socket` itself is below, since it is limited by family
    "socketpair socketcall bind connect listen accept accept4 shutdown getsockname getpeername getsockopt setsockopt",
    "send sendto sendmsg sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64",
    // between processes
    "ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt shmget",
    "mq_open mq_unlink mq_getsetattr mq_notify mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64",
    // the system
    "uname sysinfo getrandom riscv_hwprobe",
    // tracing: the kernels that could be escaped from by it are older than 4.8, and older than what Mill runs on
    "ptrace process_vm_readv process_vm_writev",
];

/// Allowed on this architecture beyond that.
pub(super) fn native() -> &'static [&'static str] {
    match std::env::consts::ARCH {
        "x86_64" => &["arch_prctl modify_ldt"],
        "aarch64" => &["arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls"],
        _ => &[],
    }
}

/// Allowed to containers that have the capability.
pub(super) const BY_CAPABILITY: &[(&str, &str)] = &[
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr lsm_list_modules \
         lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];
