//! Which pkg_* phases a package has, and the environment that they pass on (PMS 9.1, 11).

use std::collections::BTreeMap;
use std::io::Read;

use crate::ComposeError;

/// Largest environment that is unpacked, in bytes; real ones have some 100 kB.
const MAX_ENVIRONMENT: u64 = 32 * 1024 * 1024;

/// The phases that installing a binary package runs, and those of the one it replaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    Pretend,
    Setup,
    Preinst,
    Postinst,
    Prerm,
    Postrm,
}

impl Phase {
    /// Those before the files are merged, in order.
    pub const BEFORE: [Phase; 3] = [Phase::Pretend, Phase::Setup, Phase::Preinst];
    const INSTALLING: [Phase; 4] = [Phase::Pretend, Phase::Setup, Phase::Preinst, Phase::Postinst];
    const REMOVING: [Phase; 2] = [Phase::Prerm, Phase::Postrm];

    pub fn name(self) -> &'static str {
        match self {
            Phase::Pretend => "pretend",
            Phase::Setup => "setup",
            Phase::Preinst => "preinst",
            Phase::Postinst => "postinst",
            Phase::Prerm => "prerm",
            Phase::Postrm => "postrm",
        }
    }
}

/// What phases need of a package; its environment changes as they run.
#[derive(Debug)]
pub struct Scripts {
    pub defined: Vec<Phase>,
    /// The unpacked environment.bz2, as the last phase left it.
    environment: Vec<u8>,
    /// A phase has run, so the VDB gets the environment as it is now.
    ran: bool,
}

impl Scripts {
    /// The phases of a package that is installed.
    pub fn read(metadata: &BTreeMap<String, Vec<u8>>) -> Result<Scripts, ComposeError> {
        Scripts::read_some(metadata, &Phase::INSTALLING)
    }

    /// The phases of a package that is removed.
    pub fn read_removal(metadata: &BTreeMap<String, Vec<u8>>) -> Result<Scripts, ComposeError> {
        Scripts::read_some(metadata, &Phase::REMOVING)
    }

    /// Reads DEFINED_PHASES; where it is missing, the functions of the environment tell.
    fn read_some(metadata: &BTreeMap<String, Vec<u8>>, phases: &[Phase]) -> Result<Scripts, ComposeError> {
        let text = |key: &str| metadata.get(key).map(|value| String::from_utf8_lossy(value).trim().to_owned());
        let listed = text("DEFINED_PHASES");
        let none = Scripts { defined: Vec::new(), environment: Vec::new(), ran: false };
        let in_list = |phase: &Phase| listed.as_ref().is_none_or(|list| list.split_whitespace().any(|word| word == phase.name()));
        if !phases.iter().any(in_list) {
            return Ok(none);
        }
        let Some(packed) = metadata.get("environment.bz2") else {
            return match listed {
                // A package of the oldest kind, without either, has no scripts.
                None => Ok(none),
                Some(_) => {
                    Err(ComposeError::new("it defines phases but has no environment.bz2 with them", "Take another build of it."))
                }
            };
        };
        let mut environment = Vec::new();
        let unpacked =
            bzip2::read::MultiBzDecoder::new(packed.as_slice()).take(MAX_ENVIRONMENT + 1).read_to_end(&mut environment);
        if unpacked.is_err() || environment.len() as u64 > MAX_ENVIRONMENT {
            return Err(ComposeError::new("its environment.bz2 is damaged or larger than 32 MiB", "Take another build of it."));
        }
        let mut scripts = Scripts { environment, ..none };
        let has_function = |phase: &Phase| scripts.has_function(&format!("pkg_{}", phase.name()));
        scripts.defined =
            phases.iter().copied().filter(|phase| in_list(phase) && (listed.is_some() || has_function(phase))).collect();
        Ok(scripts)
    }

    /// Whether the environment defines a function.
    pub fn has_function(&self, name: &str) -> bool {
        let start = format!("{name} ()");
        self.environment.split(|b| *b == b'\n').any(|line| line.starts_with(start.as_bytes()))
    }

    /// A variable of the environment, where it is a plain one on one line.
    pub fn variable(&self, name: &str) -> Option<String> {
        let text = String::from_utf8_lossy(&self.environment);
        let value = text.lines().filter_map(|line| line.strip_prefix("declare -")).find_map(|line| {
            let (_, assignment) = line.split_once(' ')?;
            assignment.strip_prefix(name)?.strip_prefix('=')?.strip_prefix('"')?.strip_suffix('"').map(str::to_owned)
        });
        value.filter(|value| !value.contains(['\\', '"', '$']))
    }

    /// The environment that the next phase begins with.
    pub fn environment(&self) -> &[u8] {
        &self.environment
    }

    /// Takes over the environment that a phase has left.
    pub fn left(&mut self, environment: Vec<u8>) {
        self.environment = environment;
        self.ran = true;
    }

    /// The environment.bz2 for the VDB, where phases changed it.
    pub fn changed_environment(&self) -> Result<Option<Vec<u8>>, ComposeError> {
        if !self.ran {
            return Ok(None);
        }
        let mut packed = Vec::new();
        let mut encoder = bzip2::read::BzEncoder::new(self.environment.as_slice(), bzip2::Compression::best());
        encoder.read_to_end(&mut packed).map_err(|error| ComposeError::new(format!("environment.bz2: {error}"), ""))?;
        Ok(Some(packed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(pairs: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        let mut metadata: BTreeMap<String, Vec<u8>> =
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec())).collect();
        if let Some(plain) = metadata.remove("environment") {
            let mut packed = Vec::new();
            bzip2::read::BzEncoder::new(plain.as_slice(), bzip2::Compression::fast()).read_to_end(&mut packed).unwrap();
            metadata.insert("environment.bz2".into(), packed);
        }
        metadata
    }

    #[test]
    fn only_defined_phases_count() {
        let environment = "pkg_setup () \n{ \n    :\n}\n";
        let read = |pairs: &[(&str, &str)]| Scripts::read(&metadata(pairs)).unwrap().defined;
        assert_eq!(read(&[("DEFINED_PHASES", "compile install"), ("environment", "broken")]), []);
        assert_eq!(read(&[("DEFINED_PHASES", "-")]), []);
        assert_eq!(read(&[]), []);
        assert_eq!(read(&[("environment", environment)]), [Phase::Setup]);
        assert_eq!(
            read(&[("DEFINED_PHASES", "postinst pretend install"), ("environment", "")]),
            [Phase::Pretend, Phase::Postinst]
        );
        assert!(Scripts::read(&metadata(&[("DEFINED_PHASES", "setup")])).is_err());
        let mut broken = metadata(&[("DEFINED_PHASES", "setup")]);
        broken.insert("environment.bz2".into(), b"BZh9 nonsense".to_vec());
        assert!(Scripts::read(&broken).is_err());
    }

    #[test]
    fn plain_variables_are_found() {
        let scripts = Scripts {
            defined: Vec::new(),
            environment: b"declare -- A=\"/var/lib/x\"\ndeclare -x B=\"a\\\"b\"\n".to_vec(),
            ran: false,
        };
        assert_eq!(scripts.variable("A").as_deref(), Some("/var/lib/x"));
        assert_eq!((scripts.variable("B"), scripts.variable("C")), (None, None));
    }
}
