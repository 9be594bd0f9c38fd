//! Scripts that mean harm: each is stopped or gets nothing, and the sandbox goes on working.

mod common;

use std::process::Command;

use common::{Bench, Log, Pack, base_system, host_tools};
use composer::sandbox::{self, Area, Excess, Limits, Listener, PhaseHost, Ran, RunEnd};

struct Quiet;

impl Listener for Quiet {
    fn line(&mut self, line: &str) {
        println!("{line}");
    }
}

const MIB: u64 = 1024 * 1024;

/// A sandbox with bash and tools in it, and those that a hostile script would like to have.
struct Victim {
    host: PhaseHost,
    _bench: Bench,
}

impl Victim {
    fn new() -> Victim {
        let bench = Bench::new();
        let base = base_system();
        let mut tools = host_tools("sys-apps/util-linux-2", "mount umount unshare dd");
        tools.items.retain(|(path, _)| !base.items.iter().any(|(there, _)| there == path));
        let tree = bench.merge(&[base, tools], &Log::default()).unwrap().tree;
        let mut host = PhaseHost::start(&bench.work_dir()).unwrap();
        host.sync(Area::Target, &tree, &bench.store).unwrap();
        Victim { host, _bench: bench }
    }

    fn run(&mut self, line: &str, limits: Limits) -> Ran {
        let argv = ["/bin/bash", "-c", line].map(str::to_owned).to_vec();
        let env = vec![("PATH".into(), "/usr/bin:/bin".into())];
        let command = sandbox::Command { argv, env, timeout: 120, limits, ..sandbox::Command::default() };
        self.host.run(&command, &mut Quiet).unwrap()
    }

    /// The command is stopped for this, and the next one is not.
    fn stopped(&mut self, line: &str, limits: Limits, excess: Excess) {
        assert_eq!(self.run(line, limits).end, RunEnd::OverLimit(excess), "{line}");
        assert!(self.run("sleep 0.6", limits).succeeded());
    }

    /// The command must fail.
    fn refused(&mut self, line: &str) {
        let ran = self.run(line, Limits::default());
        assert!(!ran.succeeded(), "{line}: {:?}", ran.tail);
    }
}

#[test]
fn what_all_processes_take_together_is_limited() {
    let mut victim = Victim::new();
    let limits = Limits { memory: 100 * MIB, processes: 60, disk: 200 * MIB };
    victim.stopped("bomb() { bomb | bomb & }; bomb; sleep 100", limits, Excess::Processes);
    victim.stopped(
        "for i in 1 2 3 4; do { x=$(head -c 40M /dev/zero | tr '\\0' x); sleep 100; } & done; wait",
        limits,
        Excess::Memory,
    );
    victim.stopped("while :; do head -c 30M /dev/zero > /var/fill$i; : $((i++)); done", limits, Excess::Disk);
    // A busy command is watched as well.
    victim.stopped("while :; do echo busy; head -c 30M /dev/zero > /var/more$i; : $((i++)); done", limits, Excess::Disk);
}

#[test]
fn a_script_over_a_limit_fails_the_order_and_says_which() {
    let bench = Bench::new();
    let pack = Pack::new("x/a-1").phases("pkg_postinst () \n{ \n bomb() { bomb | bomb & }; bomb; sleep 1000\n}\n");
    let error = bench.merge(&[base_system(), pack], &Log::default()).unwrap_err();
    assert_eq!((error.package.as_deref(), error.phase.as_deref()), (Some("x/a-1"), Some("pkg_postinst")));
    assert!(error.to_string().contains("more than 1024 processes"), "{error}");
}

#[test]
fn the_machine_is_out_of_reach() {
    let mut victim = Victim::new();
    for line in [
        "echo evil > /proc/sys/kernel/core_pattern",
        "echo 1 > /proc/sys/kernel/panic",
        "echo b > /proc/sysrq-trigger",
        "umount /proc",
        "umount -l /",
        "mount -t tmpfs x /mnt",
        "mount --bind / /mnt",
        "mount -o remount,rw /dev",
        "unshare --user true",
        "unshare --mount true",
        "echo > /dev/file",
        "dd if=/dev/zero of=/dev/shm/x bs=1M count=100",
        "exec 9<>/dev/tcp/127.0.0.1/22",
        "exec 9<>/dev/udp/192.0.2.1/53 && echo > /proc/self/fd/9 && sleep 0.1 && echo >&9",
        &format!("kill -0 {}", std::process::id().max(1_000)),
        "ls /tmp/host",
        "cat /dev/sda || cat /dev/vda || cat /dev/mem",
    ] {
        victim.refused(line);
    }
    let status = victim.run(
        "[[ $(< /proc/self/status) == *$'Seccomp:\\t2'*  && $(< /proc/self/status) == *$'NoNewPrivs:\\t1'* ]]",
        Limits::default(),
    );
    assert!(status.succeeded());
    // Every process it can reach is its own.
    let killed = victim.run("kill -9 -1", Limits::default());
    println!("{:?}", killed.end);
    assert!(victim.run("true", Limits::default()).succeeded());
}

/// Runs itself where no further user namespace can be had, as on a machine that forbids them.
#[test]
fn without_user_namespaces_it_is_refused_at_the_start() {
    const INNER: &str = "COMPOSER_TEST_NO_NAMESPACES";
    if std::env::var_os(INNER).is_some() {
        let bench = Bench::new();
        let error = sandbox::check(&bench.work_dir()).unwrap_err();
        assert!(matches!(error, sandbox::SandboxError::Unavailable { .. }), "{error:?}");
        let error = composer::ComposeError::from(error);
        println!("refused: {error}\nadvice: {}", error.advice);
        return;
    }
    let script = "echo 0 > /proc/sys/user/max_user_namespaces && exec \"$0\" --exact \
                  without_user_namespaces_it_is_refused_at_the_start --nocapture";
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script])
        .arg(std::env::current_exe().unwrap())
        .env(INNER, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("refused: package scripts cannot be run here: the kernel gives no user namespace"), "{said}");
    assert!(said.contains("advice: Allow user namespaces: `sysctl user.max_user_namespaces=15000`"), "{said}");
}
