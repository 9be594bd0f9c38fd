//! The same questions to us and to the real Portage. Skipped, with a line that says so, where there is no Portage: set
//! HATCHERY_PORTAGE_PYTHON to a Python that has it (`pip install portage`).

mod common;

use std::collections::{BTreeSet, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Dice, INDEXES, md5_cache, real_data};
use gentoo::index::{Entry, Packages};
use gentoo::profile::Profile;
use gentoo::required_use::RequiredUse;
use gentoo::useflags::{BuiltUse, ImplicitIuse};
use gentoo::version::Version;
use gentoo::{Atom, Cpv, Dep, Eapi};

fn portage_python() -> Option<PathBuf> {
    let default = || Some(Path::new(&std::env::var_os("HOME")?).join(".cache/hatchery-oracle/venv/bin/python"));
    let python = std::env::var_os("HATCHERY_PORTAGE_PYTHON").map(PathBuf::from).or_else(default)?;
    if python.exists() {
        return Some(python);
    }
    println!("skipped: no Portage at {}; set HATCHERY_PORTAGE_PYTHON to a Python that has it", python.display());
    None
}

/// Portage's answers, one for each question.
fn ask(questions: Vec<String>) -> Option<Vec<String>> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/oracle.py");
    let mut command = Command::new(portage_python()?);
    command.arg(script).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let count = questions.len();
    let writer = std::thread::spawn(move || input.write_all((questions.join("\n") + "\n").as_bytes()));
    let answers: Vec<String> = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap).collect();
    writer.join().unwrap().unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(answers.len(), count);
    Some(answers)
}

/// Compares all answers and lists the first differences.
fn compare(questions: Vec<(String, String)>) {
    let count = questions.len();
    let Some(answers) = ask(questions.iter().map(|(question, _)| question.clone()).collect()) else { return };
    let different: Vec<String> = questions
        .iter()
        .zip(&answers)
        .filter(|((_, ours), portage)| ours != *portage)
        .map(|((question, ours), portage)| format!("{question}\n   ours: {ours}\n   Portage: {portage}"))
        .collect();
    let shown = different.iter().take(20).cloned().collect::<Vec<_>>().join("\n");
    assert!(different.is_empty(), "{} of {count} answers differ:\n{shown}", different.len());
    println!("{count} answers equal Portage's");
}

fn number(truth: bool) -> String {
    u8::from(truth).to_string()
}

fn any_version(dice: &mut Dice) -> String {
    const NUMBERS: [&str; 16] = [
        "0",
        "00",
        "1",
        "01",
        "001",
        "010",
        "2",
        "9",
        "09",
        "10",
        "100",
        "19",
        "20230101",
        "007",
        "123456789012345678901234567890",
        "1234567890123456789012345678900",
    ];
    let mut text = dice.pick(&NUMBERS).to_owned();
    for _ in 0..dice.roll(4) {
        text = format!("{text}.{}", dice.pick(&NUMBERS));
    }
    if dice.roll(4) == 0 {
        text.push_str(dice.pick(&["a", "b", "z"]));
    }
    for _ in 0..[0, 0, 1, 2, 3][dice.roll(5)] {
        text = format!(
            "{text}_{}{}",
            dice.pick(&["alpha", "beta", "pre", "rc", "p"]),
            dice.pick(&["", "0", "1", "01", "10", "20230101"])
        );
    }
    match dice.roll(3) {
        0 => format!("{text}-r{}", dice.pick(&["0", "1", "01", "2", "10"])),
        _ => text,
    }
}

/// A version near another: a few characters changed, as long as it stays one.
fn near(version: &str, dice: &mut Dice) -> String {
    let mut text: Vec<char> = version.chars().collect();
    let at = dice.roll(text.len());
    match dice.roll(3) {
        0 => text[at] = dice.pick(&['0', '1', '2', '.', '_', 'a']),
        1 => text.insert(at, dice.pick(&['0', '1', '.', 'b'])),
        _ => {
            text.remove(at);
        }
    }
    let text: String = text.into_iter().collect();
    if Version::parse(&text).is_ok() { text } else { version.to_owned() }
}

fn real_entries() -> Vec<Entry> {
    let Some(real) = real_data() else { return Vec::new() };
    INDEXES.iter().flat_map(|name| Packages::parse(&std::fs::read(real.join(name)).unwrap()).unwrap().entries).collect()
}

