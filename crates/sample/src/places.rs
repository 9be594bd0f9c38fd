//! Where paths and links of Debian's packages lie in Gentoo.

/// Where a path of Debian's lies in a merged-usr Gentoo, in which /usr/sbin is merged as well.
pub fn relocate(path: &str) -> String {
    const MOVES: &[(&str, &str)] = &[
        ("bin", "usr/bin"),
        ("sbin", "usr/bin"),
        ("usr/sbin", "usr/bin"),
        ("usr/games", "usr/bin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
    ];
    for (from, to) in MOVES {
        if path == *from {
            return (*to).to_owned();
        }
        if let Some(rest) = path.strip_prefix(from).and_then(|rest| rest.strip_prefix('/')) {
            return format!("{to}/{rest}");
        }
    }
    path.to_owned()
}

/// The target of a symbolic link after both ends were moved. An absolute one stays absolute.
pub fn relocate_link(original: &str, moved: &str, target: &str) -> String {
    if let Some(absolute) = target.strip_prefix('/') {
        return format!("/{}", relocate(absolute));
    }
    let mut at: Vec<&str> = original.split('/').collect();
    at.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                at.pop();
            }
            name => at.push(name),
        }
    }
    let goal = relocate(&at.join("/"));
    relative(moved, &goal)
}

fn relative(from: &str, to: &str) -> String {
    let from: Vec<&str> = from.split('/').collect();
    let to: Vec<&str> = to.split('/').collect();
    let from = &from[..from.len().saturating_sub(1)];
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let ups = std::iter::repeat_n("..", from.len() - common);
    let text = ups.chain(to[common..].iter().copied()).collect::<Vec<_>>().join("/");
    if text.is_empty() { ".".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_move_into_usr() {
        for (from, to) in [
            ("bin/bash", "usr/bin/bash"),
            ("usr/sbin/sshd", "usr/bin/sshd"),
            ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
            ("lib/x86_64-linux-gnu/libc.so.6", "usr/lib/x86_64-linux-gnu/libc.so.6"),
            ("libexec/x", "libexec/x"),
            ("etc/passwd", "etc/passwd"),
        ] {
            assert_eq!(relocate(from), to);
        }
    }

    #[test]
    fn links_keep_their_goal() {
        let moved = |original: &str, target: &str| relocate_link(original, &relocate(original), target);
        assert_eq!(
            moved("lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"),
            "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2"
        );
        assert_eq!(moved("usr/lib/x86_64-linux-gnu/libm.so", "../../../lib/x86_64-linux-gnu/libm.so.6"), "libm.so.6");
        assert_eq!(moved("sbin/modprobe", "../bin/kmod"), "kmod");
        assert_eq!(moved("usr/bin/rsh", "ssh"), "ssh");
        assert_eq!(moved("sbin/depmod", "/bin/kmod"), "/usr/bin/kmod");
    }
}
