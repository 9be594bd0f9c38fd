//! Processes of this machine: which another has started, and signals to them.

use std::process::Command;

/// A process that ran when it was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    pub id: u32,
    parent: u32,
    /// Clock ticks since the machine's start: identifiers are given again, this with the same identifier is not.
    began: String,
    arguments: Vec<String>,
}

impl Running {
    fn of(id: u32) -> Option<Running> {
        let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
        // The program's name, in brackets, may hold anything (proc_pid_stat(5)).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let (state, parent, began) = (fields.first()?, fields.get(1)?, fields.get(19)?);
        if ["Z", "X"].contains(state) {
            return None;
        }
        let arguments = std::fs::read(format!("/proc/{id}/cmdline")).ok()?;
        let arguments = arguments.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        Some(Running { id, parent: parent.parse().ok()?, began: (*began).to_owned(), arguments })
    }

    /// Whether it has not ended.
    pub fn is_there(&self) -> bool {
        Running::of(self.id).is_some_and(|now| now.began == self.began)
    }

    /// Whether it is a program of this name.
    pub fn is_program(&self, name: &str) -> bool {
        self.arguments.first().is_some_and(|path| path.rsplit('/').next() == Some(name))
    }

    pub fn has_argument(&self, argument: &str) -> bool {
        self.arguments.iter().any(|word| word == argument)
    }
}

/// All that a process has started, and what those have.
pub fn descendants(of: u32) -> Vec<Running> {
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    let all: Vec<Running> =
        entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Running::of).collect();
    let mut found: Vec<Running> = Vec::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        let children = all.iter().filter(|process| process.parent == parent);
        found.extend(children.cloned().inspect(|child| parents.push(child.id)));
    }
    found
}

/// Sends a signal, by its name without SIG. Processes that have ended are as good.
pub fn signal(name: &str, processes: &[u32]) {
    if !processes.is_empty() {
        let ids = processes.iter().map(u32::to_string);
        let _ = Command::new("kill").arg(format!("-{name}")).args(ids).status().expect("kill runs");
    }
}
