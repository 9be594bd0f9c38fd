//! Every target on its kept corpus and on some thousands of changes of it, the same ones each time.

use fuzz_targets::corpus::{self, Mutator};
use fuzz_targets::{TARGETS, target};

fn replay(name: &str, changes: usize) {
    let target = target(name).unwrap();
    let inputs = corpus::inputs(target).unwrap();
    assert!(!inputs.is_empty());
    inputs.iter().for_each(|input| run(target.run, input));
    let mut mutator = Mutator::new(0x9e37_79b9_7f4a_7c15);
    for _ in 0..changes {
        run(target.run, &mutator.change(&inputs, target.words));
    }
}

/// Runs a target and says at which input it panicked.
fn run(target: fn(&[u8]), input: &[u8]) {
    struct Said<'a>(&'a [u8]);
    impl Drop for Said<'_> {
        fn drop(&mut self) {
            if std::thread::panicking() {
                println!("the input, as a line for the corpus:\n{}", corpus::escape(self.0));
            }
        }
    }
    let said = Said(input);
    target(said.0);
}

macro_rules! replays {
    ($($name:ident: $changes:expr,)*) => {
        $(#[test] fn $name() { replay(stringify!($name), $changes); })*

        #[test]
        fn every_target_is_replayed_and_has_a_fuzzer() {
            let replayed = [$(stringify!($name)),*];
            assert_eq!(TARGETS.map(|target| target.name), replayed);
            let manifest = include_str!("../../../fuzz/Cargo.toml");
            for name in replayed {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml has no binary {name}");
                let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fuzz/fuzz_targets/{name}.rs"));
                assert!(std::fs::read_to_string(source).unwrap().contains(&format!("fuzz_targets::run(\"{name}\"")));
            }
        }
    };
}

replays! {
    version: 20_000,
    atom: 20_000,
    dependency: 20_000,
    index: 20_000,
    path: 20_000,
    tree: 20_000,
    compression: 4_000,
    gpkg: 4_000,
    xpak: 8_000,
    merge: 400,
}

#[test]
fn escaped_lines_come_back() {
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(corpus::escape(b"#x"), "\\x23x");
    assert_eq!(corpus::unescape(&corpus::escape(&all)).as_deref(), Some(all.as_slice()));
    assert_eq!(corpus::unescape("\\q"), None);
}