#[test]
fn versions_compare_as_in_portage() {
    let mut dice = Dice(1);
    let mut pairs: Vec<(String, String)> = Vec::new();
    for _ in 0..60_000 {
        let version = any_version(&mut dice);
        let other = if dice.roll(2) == 0 { near(&version, &mut dice) } else { any_version(&mut dice) };
        pairs.push((version, other));
    }
    let mut real: Vec<String> = real_entries().iter().map(|e| e.cpv.version.to_string()).collect();
    real.extend(md5_cache().into_iter().flatten().map(|(cpv, _)| Cpv::parse(&cpv).unwrap().version.to_string()));
    for _ in 0..if real.is_empty() { 0 } else { 60_000 } {
        let version = dice.pick(&real);
        let other = if dice.roll(3) == 0 { near(&version, &mut dice) } else { dice.pick(&real) };
        pairs.push((version, other));
    }
    let questions = pairs.into_iter().map(|(a, b)| {
        let ours = Version::parse(&a).unwrap().cmp(&Version::parse(&b).unwrap()) as i8;
        (format!("compare\t{a}\t{b}"), ours.to_string())
    });
    compare(questions.collect());
}

#[test]
fn atoms_match_as_in_portage() {
    let mut dice = Dice(2);
    let entries = real_entries();
    let mut by_name: HashMap<String, Vec<&Entry>> = HashMap::new();
    entries.iter().for_each(|entry| by_name.entry(entry.cpv.cp()).or_default().push(entry));
    let mut atoms: BTreeSet<String> = BTreeSet::new();
    for entry in &entries {
        let dep = Dep::parse(&entry.rdepend).unwrap();
        atoms.extend(dep.atoms().into_iter().map(|atom| atom.without_use().to_string()));
    }
    let mut questions = Vec::new();
    let mut add = |atom: &str, cpv: &Cpv, slot: &str, subslot: &str, repo: &str| {
        let ours = Atom::parse(atom).unwrap().matches(cpv, slot, subslot, repo);
        questions.push((format!("match\t{atom}\t{cpv}\t{slot}/{subslot}\t{repo}"), number(ours)));
    };
    for atom in &atoms {
        let parsed = Atom::parse(atom).unwrap();
        for entry in by_name.get(&parsed.cp()).into_iter().flatten() {
            add(atom, &entry.cpv, &entry.slot, &entry.subslot, "gentoo");
        }
        if let Some((_, version)) = &parsed.version {
            for _ in 0..4 {
                let cpv = Cpv::parse(&format!("{}-{}", parsed.cp(), near(version.as_str(), &mut dice))).unwrap();
                add(atom, &cpv, parsed.slot.as_deref().unwrap_or("0"), parsed.subslot.as_deref().unwrap_or("0"), "gentoo");
            }
        }
    }
    for _ in 0..20_000 {
        let version = any_version(&mut dice);
        let other = near(&version, &mut dice);
        let operator = dice.pick(&["<", "<=", "=", "~", ">=", ">", "=*"]);
        let base = version.split("-r").next().unwrap_or_default().to_owned();
        let (sign, shown, star) = match operator {
            "=*" => ("=", &version, "*"),
            "~" => ("~", &base, ""),
            sign => (sign, &version, ""),
        };
        let slot = dice.pick(&["", ":0", ":1", ":0/2", ":0/2=", ":=", ":*"]);
        let repo = dice.pick(&["", "", "::gentoo", "::other"]);
        let atom = format!("{sign}cat/pkg-{shown}{star}{slot}{repo}");
        add(&atom, &Cpv::parse(&format!("cat/pkg-{other}")).unwrap(), "0", dice.pick(&["0", "2"]), "gentoo");
    }
    compare(questions);
}

