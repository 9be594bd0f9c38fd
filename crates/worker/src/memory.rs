//! How much memory this worker may use.

use std::path::Path;

/// The memory of the machine, or of the control group that the worker runs in where that is less. Bytes; 0 when it cannot be told.
pub fn memory() -> u64 {
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let machine = total(&read(Path::new("/proc/meminfo"))).unwrap_or(0);
    let group = read(Path::new("/proc/self/cgroup"));
    let limits = group_folders(&group).filter_map(|folder| {
        let path = Path::new("/sys/fs/cgroup").join(folder).join("memory.max");
        read(&path).trim().parse::<u64>().ok()
    });
    limits.fold(machine, |least, limit| if least == 0 { limit } else { least.min(limit) })
}

/// `MemTotal` of /proc/meminfo (proc_meminfo(5)). Bytes.
fn total(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The folder of the control group and those of all above it, from the line of version 2 in /proc/self/cgroup (cgroups(7)).
fn group_folders(cgroup: &str) -> impl Iterator<Item = &Path> {
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::/")).map(Path::new);
    path.into_iter().flat_map(Path::ancestors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_machine_and_group_allow() {
        assert_eq!(total("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
        assert_eq!(total("MemTotal: much\n"), None);
        let folders: Vec<&Path> = group_folders("1:cpu:/x\n0::/system.slice/w.service\n").collect();
        assert_eq!(folders, ["system.slice/w.service", "system.slice", ""].map(Path::new));
        assert!(memory() > 64 << 20, "a machine that runs tests has some");
    }
}
