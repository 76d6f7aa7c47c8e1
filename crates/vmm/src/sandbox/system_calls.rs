//! seccomp: only the system calls that a running machine needs.

use std::collections::BTreeMap;
use std::env::consts::ARCH;

use libc::{
    AF_INET, AF_INET6, EPERM, O_CREAT, O_RDWR, O_TRUNC, O_WRONLY, PR_SET_NAME, PR_SET_VMA,
    PROT_EXEC, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, c_long,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

use super::Permissions;

/// Allowed whatever their arguments.
const ALLOWED: &[c_long] = &[
    // Files and sockets that are open already.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_statx,
    libc::SYS_ftruncate,
    libc::SYS_fdatasync,
    libc::SYS_fsync,
    // What snapshots are written to, which comes open.
    libc::SYS_pwrite64,
    libc::SYS_fallocate,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_close,
    libc::SYS_ppoll,
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    // Names in the machine's folder, which Landlock sees to.
    libc::SYS_newfstatat,
    libc::SYS_getdents64,
    libc::SYS_renameat2,
    libc::SYS_unlinkat,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    // Threads, and how they wait.
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_futex,
    // The threads of devices, which a board that is reset makes anew.
    libc::SYS_eventfd2,
    libc::SYS_getpid,
    libc::SYS_gettid,
    libc::SYS_membarrier,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    // Signals.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    // Time and chance.
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_getrandom,
];

const EPOLL: &[c_long] = &[
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    libc::SYS_epoll_pwait2,
];

/// Older forms that only some architectures have.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[c_long] = &[
    libc::SYS_stat,
    libc::SYS_rename,
    libc::SYS_rmdir,
    libc::SYS_unlink,
    libc::SYS_poll,
];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[c_long] = &[libc::SYS_renameat];

/// To read and write disks, which are open already.
const USING_DISKS: &[c_long] = &[
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_pwritev2,
    libc::SYS_fstatfs,
    // What a ring may do is settled when it is made, which is before.
    libc::SYS_io_uring_enter,
];

/// To read a shared folder: what is read there, and what is known of it.
const READING_FOLDERS: &[c_long] = &[
    libc::SYS_preadv,
    libc::SYS_getdents64,
    libc::SYS_readlinkat,
    libc::SYS_fstatfs,
    libc::SYS_getxattr,
    libc::SYS_listxattr,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
];

/// To change a shared folder. Where, Landlock sees to.
const CHANGING_FOLDERS: &[c_long] = &[
    libc::SYS_openat,
    libc::SYS_pwritev2,
    libc::SYS_fallocate,
    libc::SYS_copy_file_range,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_symlinkat,
    libc::SYS_linkat,
    libc::SYS_fchmodat,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    libc::SYS_setxattr,
    libc::SYS_removexattr,
    libc::SYS_syncfs,
];

/// Confines every thread of this process.
pub(super) fn restrict(permissions: &Permissions) -> Result<(), String> {
    let program = program(permissions).map_err(|error| error.to_string())?;
    seccompiler::apply_filter_all_threads(&program).map_err(|error| error.to_string())
}