#[test]
fn atoms_are_valid_where_portage_says_so() {
    let mut dice = Dice(3);
    let mut atoms: Vec<String> = real_entries()
        .iter()
        .flat_map(|e| Dep::parse(&e.rdepend).unwrap().atoms().into_iter().map(Atom::to_string).collect::<Vec<_>>())
        .collect();
    atoms
        .extend(["a/b", "=a/b-1*", "~a/b-1", "!!>=a/b-1.2_rc3-r4:0/1=::gentoo[x,-y(+),z?,!w=]", "<a/b-c-1:*"].map(str::to_owned));
    atoms.sort();
    atoms.dedup();
    let odd: Vec<char> = "!<>=~*:/[]()?+-,._@ab01r ".chars().collect();
    let questions = (0..15_000).map(|_| {
        let mut text: Vec<char> = dice.pick(&atoms).chars().collect();
        for _ in 0..=dice.roll(2) {
            let at = dice.roll(text.len());
            match dice.roll(3) {
                0 => text[at] = dice.pick(&odd),
                1 => text.insert(at, dice.pick(&odd)),
                _ if text.len() > 1 => {
                    text.remove(at);
                }
                _ => {}
            }
        }
        let text: String = text.into_iter().collect();
        (format!("valid\t{text}"), number(Atom::parse(&text).is_ok()))
    });
    compare(questions.collect());
}

fn some_flags(dice: &mut Dice, from: &[&str]) -> Vec<String> {
    from.iter().filter(|_| dice.roll(2) == 0).map(|flag| (*flag).to_owned()).collect()
}

#[test]
fn use_dependencies_hold_as_in_portage() {
    const FLAGS: [&str; 3] = ["x", "y", "z"];
    let mut dice = Dice(4);
    let mut questions = Vec::new();
    for _ in 0..20_000 {
        let (iuse, parent) = (some_flags(&mut dice, &FLAGS), some_flags(&mut dice, &FLAGS));
        let enabled: Vec<String> = iuse.iter().filter(|_| dice.roll(2) == 0).cloned().collect();
        let deps: Vec<String> = some_flags(&mut dice, &FLAGS)
            .iter()
            .map(|flag| {
                let default = dice.pick(&["", "(+)", "(-)"]);
                let (sign, ending) = dice.pick(&[("", ""), ("-", ""), ("", "?"), ("!", "?"), ("", "="), ("!", "=")]);
                format!("{sign}{flag}{default}{ending}")
            })
            .collect();
        if deps.is_empty() {
            continue;
        }
        let text = format!("cat/pkg[{}]", deps.join(","));
        let atom = Atom::parse(&text).unwrap();
        let implicit = ImplicitIuse::default();
        let (own, on): (gentoo::Words, gentoo::Words) = (iuse.iter().collect(), enabled.iter().collect());
        let built = BuiltUse { eapi: "8", iuse: &own, enabled: &on, implicit: &implicit };
        let ours = atom.use_deps.iter().all(|dep| dep.satisfied_by(&built, &|flag| parent.iter().any(|f| f == flag)));
        questions.push((format!("use\t{text}\t{}\t{}\t{}", enabled.join(" "), iuse.join(" "), parent.join(" ")), number(ours)));
    }
    compare(questions);
}

/// A random expression; `leaf` makes the leaves.
fn any_tree(dice: &mut Dice, depth: usize, groups: &[&str], leaf: &dyn Fn(&mut Dice) -> String) -> String {
    let mut words = Vec::new();
    for _ in 0..=dice.roll(3) {
        if depth == 0 || dice.roll(2) == 0 {
            words.push(leaf(dice));
            continue;
        }
        let group = dice.pick(groups);
        words.push(format!("{group} ( {} )", any_tree(dice, depth - 1, groups, leaf)).trim().to_owned());
    }
    words.join(" ")
}

#[test]
fn required_use_holds_as_in_portage() {
    let mut dice = Dice(5);
    let leaf = |dice: &mut Dice| dice.pick(&["a", "b", "c", "!a", "!b"]).to_owned();
    let questions = (0..5_000).map(|_| {
        let text = any_tree(&mut dice, 3, &["", "||", "^^", "??", "a?", "!b?", "c?"], &leaf);
        let eapi = dice.pick(&["5", "6", "7", "8"]);
        let enabled = some_flags(&mut dice, &["a", "b", "c"]);
        let required = RequiredUse::parse(&text).unwrap();
        assert_eq!(required.to_string(), text);
        let ours = required.is_satisfied(Eapi::parse(eapi).unwrap(), &|flag| enabled.iter().any(|f| f == flag));
        (format!("required\t{text}\t{}\t{eapi}", enabled.join(" ")), number(ours))
    });
    compare(questions.collect());
}

