use std::io::{Read, Write};
use std::process::{Command, Stdio};

use super::{BLOCK, compress};

/// Bytes that look random and are always the same.
fn noise(count: usize) -> impl Iterator<Item = u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    (0..count).map(move |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    })
}

fn repeated(pattern: &[u8], length: usize) -> Vec<u8> {
    pattern.iter().copied().cycle().take(length).collect()
}

/// Bytes that sorting, runs, tables or the ends of blocks could go wrong with.
fn hostile() -> Vec<Vec<u8>> {
    let mut all = vec![vec![], vec![0], vec![255], b"ab".to_vec(), b"ba".to_vec(), b"banana".to_vec(), b"abcabcabd".to_vec()];
    all.extend([1, 2, 3, 4, 5, 258, 259, 260, 263, 264, 518, 519, 4096].map(|length| vec![b'a'; length]));
    // A run's count that is the byte of the run, or the next one.
    all.extend([b'a'; 3].iter().zip([97, 98, 4]).map(|(byte, more)| [vec![*byte; 4 + more], vec![more as u8; 5]].concat()));
    all.push((0..1000).flat_map(|length| repeated(&[(length % 7) as u8], length % 270)).collect());
    all.extend([2, 3, 4, 7, 8, 9, 50, 255, 256, 1000].map(|period| repeated(&noise(period).collect::<Vec<u8>>(), 20_000)));
    all.push(repeated(b"aaab", 3 * 4 * 5));
    // Fibonacci's word, which sorts that compare find hard.
    let (mut shorter, mut word) = (b"b".to_vec(), b"a".to_vec());
    while word.len() < 40_000 {
        (shorter, word) = (word.clone(), [word, shorter].concat());
    }
    all.push(word);
    // Every count of symbols where the number of tables changes, and groups that are not full.
    all.extend([49, 50, 51, 198, 199, 200, 599, 1199, 2399].map(|length| noise(length).collect()));
    all.push((0..=255).collect());
    all.push(noise(30_000).map(|byte| if byte < 250 { 0 } else { byte }).collect());
    // Codes that would be longer than the format allows: each byte twice as often as the next.
    all.push((0..20u8).rev().flat_map(|byte| [0, 100].iter().cycle().take(1 << byte).map(move |other| byte ^ other)).collect());
    // Blocks that end in the middle of what is plain, of a run, and just there.
    all.extend([BLOCK, BLOCK + 1].map(|length| noise(length).map(|byte| byte | 1).collect()));
    for plain in [BLOCK - 5, BLOCK - 4, BLOCK - 1] {
        let plain: Vec<u8> = (0..plain).map(|at| if at % 2 == 0 { b'x' } else { (at / 2 % 50) as u8 }).collect();
        all.push([plain, vec![b'z'; 300]].concat());
    }
    all.push(repeated(b"aaaabbbb", BLOCK));
    all
}

#[test]
fn what_is_hard_comes_back() {
    for raw in hostile() {
        let mut back = Vec::new();
        bzip2::read::BzDecoder::new(compress(&raw).unwrap().as_slice()).read_to_end(&mut back).unwrap();
        assert!(back == raw, "{} bytes that begin with {:?}", raw.len(), &raw[..raw.len().min(20)]);
    }
}

/// All at once, as joined streams; what reads one block wrongly says so, by the checksums.
#[test]
fn other_programs_read_it() {
    let all = hostile();
    let streams: Vec<u8> = all.iter().flat_map(|raw| compress(raw).unwrap()).collect();
    let raw = all.concat();
    for words in [
        ["bzip2", "-d", "-c"].as_slice(),
        &["lbzip2", "-d", "-c"],
        &["pbzip2", "-d", "-c"],
        &["python3", "-c", "import bz2, sys; sys.stdout.buffer.write(bz2.decompress(sys.stdin.buffer.read()))"],
    ] {
        let mut command = Command::new(words[0]);
        let Ok(mut child) = command.args(&words[1..]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn() else {
            println!("skipped: {} is not installed", words[0]);
            continue;
        };
        let input = child.stdin.take().unwrap();
        let output = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut input = input;
                input.write_all(&streams)
            });
            child.wait_with_output().unwrap()
        });
        assert!(output.status.success() && output.stdout == raw, "{}", words[0]);
    }
}

/// The transform and the tables are libbz2's, so that the size is as well, to a few bytes.
#[test]
fn it_is_as_small_as_libbz2s() {
    let text = include_bytes!("../store.rs").repeat(3);
    let program = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    for raw in [text.as_slice(), &program[..program.len().min(2_000_000)]] {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(raw).unwrap();
        let (ours, theirs) = (compress(raw).unwrap().len(), encoder.finish().unwrap().len());
        assert!(ours * 1000 <= theirs * 1003, "{ours} bytes, and {theirs} by libbz2");
    }
}
