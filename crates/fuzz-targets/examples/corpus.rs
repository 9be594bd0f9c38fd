//! Turns the kept corpus into files for libFuzzer (`fuzz/corpus/TARGET/`), and with `--line FILE…` what libFuzzer found into lines for
//! the kept corpus.

use std::path::Path;

use fuzz_targets::{TARGETS, corpus};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--line") {
        for file in arguments {
            println!("{}", corpus::escape(&std::fs::read(file)?));
        }
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for target in &TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder)?;
        for (number, input) in corpus::inputs(target)?.iter().enumerate() {
            std::fs::write(folder.join(format!("kept-{number:03}")), input)?;
        }
    }
    Ok(())
}
