//! Which ids the user namespace has: 0 to 65535 are subordinate ids of the caller (so even uid 0 of a script is nobody outside), and
//! 65536 is the caller, so that its directory can be handed over.

use std::fs;
use std::process::{Command, Stdio};

use nix::unistd::{Gid, Group, Uid, User};

use super::SandboxError;

/// Ids that a root filesystem may use; also the first id after them, which is the caller's.
const COUNT: u32 = 65_536;
/// Where root's range starts when /etc/subuid grants it none. It is far from where distributions and containers allot theirs.
const ROOT_START: u32 = 1_000_000_000;

/// Maps the ids of the process, which has just made its namespace.
pub fn map(pid: u32) -> Result<(), SandboxError> {
    for map in [Map::users(), Map::groups()] {
        match Uid::effective().is_root() {
            true => map.write(pid)?,
            false => map.hand_to_newidmap(pid)?,
        }
    }
    Ok(())
}

struct Map {
    /// The kernel's file and shadow's tool for it.
    file: &'static str,
    tool: &'static str,
    grants: &'static str,
    caller: u32,
    name: Option<String>,
}

impl Map {
    fn users() -> Map {
        let uid = Uid::effective();
        let name = User::from_uid(uid).ok().flatten().map(|user| user.name);
        Map { file: "uid_map", tool: "newuidmap", grants: "/etc/subuid", caller: uid.as_raw(), name }
    }

    fn groups() -> Map {
        // /etc/subgid names users, too; a group's name is the rare last resort of newgidmap itself.
        let name = User::from_uid(Uid::effective()).ok().flatten().map(|user| user.name);
        let name = name.or_else(|| Group::from_gid(Gid::effective()).ok().flatten().map(|group| group.name));
        Map { file: "gid_map", tool: "newgidmap", grants: "/etc/subgid", caller: Gid::effective().as_raw(), name }
    }

    /// The start of the first range granted that is large enough.
    fn granted(&self) -> Option<u32> {
        let text = fs::read_to_string(self.grants).unwrap_or_default();
        range_in(&text, self.name.as_deref(), Uid::effective().as_raw())
    }

    fn write(&self, pid: u32) -> Result<(), SandboxError> {
        let start = self.granted().unwrap_or(ROOT_START);
        let text = format!("0 {start} {COUNT}\n{COUNT} {} 1\n", self.caller);
        fs::write(format!("/proc/{pid}/{}", self.file), text).map_err(|error| SandboxError::Unavailable {
            message: format!(
                "the ids of the user namespace cannot be mapped ({error}), as happens in a container without CAP_SETUID"
            ),
            advice:
                "Run Hatchery as an ordinary user with ranges in /etc/subuid and /etc/subgid, or give the container CAP_SETUID, \
                     CAP_SETGID and CAP_SETFCAP."
                    .into(),
        })
    }

    fn hand_to_newidmap(&self, pid: u32) -> Result<(), SandboxError> {
        let start = self.granted().ok_or_else(|| self.not_granted())?;
        let output = Command::new(self.tool)
            .args([pid.to_string(), "0".into(), start.to_string(), COUNT.to_string()])
            .args([COUNT.to_string(), self.caller.to_string(), "1".into()])
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => Err(SandboxError::Unavailable {
                message: format!("{} refused: {}", self.tool, String::from_utf8_lossy(&output.stderr).trim()),
                advice: format!("Check {} and that {} is set-uid root.", self.grants, self.tool),
            }),
            Err(error) => Err(SandboxError::Unavailable {
                message: format!("{} cannot be started ({error})", self.tool),
                advice: "Install it: `apt install uidmap` on Debian, sys-apps/shadow on Gentoo.".into(),
            }),
        }
    }

    fn not_granted(&self) -> SandboxError {
        let name = self.name.clone().unwrap_or_else(|| Uid::effective().to_string());
        SandboxError::Unavailable {
            message: format!("{} grants {name} no range of {COUNT} ids, which scripts need to own files", self.grants),
            advice: format!("As root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}"),
        }
    }
}

/// The start of the first range of at least [`COUNT`] ids for a user given by name or number (subuid(5)).
fn range_in(text: &str, name: Option<&str>, uid: u32) -> Option<u32> {
    text.lines().find_map(|line| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let start: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        let ours = Some(owner) == name || owner == uid.to_string();
        (ours && count >= COUNT && start.checked_add(COUNT).is_some()).then_some(start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_range_that_is_large_enough_counts() {
        let text = "other:100000:65536\n# x\nme:200000:1000\nme:300000:65536\n1000:400000:70000\nbad:x:y\n";
        assert_eq!(range_in(text, Some("me"), 1), Some(300_000));
        assert_eq!(range_in(text, Some("nobody"), 1000), Some(400_000));
        assert_eq!(range_in(text, Some("bad"), 1), None);
    }
}
