//! Scripts that cannot run because INSTALL_MASK left out what they need, said so that whoever ordered finds the pattern.

use std::collections::BTreeSet;

use super::install_mask::Masked;
use crate::ComposeError;
use crate::error::Setting;

const ADVICE: &str =
    "Take the pattern out of install_mask, or write one that spares programs and libraries, like /usr/share/doc.";

/// There is no bash that starts, though these packages (CPVs) would run scripts.
pub(super) fn no_bash(masked: &[Masked], names: &str) -> ComposeError {
    let Some(what) = left_out(masked) else {
        let message = format!("{names} would run scripts, and the image has no bash that starts");
        return ComposeError::new(message, "Add app-shells/bash (or the whole @system) to the order.");
    };
    let message = format!("{names} would run scripts, and the image has no bash that starts, as INSTALL_MASK leaves out {what}");
    ComposeError::new(message, ADVICE).about(Setting::InstallMask)
}

/// A phase that failed, with what the essential packages were left without.
pub(super) fn blame(masked: &[Masked], error: ComposeError) -> ComposeError {
    match left_out(masked).filter(|_| error.phase.is_some() && !error.cancelled) {
        Some(what) => {
            let message = format!("{}; INSTALL_MASK leaves out {what}, which may be why", error.message);
            ComposeError { message, advice: format!("{ADVICE} {}", error.advice).trim_end().to_owned(), ..error }
                .about(Setting::InstallMask)
        }
        None => error,
    }
}

/// `/usr/bin/bash (“/usr”)`, and how many more there are.
fn left_out(masked: &[Masked]) -> Option<String> {
    let shown = masked.iter().find(|masked| masked.path.ends_with("/bash")).or(masked.first())?;
    let patterns: BTreeSet<String> = masked.iter().map(|masked| format!("“{}”", masked.pattern)).collect();
    let patterns = patterns.into_iter().collect::<Vec<_>>().join(", ");
    Some(match masked.len() {
        1 => format!("{} ({patterns})", shown.path),
        several => format!("{} and {} more programs and libraries ({patterns})", shown.path, several - 1),
    })
}
