//! A machine of its own on a wire of its own: a network namespace with one veth pair to this one, which can be cut and slowed (ip-netns(8),
//! tc-tbf(8)).

use std::path::Path;
use std::process::Command;

use crate::user;

/// A network namespace with a wire to this one. It ends when dropped.
pub struct Namespace {
    name: String,
    /// Our end of the wire, and theirs.
    ours: String,
    theirs: String,
    /// Our address on the wire.
    pub address: String,
}

impl Namespace {
    /// Makes one. None, with a line that says so, where that is not permitted.
    pub fn new() -> Option<Namespace> {
        let number = std::process::id() % 10_000;
        let net = format!("10.231.{}", number % 250);
        let namespace = Namespace {
            name: format!("hatchery{number}"),
            ours: format!("hatch{number}a"),
            theirs: format!("hatch{number}b"),
            address: format!("{net}.1"),
        };
        match namespace.connect(&net) {
            Ok(()) => Some(namespace),
            Err(reason) => {
                eprintln!("SKIPPED: a network of its own cannot be made here: {reason}");
                None
            }
        }
    }

    fn connect(&self, net: &str) -> Result<(), String> {
        ip(&["netns", "add", &self.name])?;
        ip(&["link", "add", &self.ours, "type", "veth", "peer", "name", &self.theirs, "netns", &self.name])?;
        ip(&["addr", "add", &format!("{net}.1/30"), "dev", &self.ours])?;
        ip(&["link", "set", &self.ours, "up"])?;
        ip(&["-n", &self.name, "addr", "add", &format!("{net}.2/30"), "dev", &self.theirs])?;
        ip(&["-n", &self.name, "link", "set", &self.theirs, "up"])?;
        ip(&["-n", &self.name, "link", "set", "lo", "up"])
    }

    /// Cuts the wire, or mends it. What is on its way is lost, and nobody is told.
    pub fn cut(&self, cut: bool) {
        ip(&["-n", &self.name, "link", "set", &self.theirs, if cut { "down" } else { "up" }]).expect("the wire can be cut");
    }

    /// What they send goes at so many Mbit/s and waits in a queue of up to 400 ms.
    pub fn slow(&self, megabits: u32) {
        let rate = format!("{megabits}mbit");
        let set = ["netns", "exec", &self.name, "tc", "qdisc", "replace", "dev", &self.theirs, "root", "tbf", "rate", &rate];
        ip(&[&set[..], &["burst", "32kbit", "latency", "400ms"]].concat()).expect("the wire can be slowed");
    }

    /// A command that runs a program there, as an ordinary user.
    pub fn command(&self, program: &Path) -> Command {
        let inner = user::command(program);
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(inner.get_program()).args(inner.get_args());
        command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The wire goes with it.
        let _ = ip(&["netns", "del", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|e| format!("ip: {e}"))?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()) }
}
