//! The system calls that package scripts may not make: a seccomp(2) filter for bubblewrap, as classic BPF.
//!
//! Namespaces and missing capabilities refuse most of these already. The filter keeps scripts away from the kernel's code for them, where
//! its bugs are, and from what no namespace covers: keyrings, the clock, sockets that lead to a hypervisor.

use std::io::{self, PipeReader, Write};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;

/// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
/// What the filter returns: allow, or fail with the errno in the low bits.
const ALLOW: u32 = 0x7fff_0000;
const ERRNO: u32 = 0x0005_0000;
/// Every CLONE_NEW* flag but CLONE_NEWTIME, which clone(2) cannot have.
const NEW_NAMESPACES: u32 = 0x7e02_0000;
/// Families of sockets: unix, IPv4, IPv6, netlink. The last three end in the empty network namespace.
const FAMILIES: [u32; 4] = [1, 2, 10, 16];

/// One instruction, struct sock_filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Step {
    code: u16,
    if_true: u8,
    if_false: u8,
    value: u32,
}

/// The system calls of one architecture, by their numbers there.
struct Calls {
    /// AUDIT_ARCH_* of linux/audit.h.
    arch: u32,
    denied: Vec<u32>,
    clone: u32,
    clone3: u32,
    socket: u32,
    /// Makes sockets as well, from arguments that no filter sees (socketcall(2)).
    any_socket: Option<u32>,
    /// Numbers from here on belong to another table (x32), which is not to be used.
    end: Option<u32>,
}

/// The filter as bubblewrap reads it: a pipe with the program in it, which a program that is started inherits.
pub fn filter() -> io::Result<PipeReader> {
    let mut bytes = Vec::new();
    for step in program() {
        bytes.extend(step.code.to_ne_bytes());
        bytes.extend([step.if_true, step.if_false]);
        bytes.extend(step.value.to_ne_bytes());
    }
    let (reader, mut writer) = io::pipe()?;
    // A pipe holds 64 KiB, many times as much.
    writer.write_all(&bytes)?;
    fcntl(&reader, FcntlArg::F_SETFD(FdFlag::empty()))?;
    Ok(reader)
}

fn program() -> Vec<Step> {
    let mut steps = vec![load(ARCH)];
    for calls in tables() {
        let rules = rules(&calls);
        // The longest table has half of the 255 steps that can be jumped over.
        steps.push(unless_equal(calls.arch, u8::try_from(rules.len()).unwrap_or(u8::MAX)));
        steps.extend(rules);
    }
    steps.push(fail(libc::ENOSYS));
    steps
}

fn rules(calls: &Calls) -> Vec<Step> {
    let mut steps = vec![load(NUMBER)];
    if let Some(end) = calls.end {
        // BPF_JMP | BPF_JGE | BPF_K
        steps.extend([Step { code: 0x35, if_true: 0, if_false: 1, value: end }, fail(libc::ENOSYS)]);
    }
    for number in &calls.denied {
        steps.extend([unless_equal(*number, 1), fail(libc::EPERM)]);
    }
    // Its flags are behind a pointer, where no filter sees them; without it, the C library takes clone.
    steps.extend([unless_equal(calls.clone3, 1), fail(libc::ENOSYS)]);
    // Programs take this errno for a kernel without the family, and go on; audit's, which useradd starts with, give up at EPERM.
    if let Some(number) = calls.any_socket {
        steps.extend([unless_equal(number, 1), fail(libc::EAFNOSUPPORT)]);
    }
    // BPF_JMP | BPF_JSET | BPF_K
    let new_namespace = Step { code: 0x45, if_true: 0, if_false: 1, value: NEW_NAMESPACES };
    steps.extend([unless_equal(calls.clone, 4), load(FIRST_ARGUMENT), new_namespace, fail(libc::EPERM), allow()]);
    steps.extend([unless_equal(calls.socket, 2 + 2 * FAMILIES.len() as u8), load(FIRST_ARGUMENT)]);
    for family in FAMILIES {
        steps.extend([unless_equal(family, 1), allow()]);
    }
    steps.extend([fail(libc::EAFNOSUPPORT), allow()]);
    steps
}

/// BPF_LD | BPF_W | BPF_ABS
fn load(offset: u32) -> Step {
    Step { code: 0x20, if_true: 0, if_false: 0, value: offset }
}

/// Goes on when equal, else jumps over so many steps. BPF_JMP | BPF_JEQ | BPF_K
fn unless_equal(value: u32, over: u8) -> Step {
    Step { code: 0x15, if_true: 0, if_false: over, value }
}

/// BPF_RET | BPF_K
fn allow() -> Step {
    Step { code: 0x06, if_true: 0, if_false: 0, value: ALLOW }
}

fn fail(errno: i32) -> Step {
    Step { code: 0x06, if_true: 0, if_false: 0, value: ERRNO | errno.unsigned_abs() }
}

