//! What the fuzzers feed. Each target is a plain function from bytes that panics when something is wrong, so that the same code runs
//! under libFuzzer (`cargo fuzz run NAME`, see `fuzz/`) and in an ordinary test over the kept corpus (`tests/corpus.rs`).
//!
//! A target asserts more than "no panic": what is read and printed is read again as an equal thing, orders are total, and what a
//! container yields keeps the promises that the code after it relies on.

pub mod containers;
pub mod corpus;
pub mod merge;
mod names;
mod paths;
pub mod tar_script;

/// A target with its name, which is also the name of its corpus and of its binary in `fuzz/`.
pub struct Target {
    pub name: &'static str,
    /// Panics when an invariant is broken.
    pub run: fn(&[u8]),
    /// Inputs that are made rather than kept, because they would be binaries in the repository.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces that mean something to the parser, for mutation.
    pub words: &'static [&'static str],
}

const NO_SEEDS: fn() -> Vec<Vec<u8>> = Vec::new;

/// All targets.
pub const TARGETS: [Target; 10] = [
    Target { name: "version", run: names::version, seeds: NO_SEEDS, words: names::VERSION_WORDS },
    Target { name: "atom", run: names::atom, seeds: NO_SEEDS, words: names::ATOM_WORDS },
    Target { name: "dependency", run: names::dependency, seeds: NO_SEEDS, words: names::DEPENDENCY_WORDS },
    Target { name: "index", run: names::index, seeds: NO_SEEDS, words: names::INDEX_WORDS },
    Target { name: "path", run: paths::path, seeds: NO_SEEDS, words: paths::WORDS },
    Target { name: "tree", run: paths::tree, seeds: NO_SEEDS, words: paths::WORDS },
    Target { name: "compression", run: containers::compression, seeds: containers::compression_seeds, words: &[] },
    Target {
        name: "gpkg",
        run: containers::gpkg,
        seeds: containers::gpkg_seeds,
        words: &["image.tar", "metadata", ".sig", "DATA "],
    },
    Target { name: "xpak", run: containers::xpak, seeds: containers::xpak_seeds, words: &["XPAKPACK", "XPAKSTOP", "STOP"] },
    Target { name: "merge", run: merge::merge, seeds: NO_SEEDS, words: tar_script::WORDS },
];

/// The target of a name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}

/// Runs a target by its name; for the fuzzers.
///
/// # Panics
/// When there is none of that name, or an invariant is broken.
pub fn run(name: &str, data: &[u8]) {
    let target = target(name).unwrap_or_else(|| panic!("there is no target {name}"));
    (target.run)(data);
}