fn program(permissions: &Permissions) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    let writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC;
    rules.insert(libc::SYS_openat, vec![bits_clear(2, writing)?]);
    if permissions.disks {
        rules.extend(USING_DISKS.iter().map(|call| (*call, Vec::new())));
    }
    let changing = !permissions.write_folders.is_empty();
    if changing {
        rules.extend(CHANGING_FOLDERS.iter().map(|call| (*call, Vec::new())));
    }
    if changing || !permissions.read_folders.is_empty() {
        rules.extend(READING_FOLDERS.iter().map(|call| (*call, Vec::new())));
    }
    // No new code: the translator's memory is mapped before, twice, and kept over resets.
    rules.insert(libc::SYS_mmap, vec![bits_clear(2, PROT_EXEC)?]);
    rules.insert(libc::SYS_mprotect, vec![bits_clear(2, PROT_EXEC)?]);
    // Names of threads and of memory.
    rules.insert(
        libc::SYS_prctl,
        vec![equals(0, PR_SET_NAME)?, equals(0, PR_SET_VMA)?],
    );
    if permissions.epoll {
        rules.extend(EPOLL.iter().map(|call| (*call, Vec::new())));
    }
    // A process that aborts signals itself, and nobody else.
    let own = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    rules.insert(libc::SYS_tgkill, vec![equals(0, own)?]);
    if permissions.kvm {
        rules.insert(libc::SYS_ioctl, kvm_rules()?);
    }
    if permissions.network {
        rules.extend(network_rules()?);
    }
    if permissions.unix_sockets {
        let sockets = rules.entry(libc::SYS_socket).or_default();
        sockets.push(equals(0, libc::AF_UNIX)?);
        rules.insert(libc::SYS_connect, Vec::new());
    }
    SeccompFilter::new(
        rules,
        // Refused, not killed: the machine goes on if a library tries something it can do without.
        SeccompAction::Errno(EPERM.unsigned_abs()),
        SeccompAction::Allow,
        TargetArch::try_from(ARCH)?,
    )?
    .try_into()
}

/// To connect, and to exchange datagrams, over IP; and to wait for many sockets at once.
fn network_rules() -> Result<Vec<(c_long, Vec<SeccompRule>)>, seccompiler::BackendError> {
    let mut sockets = Vec::new();
    for family in [AF_INET, AF_INET6] {
        for kind in [SOCK_STREAM, SOCK_DGRAM] {
            sockets.push(SeccompRule::new(vec![
                is(0, family, !0)?,
                is(1, kind, !(SOCK_NONBLOCK | SOCK_CLOEXEC))?,
            ])?);
        }
    }
    let mut rules = vec![(libc::SYS_socket, sockets)];
    rules.extend(
        [
            libc::SYS_connect,
            libc::SYS_setsockopt,
            libc::SYS_getsockopt,
            libc::SYS_getsockname,
            libc::SYS_getpeername,
            libc::SYS_epoll_ctl,
            libc::SYS_epoll_pwait,
            libc::SYS_epoll_pwait2,
            #[cfg(target_arch = "x86_64")]
            libc::SYS_epoll_wait,
        ]
        .map(|call| (call, Vec::new())),
    );
    Ok(rules)
}

/// What is asked of KVM, and of no other device.
#[cfg(target_arch = "x86_64")]
fn kvm_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let requests = clade_kvm::IOCTLS.iter();
    let rules = requests.map(|request| equals_bits(1, *request));
    rules.collect()
}

#[cfg(not(target_arch = "x86_64"))]
fn kvm_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    // No request has this number.
    Ok(vec![equals(1, 0)?])
}

fn bits_clear(argument: u8, bits: i32) -> Result<SeccompRule, seccompiler::BackendError> {
    condition(
        argument,
        SeccompCmpOp::MaskedEq(u64::from(bits.unsigned_abs())),
        0,
    )
}

fn equals(argument: u8, value: i32) -> Result<SeccompRule, seccompiler::BackendError> {
    equals_bits(argument, value.unsigned_abs())
}

fn equals_bits(argument: u8, value: u32) -> Result<SeccompRule, seccompiler::BackendError> {
    condition(argument, SeccompCmpOp::Eq, u64::from(value))
}

fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompRule, seccompiler::BackendError> {
    let length = SeccompCmpArgLen::Dword;
    SeccompRule::new(vec![SeccompCondition::new(
        argument, length, operator, value,
    )?])
}

/// That those bits of an argument that `mask` has are as in `value`.
fn is(argument: u8, value: i32, mask: i32) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(
        argument,
        SeccompCmpArgLen::Dword,
        SeccompCmpOp::MaskedEq(u64::from(mask as u32)),
        u64::from(value.unsigned_abs()),
    )
}
