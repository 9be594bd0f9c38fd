//! A made image that has everything documents tell of.

use attest::{Digests, Facts, Sources};
use contract::plan::{Inherited, Removal};
use contract::{Artifact, BinhostRef, Format, Origin, PackageFormat, Plan, PlannedPackage, Stage3, Summary};

pub fn package(cpv: &str, slot: &str, license: &str) -> PlannedPackage {
    PlannedPackage {
        cpv: cpv.into(),
        slot: slot.into(),
        build_id: Some(1),
        build_time: 1_700_000_000,
        use_flags: vec!["ssl".into()],
        binhost: "b".into(),
        path: format!("{cpv}.gpkg.tar"),
        size: 10,
        format: PackageFormat::Gpkg,
        md5: None,
        sha1: None,
        sha256: Some("ab".repeat(32)),
        license: license.into(),
        origin: None,
        repo: "gentoo".into(),
        defined_phases: String::new(),
        because: vec!["asked for".into()],
    }
}

pub fn plan(packages: Vec<PlannedPackage>) -> Plan {
    let binhost = BinhostRef {
        name: "b".into(),
        uri: "https://binhost.example/amd64/".into(),
        index_sha256: "cd".repeat(32),
        timestamp: 1_700_000_100,
    };
    Plan {
        version: 1,
        arch: "amd64".into(),
        channel: "c".into(),
        chost: "x86_64-pc-linux-gnu".into(),
        binhosts: vec![binhost],
        profile: Some("gentoo:default/linux/amd64/23.0".into()),
        world: vec!["app-editors/vim".into()],
        services: vec!["sshd".into()],
        base: None,
        portage: None,
        prefix: None,
        install_mask: String::new(),
        removals: Vec::new(),
        inherited: Vec::new(),
        packages,
        notes: Vec::new(),
        summary: Summary::default(),
    }
}

pub fn stage3() -> Stage3 {
    Stage3 { path: "20260101/stage3.tar.xz".into(), size: 5, sha512: "12".repeat(64), blake2b: "34".repeat(64) }
}

pub fn removal(cpv: &str) -> Removal {
    Removal { cpv: cpv.into(), after: "a/new-2".into(), because: format!("!{cpv}") }
}

pub fn inherited(cpv: &str, license: &str) -> Inherited {
    Inherited {
        cpv: cpv.into(),
        slot: "0/0".into(),
        build_id: None,
        build_time: 1_600_000_000,
        use_flags: vec!["nls".into()],
        license: license.into(),
        repo: "gentoo".into(),
    }
}

pub fn origin() -> Origin {
    let commit = Some("ab3ee1a3bb6ef59410d474fedcbec3fccc352955".into());
    Origin { description: "An editor".into(), homepage: vec!["https://www.vim.org/".into()], commit, installed_size: None }
}

pub fn artifact(name: &str, format: Format, bytes: &[u8]) -> Artifact {
    let Digests { size, sha256, sha512, blake2b } = Digests::of(bytes);
    Artifact { name: name.into(), format, size, sha256, sha512, blake2b }
}

pub fn facts<'a>(plan: &'a Plan, files: &'a [Artifact], sources: &'a Sources) -> Facts<'a> {
    Facts { image_name: "image", plan, files, sources, site: Some("https://site.example") }
}
