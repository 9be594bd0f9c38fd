//! Packages made for the recording of upgrades: what may happen to files, libraries and info pages when versions replace each other.

use crate::common::{Item, Pack, script, text};

/// Three versions of a package and a neighbour, with all that may happen to a file when they replace each other.
pub fn generations() -> Vec<Pack> {
    let phase = |name: &str| {
        format!(
            "pkg_{name} () \n{{ \n    echo \"{name} ${{PVR}} [${{REPLACING_VERSIONS}}] [${{REPLACED_BY_VERSION}}]\" >> \"${{ROOT}}/order\"\n}}\n"
        )
    };
    let phases: String = ["setup", "preinst", "postinst", "prerm", "postrm"].map(phase).concat();
    let common = |version: &str| {
        Pack::new(&format!("app-misc/up-{version}"))
            .item("etc/unchanged", text(version))
            .item("etc/changed", text(version))
            .item("etc/same", text("same"))
            .item("etc/deleted", text(version))
            .item("etc/env.d/50up", text(&format!("UP=\"{version}\"\n")))
            .item("usr/bin/tool", script(version))
            .item("usr/bin/twin", Item::Hard("usr/bin/tool"))
            .item("usr/share/up/always", text("always"))
            .phases(&phases)
            // Portage runs the phases of a package that goes only where its ebuild was recorded.
            .meta(&format!("up-{version}.ebuild"), "EAPI=8")
    };
    vec![
        common("1")
            .item("etc/dropped", text("1"))
            .item("etc/dropped-changed", text("1"))
            .item("etc/becomes-link", text("1"))
            .item("usr/bin/old", Item::File(0o4711, b"1".to_vec()))
            .item("usr/share/up/old/deep/file", text("1"))
            .item("usr/share/up/empty", Item::Dir(0o700))
            .item("usr/share/linked", Item::Link("up".into()))
            .item("usr/share/dangling", Item::Link("nowhere".into()))
            .item("usr/share/info/up.info", info_page("Up", "1"))
            .item("var/lib/up/.keep_up", text(""))
            .item("lib/modules/5/m.ko", text("1")),
        common("2").item("etc/becomes-link", Item::Link("unchanged".into())).item("usr/share/up/new", text("2")),
        common("3").item("usr/share/up/old", text("a file now")),
        Pack::new("app-misc/other-1")
            .item("usr/share/up/neighbour", text("n"))
            .item("etc/same", text("same"))
            .phases("pkg_postinst () \n{ \n    :\n}\n"),
    ]
}

/// A page of info(1) that install-info lists in the folder's `dir`.
fn info_page(name: &str, version: &str) -> Item {
    let entry = format!(
        "INFO-DIR-SECTION Miscellaneous\nSTART-INFO-DIR-ENTRY\n* {name}: ({}).  Of version {version}.\nEND-INFO-DIR-ENTRY\n",
        name.to_lowercase()
    );
    text(&format!(
        "This is {0}.info.\n\n{entry}\n\u{1f}\nFile: {0}.info,  Node: Top,  Up: (dir)\n\n{name}\n",
        name.to_lowercase()
    ))
}

/// Libraries whose soname changes under their users: of the one, a user is left behind; of the other, none. Their info pages are listed in
/// a `dir`, which an older one of a package that has left stays out of.
pub fn libraries() -> Vec<Pack> {
    let library = |name: &str, version: u32| {
        let soname = format!("lib{name}.so.{version}");
        let path = format!("usr/lib64/{soname}.0");
        Pack::new(&format!("dev-libs/{name}-{version}"))
            .item(&path, Item::File(0o755, shared_object(&soname, &["libc.so.6"])))
            .item(&format!("usr/lib64/{soname}"), Item::Link(format!("{soname}.0")))
            .item(&format!("usr/lib64/lib{name}.so"), Item::Link(soname.clone()))
            .item(&format!("etc/env.d/51{name}"), text("LDPATH=\"/usr/lib64\"\nINFOPATH=\"/usr/share/info\"\n"))
            .item(&format!("usr/share/info/{name}.info"), info_page(&name.to_uppercase(), &version.to_string()))
            .phases(":\n")
            .meta("NEEDED.ELF.2", &format!("X86_64;/{path};{soname};;libc.so.6;x86_64"))
            .meta("PROVIDES", &format!("x86_64: {soname}"))
    };
    let user = |name: &str, version: u32, needed: &str| {
        Pack::new(&format!("app-misc/{name}-{version}"))
            .item(&format!("usr/bin/{name}"), Item::File(0o755, shared_object("", &[needed])))
            .phases(":\n")
            .meta("NEEDED.ELF.2", &format!("X86_64;/usr/bin/{name};;;{needed};x86_64"))
            .meta("REQUIRES", &format!("x86_64: {needed}"))
    };
    vec![
        library("stays", 1),
        library("goes", 1),
        user("left", 1, "libstays.so.1"),
        user("moved", 1, "libgoes.so.1"),
        library("stays", 2),
        library("goes", 2),
        user("moved", 2, "libgoes.so.2"),
    ]
}

