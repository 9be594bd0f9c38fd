//! For `bench/update.py`: what fetching NEW with OLD at hand takes, without a network. Prints bytes of the control file, bytes fetched, requests.

use std::error::Error;
use std::fs::File;
use std::io::{BufReader, Write};
use std::os::unix::fs::FileExt;

use zsync::{Control, Found};

fn main() -> Result<(), Box<dyn Error>> {
    let [old, new] = std::env::args().skip(1).collect::<Vec<_>>().try_into().map_err(|_| "usage: update_bytes OLD NEW")?;
    let source = File::open(&new)?;
    let control = Control::of("new", source.metadata()?.len(), &mut BufReader::with_capacity(1 << 20, &source))?;
    let bytes = control.to_bytes();
    let (mut seed, mut found) = (File::open(&old)?, Found::none(&control));
    zsync::find(&control, &mut found, 0, &mut seed)?;
    let target = File::create(format!("{new}.assembled"))?;
    let mut fetch = |part: std::ops::Range<u64>, out: &mut dyn Write| {
        let mut buffer = vec![0; (part.end - part.start) as usize];
        source.read_exact_at(&mut buffer, part.start)?;
        out.write_all(&buffer)
    };
    let outcome = zsync::assemble(&control, &found, &[seed], &target, &mut fetch)?;
    println!("{} {} {}", bytes.len(), outcome.fetched, outcome.requests);
    Ok(())
}
