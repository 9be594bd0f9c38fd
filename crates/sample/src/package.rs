//! Makes one binary package: its metadata and the signed GPKG file.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use binhost::openpgp::SigningKey;
use gentoo::compression::Compression;
use gentoo::gpkg::{self, Description, Signer};

use crate::SampleError;
use crate::content::Content;
use crate::environment;
use crate::facts::Facts;
use crate::plan::{Dependencies, Target};

/// The repository's name, in metadata and index.
pub const REPOSITORY: &str = "hatchery-sample";
/// The time of packages without a file of Debian's: 2026-01-01.
const OWN_TIME: u64 = 1_767_225_600;

/// What a package says about itself, by the names of the VDB and of the index alike.
pub struct Metadata {
    /// Text fields that are not empty.
    pub fields: BTreeMap<&'static str, String>,
    /// Seconds since the epoch.
    pub build_time: u64,
    functions: BTreeMap<String, String>,
    variables: BTreeMap<String, String>,
}

impl Metadata {
    /// Describes a build.
    pub fn new(target: &Target, facts: &Facts, dependencies: &Dependencies) -> Metadata {
        let recipe = &target.recipe;
        // Later builds of a version are newer, so that of several that fit the last one in the recipe is taken.
        let build_time = facts.newest.max(OWN_TIME) + 60 * u64::from(target.build_id);
        let mut iuse: Vec<&str> = recipe.iuse.split_whitespace().collect();
        if !facts.provides.is_empty() {
            iuse.extend(["abi_x86_32", "abi_x86_64"]);
        }
        let mut enabled: Vec<&str> = target.build.enabled.iter().map(String::as_str).chain(target.arch.implicit_use()).collect();
        enabled.sort_unstable();
        let (slot, sub) = &target.slot;
        let slot = if slot == sub { slot.clone() } else { format!("{slot}/{sub}") };
        let description = format!("{} ({})", recipe.description, target.origin());
        let fields = BTreeMap::from([
            ("CATEGORY", target.cpv.category.clone()),
            ("PF", target.cpv.pf()),
            ("SLOT", slot),
            ("EAPI", "8".to_owned()),
            ("KEYWORDS", target.arch.keyword().to_owned()),
            ("LICENSE", recipe.license.clone()),
            ("DESCRIPTION", description),
            ("HOMEPAGE", recipe.homepage.clone()),
            ("IUSE", iuse.join(" ")),
            ("USE", enabled.join(" ")),
            ("DEPEND", dependencies.depend.clone()),
            ("RDEPEND", dependencies.rdepend.clone()),
            ("PDEPEND", dependencies.pdepend.clone()),
            ("IDEPEND", dependencies.idepend.clone()),
            ("PROPERTIES", recipe.properties.clone()),
            ("DEFINED_PHASES", environment::defined_phases(&recipe.functions)),
            ("REQUIRES", Facts::field(&facts.requires)),
            ("PROVIDES", Facts::field(&facts.provides)),
            ("CHOST", target.arch.chost().to_owned()),
            ("CBUILD", target.arch.chost().to_owned()),
            ("FEATURES", "binpkg-multi-instance".to_owned()),
            ("BUILD_ID", target.build_id.to_string()),
            ("BUILD_TIME", build_time.to_string()),
            ("SIZE", facts.size.to_string()),
            ("repository", REPOSITORY.to_owned()),
        ]);
        let fields: BTreeMap<_, _> = fields.into_iter().filter(|(_, value)| !value.is_empty()).collect();
        let variables = variables(target, &fields);
        Metadata { fields, build_time, functions: recipe.functions.clone(), variables }
    }

    /// All that the package's content depends on besides its files, for telling whether it has to be made again.
    pub fn fingerprint(&self) -> String {
        format!("{:?}{:?}{:?}", self.fields, self.functions, self.variables)
    }

    /// The metadata files of the container.
    fn files(&self, target: &Target, facts: &Facts) -> std::io::Result<BTreeMap<String, Vec<u8>>> {
        let line = |value: &String| format!("{value}\n").into_bytes();
        let mut files: BTreeMap<String, Vec<u8>> =
            self.fields.iter().map(|(key, value)| ((*key).to_owned(), line(value))).collect();
        let script = environment::script(&self.variables, &self.functions);
        files.insert("environment.bz2".to_owned(), environment::compressed(&script)?);
        files.insert(format!("{}.ebuild", target.cpv.pf()), self.ebuild().into_bytes());
        if !facts.needed.is_empty() {
            files.insert("NEEDED".to_owned(), facts.needed_text().into_bytes());
            files.insert(
                "NEEDED.ELF.2".to_owned(),
                facts.needed.iter().map(|l| format!("{l}\n")).collect::<String>().into_bytes(),
            );
        }
        Ok(files)
    }