/// An ELF file for amd64 that says its soname and what it needs, and nothing else; the same bytes everywhere.
pub fn shared_object(soname: &str, needed: &[&str]) -> Vec<u8> {
    const HEADER: usize = 64;
    const SEGMENTS: usize = 2 * 56;
    const SECTION_NAMES: &[u8] = b"\0.dynstr\0.dynamic\0.shstrtab\0";
    let mut strings = vec![0u8];
    let mut dynamic: Vec<(u64, u64)> = Vec::new();
    let mut string = |text: &str| {
        let at = strings.len() as u64;
        strings.extend(text.bytes().chain([0]));
        at
    };
    // DT_NEEDED, DT_SONAME.
    dynamic.extend(needed.iter().map(|name| (1, string(name))));
    if !soname.is_empty() {
        dynamic.push((14, string(soname)));
    }
    let strings_at = HEADER + SEGMENTS;
    let dynamic_at = (strings_at + strings.len()).next_multiple_of(8);
    // DT_STRTAB, DT_STRSZ, DT_NULL.
    dynamic.extend([(5, strings_at as u64), (10, strings.len() as u64), (0, 0)]);
    let names_at = dynamic_at + dynamic.len() * 16;
    let sections_at = (names_at + SECTION_NAMES.len()).next_multiple_of(8);
    let size = sections_at + 4 * 64;
    let mut out = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |out: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|value| out.extend(value.to_le_bytes()));
    let word = |out: &mut Vec<u8>, values: &[u32]| values.iter().for_each(|value| out.extend(value.to_le_bytes()));
    let wide = |out: &mut Vec<u8>, values: &[usize]| values.iter().for_each(|value| out.extend((*value as u64).to_le_bytes()));
    // ET_DYN for x86-64.
    half(&mut out, &[3, 62]);
    word(&mut out, &[1]);
    wide(&mut out, &[0, HEADER, sections_at]);
    word(&mut out, &[0]);
    half(&mut out, &[64, 56, 2, 64, 4, 3]);
    for (kind, at, length) in [(1u32, 0, size), (2, dynamic_at, dynamic.len() * 16)] {
        word(&mut out, &[kind, 6]);
        wide(&mut out, &[at, at, at, length, length, 8]);
    }
    out.extend(&strings);
    out.resize(dynamic_at, 0);
    dynamic.iter().for_each(|(tag, value)| wide(&mut out, &[*tag as usize, *value as usize]));
    out.extend(SECTION_NAMES);
    out.resize(sections_at, 0);
    // SHT_NULL, SHT_STRTAB, SHT_DYNAMIC with the first as its strings, SHT_STRTAB.
    for (name, kind, flags, at, length, link, entry) in [
        (0u32, 0u32, 0usize, 0, 0, 0u32, 0),
        (1, 3, 2, strings_at, strings.len(), 0, 0),
        (9, 6, 3, dynamic_at, dynamic.len() * 16, 1, 16),
        (18, 3, 0, names_at, SECTION_NAMES.len(), 0, 0),
    ] {
        word(&mut out, &[name, kind]);
        wide(&mut out, &[flags, if flags == 0 { 0 } else { at }, at, length]);
        word(&mut out, &[link, 0]);
        wide(&mut out, &[1, entry]);
    }
    out
}
