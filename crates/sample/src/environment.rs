//! The saved environment of a binary package: variables and functions that phases run with, as Portage leaves it in `environment.bz2`.

use std::collections::BTreeMap;
use std::io::{self, Write};

use gentoo::compression::Compression;

/// The phases PMS knows as functions of the install process, in the order of DEFINED_PHASES.
const PHASES: &[&str] = &["config", "info", "postinst", "postrm", "preinst", "prerm", "pretend", "setup"];

/// DEFINED_PHASES for a set of functions: `-` when there is none.
pub fn defined_phases(functions: &BTreeMap<String, String>) -> String {
    let defined: Vec<&str> = PHASES.iter().copied().filter(|phase| functions.contains_key(&format!("pkg_{phase}"))).collect();
    if defined.is_empty() { "-".to_owned() } else { defined.join(" ") }
}

/// The environment as a bash script: declarations, then functions.
pub fn script(variables: &BTreeMap<String, String>, functions: &BTreeMap<String, String>) -> String {
    let mut text = String::new();
    for (name, value) in variables {
        text.push_str(&format!("declare -x {name}=\"{}\"\n", quoted(value)));
    }
    text.push_str(&function_definitions(functions));
    text
}

/// The functions as bash prints them, each ending with a brace in the first column.
pub fn function_definitions(functions: &BTreeMap<String, String>) -> String {
    functions.iter().map(|(name, body)| format!("{name} () \n{{ \n{}\n}}\n", body.trim_matches('\n'))).collect()
}

/// The script, compressed.
///
/// # Errors
/// Those of the encoder.
pub fn compressed(script: &str) -> io::Result<Vec<u8>> {
    let mut encoder = Compression::Bzip2.writer(Vec::new())?;
    encoder.write_all(script.as_bytes())?;
    encoder.finish()
}

/// Text for a double-quoted word of bash.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '\\' | '"' | '$' | '`') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn bash_reads_what_we_write() {
        let variables = BTreeMap::from([("A".to_owned(), "it's \"$HOME\" `x` \\ end".to_owned())]);
        let functions = BTreeMap::from([("pkg_postinst".to_owned(), "\n\tprintf '%s' \"${A}\"\n".to_owned())]);
        let text = format!("{}\npkg_postinst", script(&variables, &functions));
        let out = Command::new("bash").arg("-c").arg(text).output().unwrap();
        assert_eq!(String::from_utf8(out.stdout).unwrap(), variables["A"]);
        assert_eq!(defined_phases(&functions), "postinst");
        assert_eq!(defined_phases(&BTreeMap::new()), "-");
    }
}
