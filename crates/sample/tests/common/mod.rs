//! The sample channel that the tests share: made once, in the workspace's `var/sample` or `$HATCHERY_SAMPLE_DIR`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use gentoo::dep::Tree;
use gentoo::index::{Entry, Packages};
use gentoo::useflags::UseDepKind;
use gentoo::{Atom, Dep};
use sample::{Arch, Options, SampleChannel};

pub struct Sample {
    #[allow(dead_code)]
    pub arch: Arch,
    pub channel: SampleChannel,
    pub index: Packages,
}

#[allow(dead_code)] // Not every test binary is about amd64 alone.
/// Amd64's channel, see [`sample_of`].
pub fn sample() -> Option<Sample> {
    sample_of(Arch::Amd64)
}

/// Makes the channel, or takes the one that is there. `None`, with a printed line, on a machine that is no Debian; x86's is taken only
/// where `scripts/test` made it, as Debian 13 has no kernel for it.
pub fn sample_of(arch: Arch) -> Option<Sample> {
    let mut options = Options { arch, ..options() };
    // Hatchery's program is for the machine that it runs on.
    if arch != Arch::Amd64 {
        options.given.clear();
    }
    if arch != Arch::Amd64 && !options.dir.join(arch.folder()).join("binhost/Packages").exists() {
        println!("skipped: there is no sample channel for {}: run `hatchery sample --arch {}`", arch.keyword(), arch.keyword());
        return None;
    }
    if Command::new("apt-cache").arg("--version").output().is_err() {
        println!("skipped: the sample channel needs Debian's apt");
        return None;
    }
    let channel = sample::make(&options, &mut |_, _, _| ()).unwrap();
    let index = std::fs::read(channel.binhost_dir.join("Packages")).unwrap();
    Some(Sample { arch, index: Packages::parse(&index).unwrap(), channel })
}

pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

pub fn options() -> Options {
    let dir = sample::default_dir(&workspace());
    // What `hatchery sample` gave, so that the tests leave the sample as they found it.
    let own = dir.join("own/hatchery");
    let given = own.exists().then(|| ("hatchery".to_owned(), own)).into_iter().collect();
    Options { dir, arch: Arch::Amd64, jobs: 0, recipes: None, given }
}

#[allow(dead_code)] // Not every test binary looks at dependencies.
impl Sample {
    /// The newest build that an atom accepts, its USE dependencies included.
    pub fn find(&self, atom: &Atom) -> Option<&Entry> {
        let fits = |entry: &&Entry| atom.matches(&entry.cpv, &entry.slot, &entry.subslot, &entry.repo) && use_fits(atom, entry);
        self.index.entries.iter().filter(fits).max_by_key(|entry| entry.build_time)
    }

    /// What is installed when `atoms` are: of alternatives the first that there is. A simple reading of the dependencies, which the
    /// tests of the resolver are not about.
    pub fn closure(&self, atoms: &[&str]) -> BTreeMap<String, &Entry> {
        let mut chosen = BTreeMap::new();
        let mut pending: Vec<Atom> = atoms.iter().map(|atom| Atom::parse(atom).unwrap()).collect();
        while let Some(atom) = pending.pop() {
            let entry = self.find(&atom).unwrap_or_else(|| panic!("nothing in the sample satisfies {atom}"));
            if chosen.insert(atom.cp(), entry).is_none() {
                for text in [&entry.rdepend, &entry.pdepend, &entry.idepend] {
                    self.add(&Dep::parse(text).unwrap(), &mut pending);
                }
            }
        }
        chosen
    }

    fn add(&self, dep: &Dep, pending: &mut Vec<Atom>) {
        match dep {
            Tree::Atom(atom) if atom.blocker.is_none() => pending.push(atom.clone()),
            Tree::Atom(_) => {}
            Tree::AnyOf(choices) => {
                let first = choices.iter().find(|choice| choice.atoms().iter().all(|atom| self.find(atom).is_some()));
                self.add(first.unwrap_or_else(|| panic!("no choice of {dep} is in the sample")), pending);
            }
            group => group.children().iter().for_each(|child| self.add(child, pending)),
        }
    }

    /// The packages of the profile's `@system`.
    pub fn system(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.channel.repo_dir.join("profiles/base/packages")).unwrap();
        text.lines().map(|line| line.trim_start_matches('*').to_owned()).collect()
    }
}

#[allow(dead_code)]
fn use_fits(atom: &Atom, entry: &Entry) -> bool {
    atom.use_deps.iter().all(|dep| {
        let on = entry.use_flags.contains(&dep.flag);
        match dep.kind {
            UseDepKind::Enabled => on,
            UseDepKind::Disabled => !on,
            _ => true,
        }
    })
}