/// Whether a set of installed names satisfies a dependency string without conditionals.
fn holds(dep: &Dep, installed: &[&str]) -> bool {
    match dep {
        Dep::Atom(atom) => installed.contains(&atom.to_string().as_str()),
        Dep::All(deps) => deps.iter().all(|dep| holds(dep, installed)),
        Dep::AnyOf(deps) => deps.iter().any(|dep| holds(dep, installed)),
        other => panic!("unexpected {other}"),
    }
}

#[test]
fn conditionals_resolve_to_what_portage_means() {
    const ATOMS: [&str; 4] = ["p/a", "p/b", "p/c", "p/d"];
    let mut dice = Dice(7);
    let cases: Vec<(String, Vec<String>)> = (0..2_500)
        .map(|_| {
            let leaf = |dice: &mut Dice| dice.pick(&ATOMS).to_owned();
            (any_tree(&mut dice, 4, &["", "||", "||", "a?", "!b?", "c?"], &leaf), some_flags(&mut dice, &["a", "b", "c"]))
        })
        .collect();
    let Some(answers) = ask(cases.iter().map(|(text, flags)| format!("reduce\t{text}\t{}", flags.join(" "))).collect()) else {
        return;
    };
    for ((text, flags), answer) in cases.iter().zip(&answers) {
        let ours = Dep::parse(text).unwrap().evaluate(&|flag| flags.iter().any(|f| f == flag));
        let portage = Dep::parse(answer).unwrap();
        for choice in 0..1 << ATOMS.len() {
            let installed: Vec<&str> =
                ATOMS.iter().enumerate().filter(|(i, _)| choice >> i & 1 == 1).map(|(_, atom)| *atom).collect();
            let same = holds(&ours, &installed) == holds(&portage, &installed);
            assert!(same, "{text} with {flags:?}, installed {installed:?}\n   ours: {ours}\n   Portage: {portage}");
        }
    }
}

#[test]
fn licences_are_refused_as_by_portage() {
    let Some(home) = std::env::var_os("HOME") else { return };
    let repo = Path::new(&home).join(".cache/hatchery-oracle/repos/gentoo-202608");
    let Some(cache) = md5_cache() else { return };
    if !repo.is_dir() {
        println!("skipped: {} is not there", repo.display());
        return;
    }
    let path = "default/linux/amd64/23.0";
    let profile = Profile::load(&repo.join("profiles").join(path), &repo).unwrap();
    let mut questions = vec![(format!("profile\t{}\t{path}", repo.display()), describe(&profile))];
    for fields in cache.values() {
        let Some(text) = fields.get("LICENSE") else { continue };
        for flags in ["", "redistributable", "bindist doc gmp"] {
            let enabled = |flag: &str| flags.split(' ').any(|f| f == flag);
            let ours = profile.accept_license.unaccepted(&gentoo::license::License::parse(text).unwrap(), &enabled);
            questions.push((format!("license\t{text}\t{flags}"), ours.join(" ")));
        }
    }
    assert!(questions.iter().any(|(question, ours)| question.starts_with("license") && !ours.is_empty()));
    compare(questions);
}

#[test]
fn profiles_say_what_they_say_to_portage() {
    let Some(home) = std::env::var_os("HOME") else { return };
    let repo = Path::new(&home).join(".cache/hatchery-oracle/repos/gentoo-202608");
    let Some(cache) = md5_cache() else { return };
    if !repo.is_dir() {
        println!("skipped: {} is not there", repo.display());
        return;
    }
    let profiles = [
        "default/linux/amd64/23.0",
        "default/linux/amd64/23.0/desktop/gnome/systemd",
        "default/linux/amd64/23.0/hardened/selinux",
        "default/linux/amd64/23.0/musl/llvm",
        "default/linux/x86/23.0/i686",
        "default/linux/arm64/23.0/desktop/plasma",
        "default/linux/riscv/23.0/rv64/lp64d/systemd",
        "default/linux/mips/23.0/mipsel/o32",
    ];
    let mut dice = Dice(6);
    let mut questions = Vec::new();
    for path in profiles {
        let profile = Profile::load(&repo.join("profiles").join(path), &repo).unwrap_or_else(|e| panic!("{path}: {e}"));
        questions.push((format!("profile\t{}\t{path}", repo.display()), describe(&profile)));
        let all: Vec<_> = cache.iter().collect();
        for _ in 0..150 {
            let (cpv, fields) = dice.pick(&all);
            let get = |key: &str| fields.get(key).cloned().unwrap_or_default();
            let mut entry = Entry::new(Cpv::parse(cpv).unwrap());
            for key in ["EAPI", "SLOT", "KEYWORDS", "IUSE"] {
                entry.set(key, &get(key)).unwrap();
            }
            entry.repo = "gentoo".into();
            let question = ["package", cpv, &get("SLOT"), &get("EAPI"), &get("KEYWORDS"), &get("IUSE")].join("\t");
            questions.push((question, describe_package(&profile, &entry)));
        }
    }
    compare(questions);
}