    /// What stands for the ebuild in the VDB: no source is built from it, it only says what the package is.
    fn ebuild(&self) -> String {
        let mut text =
            "# Made by Hatchery for its sample channel, from Debian's binaries. It cannot be built from source.\n".to_owned();
        for key in
            ["EAPI", "DESCRIPTION", "HOMEPAGE", "LICENSE", "SLOT", "KEYWORDS", "IUSE", "DEPEND", "RDEPEND", "PDEPEND", "IDEPEND"]
        {
            if let Some(value) = self.fields.get(key) {
                text.push_str(&format!("{key}=\"{}\"\n", value.replace(['"', '$', '`', '\\'], "'")));
            }
        }
        text.push_str(&environment::function_definitions(&self.functions));
        text
    }
}

/// The variables of the environment: PMS's, and those of an account.
fn variables(target: &Target, fields: &BTreeMap<&'static str, String>) -> BTreeMap<String, String> {
    const FROM_FIELDS: &[&str] = &[
        "CATEGORY",
        "PF",
        "SLOT",
        "EAPI",
        "KEYWORDS",
        "LICENSE",
        "DESCRIPTION",
        "HOMEPAGE",
        "IUSE",
        "USE",
        "DEPEND",
        "RDEPEND",
        "PDEPEND",
        "IDEPEND",
        "DEFINED_PHASES",
        "CHOST",
        "CBUILD",
        "FEATURES",
    ];
    let cpv = &target.cpv;
    let mut variables: BTreeMap<String, String> =
        FROM_FIELDS.iter().map(|key| ((*key).to_owned(), fields.get(key).cloned().unwrap_or_default())).collect();
    let arch = target.arch.keyword();
    let libdir = format!("LIBDIR_{arch}");
    let revision = if cpv.version.revision().is_empty() { "0" } else { cpv.version.revision() };
    for (key, value) in [
        ("PN", cpv.package.clone()),
        ("PV", cpv.version.base().to_owned()),
        ("P", format!("{}-{}", cpv.package, cpv.version.base())),
        ("PR", format!("r{revision}")),
        ("PVR", cpv.version.as_str().to_owned()),
        ("ARCH", arch.to_owned()),
        ("ABI", arch.to_owned()),
        ("DEFAULT_ABI", arch.to_owned()),
        (libdir.as_str(), target.arch.libdir().to_owned()),
        ("ELIBC", "glibc".to_owned()),
        ("KERNEL", "linux".to_owned()),
        ("INHERITED", String::new()),
        ("PORTAGE_REPO_NAME", REPOSITORY.to_owned()),
    ] {
        variables.insert(key.to_owned(), value);
    }
    let account = target.recipe.account.as_ref().map(|a| a.variables()).unwrap_or_default();
    variables.extend(account.into_iter().map(|(key, value)| (key.to_owned(), value)));
    variables
}

/// Writes the package file, signed, and replaces an older one only when the new one is whole.
///
/// # Errors
/// [`SampleError::Package`] and [`SampleError::Io`].
pub fn write(
    target: &Target,
    content: &Content,
    facts: &Facts,
    metadata: &Metadata,
    key: &SigningKey,
    binhost: &Path,
) -> Result<(), SampleError> {
    let path = binhost.join(target.path());
    let folder = path.parent().unwrap_or(binhost);
    fs::create_dir_all(folder).map_err(SampleError::io(folder))?;
    let fail = |e: std::io::Error| SampleError::Package { cpv: target.cpv.to_string(), message: e.to_string() };
    let mut file = tempfile::Builder::new().prefix(".new-").tempfile_in(folder).map_err(SampleError::io(folder))?;
    let files = metadata.files(target, facts).map_err(fail)?;
    let basename = format!("{}-{}", target.cpv.pf(), target.build_id);
    let description =
        Description { basename: &basename, metadata: &files, compression: Compression::Zstd, mtime: metadata.build_time };
    let mut signer = key.clone();
    let signer: &mut dyn Signer = &mut signer;
    gpkg::write(file.as_file_mut(), &description, Some(signer), &mut |image| content.write_to(image)).map_err(fail)?;
    binhost::publish(file.as_file(), metadata.build_time).map_err(fail)?;
    file.persist(&path).map_err(|e| SampleError::Io { path: path.display().to_string(), source: e.error })?;
    Ok(())
}
