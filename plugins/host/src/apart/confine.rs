//! What the process of a plugin gives up before it loads the library: new
//! privileges, the network, other processes, the user's terminal, writing to files,
//! reading most of them, and more memory than a real-time effect can need.
//!
//! Each is as much as an ordinary user of Linux can do; what the kernel lacks
//! (Landlock before 5.13) is left out. The parent's own measures stand beside it:
//! memory it must not write is sealed, and it is killed when it hangs.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr,
};
use rustix::process::{Resource, Rlimit, getpid, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::source::Source;

/// Bytes of private memory: pictures and models of an effect fit in a fraction.
const MEMORY: u64 = 1 << 30;
/// Descriptors that it may have open.
const DESCRIPTORS: u64 = 256;
/// What any library may read: other libraries, and what the loader needs. The rest
/// is the plugin's own folder, and paths that its parameters give.
const READABLE: &[&str] =
    &["/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache", "/nix/store"];
/// What it may read besides, and nothing else may be made of it.
const SHARED_DATA: &[&str] = &["/usr/share", "/dev/urandom", "/dev/null", "/dev/zero", "/proc/self"];

/// Confines this process, for good, to what the effect of `source` needs. \[control\]
///
/// # Errors
/// What could not be done, for a person.
pub(crate) fn confine(source: &Source) -> Result<(), String> {
    limit_resources().map_err(|why| format!("cannot limit the process of a plugin: {why}"))?;
    rustix::thread::set_no_new_privs(true).map_err(|why| format!("cannot give up new privileges: {why}"))?;
    limit_files(source).map_err(|why| format!("cannot shut files away from a plugin: {why}"))?;
    limit_calls().map_err(|why| format!("cannot filter the system calls of a plugin: {why}"))
}

fn limit_resources() -> rustix::io::Result<()> {
    let limit =
        |resource, most: u64| setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) });
    limit(Resource::Data, MEMORY)?;
    limit(Resource::Nofile, DESCRIPTORS)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Rtprio, 0)?;
    limit(Resource::Fsize, 0)
}

/// Files by Landlock: reading what a library needs, writing nothing.
fn limit_files(source: &Source) -> Result<(), landlock::RulesetError> {
    // Later kernels know more; what this one does not is left out.
    let abi = ABI::V5;
    let read = AccessFs::from_read(abi);
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(landlock::AccessNet::from_all(abi))?
        .create()?;
    let given = source.paths.iter().cloned();
    let known = READABLE.iter().chain(SHARED_DATA).map(PathBuf::from);
    let library = source.origin.library();
    let folder = std::fs::canonicalize(library).ok();
    let own = folder
        .iter()
        .chain([&library.to_owned()])
        .filter_map(|path| path.parent().map(Path::to_owned))
        .collect::<Vec<_>>();
    for path in known.chain(own).chain(given) {
        let Ok(fd) = PathFd::new(if path.as_os_str().is_empty() { Path::new(".") } else { &path }) else {
            continue;
        };
        // Of a file only what can be done with files.
        let access = if path.is_dir() { read } else { read & AccessFs::from_file(abi) };
        rules = rules.add_rule(PathBeneath::new(fd, access))?;
    }
    rules.restrict_self()?;
    Ok(())
}

/// Calls that are refused with EPERM, whatever their arguments: the network,
/// other processes, privileges, the machine.
const REFUSED: &[i64] = &[
    libc::SYS_socket,
    libc::SYS_socketpair,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pidfd_send_signal,
    libc::SYS_setrlimit,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_sethostname,
    libc::SYS_open_by_handle_at,
    libc::SYS_memfd_create,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_msgget,
    libc::SYS_mq_open,
];