/// A tree with a case for each rule that real profiles seldom need.
const SPECIAL: [(&str, &str); 24] = [
    ("metadata/layout.conf", "masters =\nprofile-formats = portage-2\n"),
    ("profiles/repo_name", "gentoo\n"),
    ("profiles/eapi", "6\n"),
    ("profiles/arch.list", "amd64\narm64\n"),
    ("profiles/package.mask", "# Not fit\n# for anyone\ncat/pkg:1\n\n>=cat/pkg-3\n"),
    ("profiles/package.unmask", "=cat/pkg-3.1*\n"),
    ("profiles/use.mask", "r1\n"),
    ("profiles/package.use.force", "cat/pkg r2\n"),
    ("profiles/base/eapi", "6\n"),
    (
        "profiles/base/make.defaults",
        "ARCH=amd64\nACCEPT_KEYWORDS=\"${ARCH}\"\nUSE_EXPAND=\"PYTHON_TARGETS ELIBC\"\nUSE_EXPAND_HIDDEN='ELIBC'\nIUSE_IMPLICIT=prefix\n\
         USE_EXPAND_IMPLICIT=\"ELIBC\"\nUSE_EXPAND_VALUES_ELIBC=\"glibc \\\n musl\" # tail\nUSE_EXPAND_UNPREFIXED=ARCH\nELIBC=glibc\n\
         PYTHON_TARGETS='p1 p2'\nUSE='a b c'\n",
    ),
    (
        "profiles/base/package.use",
        "cat/pkg x -y\n>=cat/pkg-1 z -x\n>=cat/pkg-1.2 -z\n<cat/pkg-2 y\n=cat/pkg-1* -y q\n=cat/pkg-1.5 z -q\n~cat/pkg-1.5 q w\ncat/pkg:0 w x\n\
         >=cat/pkg-0.5:0 -w\n",
    ),
    ("profiles/base/use.mask", "m1\nm2\n"),
    ("profiles/base/use.force", "f1\n"),
    ("profiles/base/use.stable.mask", "s1\n"),
    ("profiles/base/package.use.stable.force", "cat/pkg s2\n<cat/pkg-1 -s2 s3\n"),
    ("profiles/base/package.use.mask", "=cat/pkg-2* a\ncat/pkg c\n"),
    ("profiles/base/packages", "*sys/one\n*sys/two\nsys/three\n"),
    ("profiles/base/package.provided", "cat/provided-1\ncat/provided-2\n"),
    ("profiles/base/package.mask", "# Base\n<cat/pkg-1\n=cat/pkg-2\n"),
    ("profiles/child/eapi", "6\n"),
    ("profiles/child/parent", "gentoo:base\n"),
    ("profiles/child/make.defaults", "USE=\"-b d ${USE} -c\"\nPYTHON_TARGETS=\"-p1 p3\"\nUSE_EXPAND_HIDDEN=\"-ELIBC\"\n"),
    ("profiles/child/use.mask", "-m1\n"),
    ("profiles/child/package.mask", "-<cat/pkg-1\n->=cat/pkg-3\n"),
];

