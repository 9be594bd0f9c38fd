//! Tar archives from a text: what a fuzzer invents would hardly ever have a right checksum, so it invents the fields instead.
//!
//! A record per member, parted by 0x1e, with fields parted by 0x1f: type flag, name, link, mode (octal; 644 when empty), content.
//! Missing fields are empty. A first byte `!` makes the rest the archive itself.

const RECORD: u8 = 0x1e;
const FIELD: u8 = 0x1f;

pub const WORDS: &[&str] = &[
    "\u{1e}",
    "\u{1f}",
    "\u{1e}0\u{1f}./f\u{1f}\u{1f}644\u{1f}x",
    "\u{1e}5\u{1f}./d\u{1f}\u{1f}755",
    "\u{1e}1\u{1f}./h\u{1f}./f",
    "\u{1e}2\u{1f}./l\u{1f}/etc",
    "\u{1e}2\u{1f}./etc\u{1f}..",
    "./l/passwd",
    "../",
    "/etc/shadow",
    "4755",
    "\u{1e}3\u{1f}./dev/sda",
    "\u{1e}L\u{1f}././@LongLink\u{1f}\u{1f}\u{1f}./long",
    "\u{1e}x\u{1f}./pax\u{1f}\u{1f}\u{1f}19 path=./../escape\n",
    "etc/env.d/99x",
    "\u{1e}S\u{1f}./s",
    "CONFIG_PROTECT=\"/\"\n",
    "usr/lib/sysusers.d/a.conf",
];

/// The archive a script describes.
pub fn archive(script: &[u8]) -> Vec<u8> {
    if let Some(raw) = script.strip_prefix(b"!") {
        return raw.to_vec();
    }
    let mut out = Vec::new();
    for record in script.split(|b| *b == RECORD).filter(|record| !record.is_empty()) {
        let mut fields = record.splitn(5, |b| *b == FIELD);
        let mut next = || fields.next().unwrap_or_default();
        let (kind, name, link) = (*next().first().unwrap_or(&b'0'), next(), next());
        let mode = Some(next()).filter(|mode| !mode.is_empty()).unwrap_or(b"644");
        member(&mut out, &Member { kind, name, link, mode, content: next() });
    }
    out.resize(out.len() + 1024, 0);
    out
}

struct Member<'a> {
    kind: u8,
    name: &'a [u8],
    link: &'a [u8],
    mode: &'a [u8],
    content: &'a [u8],
}

fn member(out: &mut Vec<u8>, member: &Member<'_>) {
    let mut header = [0_u8; 512];
    put(&mut header[..100], member.name);
    put(&mut header[100..107], member.mode);
    put(&mut header[108..115], b"0000000");
    put(&mut header[116..123], b"0000000");
    put(&mut header[124..135], format!("{:011o}", member.content.len()).as_bytes());
    put(&mut header[136..147], b"00000000001");
    header[156] = member.kind;
    put(&mut header[157..257], member.link);
    header[257..265].copy_from_slice(b"ustar  \0");
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&header);
    out.extend_from_slice(member.content);
    out.resize(out.len().next_multiple_of(512), 0);
}

fn put(field: &mut [u8], bytes: &[u8]) {
    let count = bytes.len().min(field.len());
    field[..count].copy_from_slice(&bytes[..count]);
}