/// Calls that are refused with EPERM where an argument has a value: number,
/// argument, which bits of it, value.
const REFUSED_WITH: &[(i64, u8, u32, u32)] = &[
    // Words typed into the user's terminal.
    (libc::SYS_ioctl, 1, u32::MAX, TIOCSTI),
    (libc::SYS_ioctl, 1, u32::MAX, TIOCLINUX),
    // Signals to whoever owns a file.
    (libc::SYS_fcntl, 1, u32::MAX, F_SETOWN),
    (libc::SYS_fcntl, 1, u32::MAX, F_SETOWN_EX),
    (libc::SYS_fcntl, 1, u32::MAX, F_SETSIG),
    // Memory that `RLIMIT_DATA` does not count.
    (libc::SYS_mmap, 3, SHARED_ANONYMOUS, SHARED_ANONYMOUS),
    // Files to write: memory that is to be read alone could be opened anew by
    // /proc/self/fd, of which Landlock knows nothing.
    (libc::SYS_openat, 2, WAYS, WRITE_ONLY),
    (libc::SYS_openat, 2, WAYS, READ_WRITE),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1, WAYS, WRITE_ONLY),
    #[cfg(target_arch = "x86_64")]
    (libc::SYS_open, 1, WAYS, READ_WRITE),
];
const WAYS: u32 = libc::O_ACCMODE.cast_unsigned();
const WRITE_ONLY: u32 = libc::O_WRONLY.cast_unsigned();
const READ_WRITE: u32 = libc::O_RDWR.cast_unsigned();
const TIOCSTI: u32 = 0x5412;
const TIOCLINUX: u32 = 0x541c;
const F_SETOWN: u32 = 8;
const F_SETSIG: u32 = 10;
const F_SETOWN_EX: u32 = 15;
const SHARED_ANONYMOUS: u32 = (libc::MAP_SHARED | libc::MAP_ANONYMOUS).cast_unsigned();

/// The bit of calls by the x32 interface.
#[cfg(target_arch = "x86_64")]
const X32: i64 = 0x4000_0000;

fn limit_calls() -> Result<(), seccompiler::Error> {
    let own = u64::from(getpid().as_raw_nonzero().get().cast_unsigned());
    let is_other = |argument| SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, own);
    // No process but this one is sent a signal: `abort` and `raise` still work.
    let to_others = || Ok::<_, seccompiler::Error>(vec![SeccompRule::new(vec![is_other(0)?])?]);
    // New threads, but no new processes. The flags of `clone3` and `openat2` cannot be
    // looked at; libraries fall back to `clone` and `openat` where there are none.
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    let no_thread = SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::MaskedEq(thread), 0)?;
    let mut rules: std::collections::BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    for call in [libc::SYS_kill, libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        rules.insert(call, to_others()?);
    }
    rules.insert(libc::SYS_tkill, Vec::new());
    rules.insert(libc::SYS_clone, vec![SeccompRule::new(vec![no_thread])?]);
    #[cfg(target_arch = "x86_64")]
    rules.extend([libc::SYS_fork, libc::SYS_vfork, libc::SYS_creat].map(|call| (call, Vec::new())));
    let is_set = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)?;
    rules.insert(libc::SYS_prlimit64, vec![SeccompRule::new(vec![is_set])?]);
    for &(call, argument, bits, value) in REFUSED_WITH {
        let is_so = SeccompCmpOp::MaskedEq(bits.into());
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, is_so, value.into())?;
        rules.entry(call).or_default().push(SeccompRule::new(vec![condition])?);
    }
    // By the numbers of the x32 interface, which have a bit of their own, each call
    // could be made again.
    #[cfg(target_arch = "x86_64")]
    rules.extend(
        REFUSED
            .iter()
            .chain(REFUSED_WITH.iter().map(|(call, ..)| call))
            .map(|call| (X32 | call, Vec::new()))
            .chain((512..548).map(|call| (X32 | call, Vec::new()))),
    );
    install(rules, libc::EPERM)?;
    install([libc::SYS_clone3, libc::SYS_openat2].map(|call| (call, Vec::new())).into(), libc::ENOSYS)
}

/// Has the calls of `rules` fail with `error`.
fn install(
    rules: std::collections::BTreeMap<i64, Vec<SeccompRule>>,
    error: i32,
) -> Result<(), seccompiler::Error> {
    let refuse = SeccompAction::Errno(error.cast_unsigned());
    let arch = std::env::consts::ARCH.try_into()?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?;
    let program: BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)
}
