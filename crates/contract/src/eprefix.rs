//! EPREFIX: the folder of a foreign system that a Gentoo Prefix lives in.

use crate::order::OrderError;

/// Longest EPREFIX. Programs are built at one, and a `#!` line with it must fit the 127 bytes that older kernels read.
const MAX_PREFIX: usize = 100;
/// Folders that belong to the host's own system; a prefix in one of them would mix with it.
const HOST_DIRS: [&str; 11] = ["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "sys", "usr"];

/// Checks an EPREFIX: an absolute path in its plainest form, of characters that neither a `#!` line nor a search path nor a shell takes
/// for something else.
pub fn check_eprefix(field: &str, path: &str) -> Result<(), OrderError> {
    let part_ok = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part != "."
            && part != ".."
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
    };
    let mut parts = path.strip_prefix('/').unwrap_or_default().split('/');
    if path.len() > MAX_PREFIX || !parts.clone().all(part_ok) {
        let message = format!(
            "name the folder by its full path, like /home/larry/gentoo: letters, digits, dots, _, + and -, no / at the end, at most \
             {MAX_PREFIX} characters"
        );
        return Err(OrderError::new(field, message));
    }
    if let Some(dir) = parts.next().filter(|first| HOST_DIRS.contains(first)) {
        let message =
            format!("/{dir} belongs to the system that the prefix is to live on; choose a folder of your own, like one in /home");
        return Err(OrderError::new(field, message));
    }
    Ok(())
}