/// This machine's own calls, and on amd64 those of i386 programs.
fn tables() -> Vec<Calls> {
    let native = Calls {
        arch: if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 },
        denied: native().into_iter().filter_map(|number| u32::try_from(number).ok()).collect(),
        clone: libc::SYS_clone as u32,
        clone3: libc::SYS_clone3 as u32,
        socket: libc::SYS_socket as u32,
        any_socket: None,
        end: cfg!(target_arch = "x86_64").then_some(0x4000_0000),
    };
    let i386 = Calls {
        arch: 0x4000_0003,
        denied: I386.to_vec(),
        clone: 120,
        clone3: 435,
        socket: 359,
        any_socket: Some(102),
        end: None,
    };
    if cfg!(target_arch = "x86_64") { vec![native, i386] } else { vec![native] }
}

fn native() -> Vec<libc::c_long> {
    let common = [
        // Filesystems.
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_open_tree,
        libc::SYS_move_mount,
        libc::SYS_fsopen,
        libc::SYS_fsconfig,
        libc::SYS_fsmount,
        libc::SYS_fspick,
        libc::SYS_mount_setattr,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_quotactl,
        libc::SYS_acct,
        libc::SYS_open_by_handle_at,
        libc::SYS_fanotify_init,
        // Namespaces, other processes.
        libc::SYS_setns,
        libc::SYS_unshare,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_kcmp,
        libc::SYS_pidfd_getfd,
        // The kernel itself.
        libc::SYS_reboot,
        libc::SYS_kexec_load,
        libc::SYS_kexec_file_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_syslog,
        libc::SYS_lookup_dcookie,
        libc::SYS_nfsservctl,
        libc::SYS_vhangup,
        libc::SYS_move_pages,
        libc::SYS_migrate_pages,
        libc::SYS_mbind,
        libc::SYS_set_mempolicy,
        // Keyrings, the clock.
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_clock_adjtime,
        libc::SYS_adjtimex,
    ];
    common.into_iter().chain(OF_THIS_ARCH).collect()
}

#[cfg(target_arch = "x86_64")]
const OF_THIS_ARCH: [libc::c_long; 5] =
    [libc::SYS_ioperm, libc::SYS_iopl, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_ustat];
#[cfg(not(target_arch = "x86_64"))]
const OF_THIS_ARCH: [libc::c_long; 0] = [];

/// The same for i386 (arch/x86/entry/syscalls/syscall_32.tbl).
const I386: [u32; 62] = [
    21, 22, 25, 26, 51, 52, 62, 79, 86, 87, 88, 101, 103, 110, 111, 113, 115, 123, 124, 127, 128, 129, 130, 131, 166, 169, 217,
    253, 264, 274, 276, 283, 286, 287, 288, 294, 310, 317, 336, 338, 342, 343, 346, 347, 348, 349, 350, 357, 374, 404, 405, 425,
    426, 427, 428, 429, 430, 431, 432, 433, 438, 442,
];

#[cfg(test)]
mod tests {
    use super::*;

    const AMD64: u32 = 0xc000_003e;

    /// What the kernel would make of the program (seccomp(2), bpf(4)).
    fn verdict(arch: u32, number: u32, argument: u32) -> u32 {
        let program = program();
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { step.if_true } else { step.if_false });
            match step.code {
                0x20 => loaded = [number, arch, 0, 0, argument][step.value as usize / 4],
                0x15 => at += jump(loaded == step.value),
                0x35 => at += jump(loaded >= step.value),
                0x45 => at += jump(loaded & step.value != 0),
                0x06 => return step.value,
                other => panic!("{other:x}"),
            }
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn calls_are_judged_by_number_and_argument() {
        let eperm = ERRNO | 1;
        // read, fork, execve, chroot, chown, wait4; mount, ptrace, bpf, unshare, keyctl.
        for number in [0, 57, 59, 161, 92, 61] {
            assert_eq!(verdict(AMD64, number, 0), ALLOW, "{number}");
        }
        for number in [165, 101, 321, 272, 250] {
            assert_eq!(verdict(AMD64, number, 0), eperm, "{number}");
        }
        // clone of a thread, and into a user namespace; clone3.
        assert_eq!((verdict(AMD64, 56, 0x0100), verdict(AMD64, 56, 0x1000_0000)), (ALLOW, eperm));
        assert_eq!(verdict(AMD64, 435, 0), ERRNO | 38);
        // A unix socket, one of AF_VSOCK.
        assert_eq!((verdict(AMD64, 41, 1), verdict(AMD64, 41, 40)), (ALLOW, ERRNO | 97));
        // i386: write, mount, unshare, socketcall; x32; another machine's.
        assert_eq!(verdict(0x4000_0003, 4, 0), ALLOW);
        for number in [21, 310] {
            assert_eq!(verdict(0x4000_0003, number, 0), eperm, "{number}");
        }
        assert_eq!(verdict(0x4000_0003, 102, 1), ERRNO | 97);
        assert_eq!((verdict(AMD64, 0x4000_0000, 0), verdict(0xc000_00b7, 0, 0)), (ERRNO | 38, ERRNO | 38));
    }

    #[test]
    fn every_table_can_be_jumped_over() {
        assert!(tables().iter().all(|calls| rules(calls).len() <= usize::from(u8::MAX)));
    }
}