#[test]
fn a_profile_full_of_special_cases_says_what_it_says_to_portage() {
    let folder = tempfile::tempdir().unwrap();
    let more = [
        ("profiles/child/use.force", "-f1\nf2\n"),
        ("profiles/child/packages", "-*sys/two\n*sys/four\n"),
        ("profiles/child/package.provided", "-cat/provided-2\n"),
        ("profiles/child/package.use", "=cat/pkg-1.5 -z\ncat/pkg z\n"),
        ("profiles/child/package.use.mask/one", "cat/pkg -c\n"),
        ("profiles/child/package.use.mask/two", "<cat/pkg-1.5 z\n"),
        ("profiles/child/package.accept_keywords", "=cat/pkg-1.5* ~amd64\n=cat/pkg-2.5\n=cat/pkg-3.1 **\n"),
    ];
    for (path, text) in SPECIAL.iter().chain(&more) {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let profile = Profile::load(&folder.path().join("profiles/child"), folder.path()).unwrap();
    let mut questions = vec![(format!("profile\t{}\tchild", folder.path().display()), describe(&profile))];
    for version in ["0.4", "0.9", "1", "1.1", "1.3", "1.5", "1.5-r1", "2", "2.5", "3", "3.1", "4"] {
        for (slot, eapi, keywords) in [("0", "8", "amd64"), ("1", "8", "~amd64 arm64"), ("0", "4", "~amd64"), ("0/3", "5", "")] {
            let iuse =
                "a b c d x y +z q -w +u s1 s2 s3 +m1 +m2 f1 f2 r1 r2 python_targets_p1 python_targets_p2 python_targets_p3";
            let mut entry = Entry::new(Cpv::parse(&format!("cat/pkg-{version}")).unwrap());
            for (key, value) in [("EAPI", eapi), ("SLOT", slot), ("KEYWORDS", keywords), ("IUSE", iuse), ("REPO", "gentoo")] {
                entry.set(key, value).unwrap();
            }
            questions.push((
                format!("package\tcat/pkg-{version}\t{slot}\t{eapi}\t{keywords}\t{iuse}"),
                describe_package(&profile, &entry),
            ));
        }
    }
    let masked = gentoo::PackageRef { cpv: &Cpv::parse("cat/pkg-1").unwrap(), slot: "1", subslot: "1", repo: "gentoo" };
    assert_eq!(profile.masks.find(masked).unwrap().reason, "Not fit\nfor anyone");
    compare(questions);
}

fn line<T: AsRef<str>>(words: impl IntoIterator<Item = T>) -> String {
    let mut words: Vec<String> = words.into_iter().map(|w| w.as_ref().to_owned()).collect();
    words.sort();
    words.join(" ")
}

fn describe(profile: &Profile) -> String {
    let split = |name: &str| {
        profile.variables.get(name).map(String::as_str).unwrap_or_default().split_ascii_whitespace().map(str::to_owned)
    };
    let implicit: BTreeSet<String> = split("USE_EXPAND_IMPLICIT").collect();
    let mut effective: BTreeSet<String> = split("IUSE_IMPLICIT").collect();
    for name in &implicit {
        let prefixed = split("USE_EXPAND").any(|n| n == *name);
        let unprefixed = split("USE_EXPAND_UNPREFIXED").any(|n| n == *name);
        for value in split(&format!("USE_EXPAND_VALUES_{name}")) {
            if unprefixed {
                effective.insert(value.clone());
            }
            if prefixed {
                effective.insert(format!("{}_{value}", name.to_lowercase()));
            }
        }
    }
    assert!(effective.iter().all(|flag| profile.implicit_iuse.contains("8", flag)));
    [
        line(profile.system.iter().map(|atom| format!("*{atom}"))),
        line(profile.use_mask()),
        line(profile.use_force()),
        line(profile.use_flags()),
        line(effective),
        line(profile.accept_keywords.words()),
        line(profile.provided.iter().map(Cpv::to_string)),
    ]
    .join("\t")
}

fn describe_package(profile: &Profile, entry: &Entry) -> String {
    let package = entry.package();
    let stable = profile.is_stable(package, &entry.keywords);
    let mask = profile.masks.find(package).map_or("-".to_owned(), |mask| {
        let mut atom = mask.atom.clone();
        atom.repo = None;
        atom.to_string()
    });
    [
        line(profile.use_for(entry)),
        line(profile.use_mask_for(package, stable)),
        line(profile.use_force_for(package, stable)),
        mask,
        number(profile.accepts_keywords(package, &entry.keywords)),
    ]
    .join("\t")
}
