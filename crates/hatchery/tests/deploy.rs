//! What lies in `deploy/` is as the programs that read it want it, and calls `hatchery` as it can be called.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn deploy() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(deploy().join(name)).unwrap()
}

/// What a program says, or none with a line that says so where it is not here.
fn said(command: &mut Command) -> Option<(bool, String)> {
    match command.output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
            Some((output.status.success(), text))
        }
        Err(error) => {
            println!("SKIPPED: {} cannot be run ({error}): run scripts/setup test", command.get_program().display());
            None
        }
    }
}

/// Whether `hatchery` understands these arguments. It is not started: `--help` ends it, after what comes before was read.
fn assert_understood(arguments: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_hatchery")).args(arguments).arg("--help").output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_compose_file_is_as_the_specification_has_it() {
    let venv = std::env::var_os("HATCHERY_TEST_VENV").map_or_else(|| deploy().join("../target/test-venv"), PathBuf::from);
    let mut check = Command::new(venv.join("bin/check-jsonschema"));
    check.args(["--builtin-schema", "vendor.compose-spec"]).arg(deploy().join("compose.yaml"));
    if let Some((good, text)) = said(&mut check) {
        assert!(good, "{text}");
    }
    let compose = read("compose.yaml");
    let command = compose.lines().find_map(|line| line.trim().strip_prefix("command: [\"work\", ")).unwrap();
    let arguments: Vec<&str> = command.trim_end_matches(']').split(", ").map(|word| word.trim_matches('"')).collect();
    assert_understood(&[&["work"], arguments.as_slice()].concat());
    let container = read("Containerfile");
    let command = container.lines().find_map(|line| line.strip_prefix("CMD [")).unwrap();
    assert_understood(&command.trim_end_matches(']').split(", ").map(|word| word.trim_matches('"')).collect::<Vec<_>>());
}

#[test]
fn the_example_of_a_configuration_is_one() {
    server::Config::from_toml(&read("hatchery.toml.example")).unwrap();
    let _: serde_json::Value = serde_json::from_str(&read("s3.json.example")).unwrap();
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let dir = tempfile::tempdir().unwrap();
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify");
    for name in ["hatchery.service", "hatchery-site.service", "hatchery-worker@.service"] {
        let unit = read(&format!("systemd/{name}"));
        let starts = unit.lines().find_map(|line| line.strip_prefix("ExecStart=/usr/bin/hatchery ")).unwrap();
        assert_understood(&starts.split_whitespace().collect::<Vec<_>>());
        // The program has to be there, which it is not where it is installed.
        let unit = unit.replace("ExecStart=/usr/bin/hatchery ", &format!("ExecStart={} ", env!("CARGO_BIN_EXE_hatchery")));
        std::fs::write(dir.path().join(name), unit).unwrap();
        verify.arg(dir.path().join(name));
    }
    if let Some((good, text)) = said(&mut verify) {
        assert!(good && text.trim().is_empty(), "{text}");
    }
}

/// What implies NoNewPrivileges where a unit has `User=` (systemd.exec(5) of systemd 252): a worker that cannot gain newuidmap's right runs no
/// package's scripts.
const NO_NEW_PRIVILEGES: [&str; 16] = [
    "NoNewPrivileges",
    "SystemCallFilter",
    "SystemCallArchitectures",
    "RestrictAddressFamilies",
    "RestrictNamespaces",
    "PrivateDevices",
    "ProtectKernelTunables",
    "ProtectKernelModules",
    "ProtectKernelLogs",
    "ProtectClock",
    "MemoryDenyWriteExecute",
    "RestrictRealtime",
    "RestrictSUIDSGID",
    "DynamicUser",
    "LockPersonality",
    "ProtectHostname",
];

#[test]
fn a_worker_may_write_the_maps_of_its_user_namespaces() {
    let forbids =
        |line: &&str| NO_NEW_PRIVILEGES.iter().any(|name| line.strip_prefix(name).is_some_and(|rest| rest.starts_with('=')));
    for name in ["hatchery.service", "hatchery-worker@.service"] {
        assert_eq!(read(&format!("systemd/{name}")).lines().find(forbids), None, "{name}");
    }
    assert!(read("systemd/hatchery-site.service").lines().any(|line| forbids(&line)), "the site alone needs no more rights");
    let compose = read("compose.yaml");
    let worker = compose.split_once("\n  worker:").unwrap().1.split("\n\n").next().unwrap();
    assert!(worker.contains("cap_add:\n      - SYS_ADMIN"), "{worker}");
}

#[test]
fn the_openrc_script_calls_what_there_is() {
    let script = deploy().join("openrc/hatchery");
    let arguments = |service: &str| {
        // openrc-run reads the script as a shell does, with the service's name set.
        let shell = "set -eu; . \"$0\"; printf '%s\\n' \"$command\" \"$command_user\" \"$command_args\"";
        let output = Command::new("sh")
            .args(["-c", shell])
            .arg(&script)
            .env("RC_SVCNAME", service)
            .env("hatchery_server", "https://hatchery.example.org")
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{service}: {}", String::from_utf8_lossy(&output.stderr));
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        assert_eq!(lines[0], "/usr/bin/hatchery");
        lines
    };
    let server = arguments("hatchery");
    assert_eq!(server[1], "hatchery:hatchery");
    assert_understood(&server[2].split_whitespace().collect::<Vec<_>>());
    let [one, two] = ["hatchery-worker", "hatchery-worker.two"].map(arguments);
    assert_understood(&one[2].split_whitespace().collect::<Vec<_>>());
    assert_ne!(one[2], two[2], "two workers of one machine have names and folders of their own");
    assert!(two[2].contains("--dir /var/lib/hatchery-worker.two"), "{}", two[2]);
}

#[test]
fn a_command_whose_output_nobody_reads_ends_quietly() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hatchery"));
    command.args(["keygen", "Somebody <somebody@example.org>", "-o"]).arg(dir.path().join("key"));
    let mut running = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(running.stdout.take());
    let ended = running.wait_with_output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8_lossy(&ended.stderr).as_ref()), (Some(141), ""));
}
