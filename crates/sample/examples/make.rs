//! Makes the sample channel in a folder: `cargo run -p sample --example make -- DIR RECIPES ARCH`
//! (by default `var/sample`, the built-in recipes and amd64).

use std::path::{Path, PathBuf};

fn main() -> Result<(), sample::SampleError> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let dir = std::env::args_os().nth(1).map_or_else(|| sample::default_dir(&workspace), PathBuf::from);
    let recipes = std::env::args_os().nth(2).map(PathBuf::from);
    let arch = std::env::args().nth(3).map_or(Some(sample::Arch::Amd64), |name| sample::Arch::named(&name));
    let arch = arch.unwrap_or_else(|| panic!("no such architecture"));
    let mut last = String::new();
    let channel =
        sample::make(&sample::Options { dir, arch, jobs: 0, recipes, given: Default::default() }, &mut |what, done, total| {
            let line = format!("{what}: {}%", done * 100 / total.max(1));
            if line != last {
                eprintln!("{line}");
                last = line;
            }
        })?;
    println!("{} packages in {}", channel.packages, channel.binhost_dir.display());
    Ok(())
}
