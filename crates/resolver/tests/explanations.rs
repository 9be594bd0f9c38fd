//! What people read when there is no plan, held word for word.

mod common;

use std::collections::BTreeMap;

use common::{binhost, small_index as index};
use gentoo::Atom;
use resolver::{Explanation, Installed, Profile, Source, TroubleKind, Universe, Wanted};

fn source(lines: &str) -> Source {
    Source::new(vec![binhost("main", index(lines))], Profile::minimal("amd64"))
}

fn explain(source: Source, atoms: &[&str]) -> Explanation {
    let wanted = Wanted { atoms: atoms.iter().map(|a| (*a).to_owned()).collect(), services: Vec::new() };
    match Universe::new(source).resolve(&wanted) {
        Ok(resolution) => {
            panic!("{atoms:?} has a plan: {:?}", resolution.plan.packages.iter().map(|p| &p.cpv).collect::<Vec<_>>())
        }
        Err(explanation) => explanation,
    }
}

const VIM: &str = "
    app-editors/vim-9.0.1 ; BUILD_ID=1 ; PATH=app-editors/vim/vim-9.0.1-1.gpkg.tar ; IUSE=X python +nls acl ; USE=X nls
    app-editors/vim-9.0.1 ; BUILD_ID=2 ; PATH=app-editors/vim/vim-9.0.1-2.gpkg.tar ; IUSE=X python +nls acl ; USE=python X
    app-editors/vim-core-9.0.1
    app-editors/nano-7.2
    app-editors/emacs-29.1 ; SLOT=29
    dev-lang/python-3.11.4 ; SLOT=3.11
    dev-lang/python-3.12.0 ; SLOT=3.12
    dev-python/python-exec-2.4 ; REPO=gentoo
";

/// Two packages built against each other.
const CIRCLE: &str = "
    net-misc/a-1 ; RDEPEND=net-misc/b:0/1= ; SLOT=0/1
    net-misc/b-1 ; RDEPEND=net-misc/a:0/1= ; SLOT=0/1
";

fn notes(source: Source, atom: &str) -> Vec<String> {
    let wanted = Wanted { atoms: vec![atom.to_owned()], services: Vec::new() };
    Universe::new(source).resolve(&wanted).unwrap().notes
}

/// Each case: its name, the index and the request. The name is that of the snapshot.
fn cases() -> Vec<(&'static str, TroubleKind, Explanation)> {
    use TroubleKind::*;
    let mut found = Vec::new();
    let mut case = |name, kind, explanation| found.push((name, kind, explanation));
    let vim = || source(VIM);

    case("nothing-asked", Request, explain(vim(), &[]));
    case("not-an-atom", Request, explain(vim(), &["app-editors/vim-9.0.1"]));
    case("operator-without-version", Request, explain(vim(), &[">=app-editors/vim"]));
    case("blocker-asked", Request, explain(vim(), &["!app-editors/vim"]));
    case("conditional-use-asked", Request, explain(vim(), &["app-editors/vim[python?]"]));
    case("unknown-set", Request, explain(vim(), &["@desktop"]));
    case("empty-system-set", Request, explain(vim(), &["@system"]));
    let mut circle = vim();
    circle.sets = BTreeMap::from([("a".into(), vec!["@b".into()]), ("b".into(), vec!["@a".into()])]);
    case("set-in-a-circle", Request, explain(circle, &["@a"]));
    case("several-mistakes", Request, explain(vim(), &["@nope", "app-editors/vim-9.0.1"]));
    case(
        "ambiguous-name",
        Request,
        explain(source("dev-db/redis-7\n dev-python/redis-4\n dev-ruby/redis-5\n acct-user/redis-0"), &["redis"]),
    );

    case("missing-package", UnknownPackage, explain(vim(), &["app-misc/tmux"]));
    case("missing-package-without-category", UnknownPackage, explain(vim(), &["tmux"]));
    case("wrong-category", UnknownPackage, explain(vim(), &["app-misc/nano"]));
    case("misspelt-name", UnknownPackage, explain(vim(), &["app-editors/emasc"]));
    case(
        "missing-dependency",
        UnknownPackage,
        explain(source("app-misc/a-1 ; RDEPEND=app-misc/b\n app-misc/b-1 ; RDEPEND=dev-libs/gone"), &["app-misc/a"]),
    );
    case(
        "missing-in-every-alternative",
        UnknownPackage,
        explain(source("app-misc/a-1 ; RDEPEND=|| ( dev-libs/x dev-libs/y )"), &["app-misc/a"]),
    );

    case("version-too-new", Version, explain(vim(), &[">=app-editors/vim-10"]));
    case("version-too-old", Version, explain(vim(), &["<app-editors/nano-7"]));
    case("exact-version", Version, explain(vim(), &["=app-editors/nano-7.2-r1"]));
    case("version-prefix", Version, explain(vim(), &["=dev-lang/python-3.13*"]));
    case(
        "version-of-a-dependency",
        Version,
        explain(
            source("app-misc/a-1 ; RDEPEND=>=dev-libs/b-2\n dev-libs/b-1.9\n dev-libs/b-1.8\n dev-libs/b-1.7-r1"),
            &["app-misc/a"],
        ),
    );
    case("slot", Slot, explain(vim(), &["dev-lang/python:3.13"]));
    case("only-slot", Slot, explain(vim(), &["app-editors/emacs:30"]));
    case(
        "sub-slot",
        Slot,
        explain(
            source("net-misc/curl-8 ; RDEPEND=dev-libs/openssl:0/1.1=\n dev-libs/openssl-3.0.9 ; SLOT=0/3"),
            &["net-misc/curl"],
        ),
    );
    case("repository", Repository, explain(vim(), &["dev-python/python-exec::guru"]));

    case("use-nearest-build", Use, explain(vim(), &["app-editors/vim[python,-X]"]));
    case("use-unknown-flag", Use, explain(vim(), &["app-editors/vim[gtk,python]"]));
    case("use-many-differences", Use, explain(vim(), &["app-editors/vim[acl,-nls,python]"]));
    case(
        "use-of-a-dependency",
        Use,
        explain(source("app-misc/a-1 ; RDEPEND=dev-libs/b[ssl]\n dev-libs/b-1 ; IUSE=ssl ; USE="), &["app-misc/a"]),
    );

    case("keywords", Keywords, explain(source("app-misc/a-1 ; KEYWORDS=~amd64"), &["app-misc/a"]));
    case(
        "keywords-other-version",
        Keywords,
        explain(source("app-misc/a-2 ; KEYWORDS=~amd64\n app-misc/a-1"), &[">=app-misc/a-2"]),
    );
    case("keywords-of-others", Keywords, explain(source("app-misc/a-1 ; KEYWORDS=arm64 ~x86"), &["app-misc/a"]));
    case("keywords-none", Keywords, explain(source("app-misc/a-9999 ; KEYWORDS="), &["app-misc/a"]));
    case("license", License, explain(source("net-im/skype-8 ; LICENSE=Skype-TOS"), &["net-im/skype"]));
    case(
        "license-of-several",
        License,
        explain(source("app-emulation/v-1 ; LICENSE=MIT PUEL-11 || ( GPL-2 Evil )"), &["app-emulation/v"]),
    );
    let mut masked = vim();
    masked.profile.masks.mask(Atom::parse(">=app-editors/nano-7").unwrap(), "Eats files.\nSee bug 1.");
    case("package-mask", Masked, explain(masked, &["app-editors/nano"]));
    let mut published = source("app-misc/a-1 ; RESTRICT=bindist mirror");
    published.published = true;
    case(
        "license-of-a-dependency",
        License,
        explain(source("app-misc/a-1 ; RDEPEND=app-misc/b\n app-misc/b-1 ; LICENSE=Evil"), &["app-misc/a"]),
    );
    case("bindist", Bindist, explain(published, &["app-misc/a"]));
    case("other-chost", Chost, explain(source("app-misc/a-1 ; CHOST=i686-pc-linux-gnu"), &["app-misc/a"]));
    let other_abi = "app-misc/a-1 ; RDEPEND=sys-libs/z:0/1=\n sys-libs/z-1 ; SLOT=0/1 ; CHOST=x86_64-gentoo-linux-musl";
    case("other-chost-dependency", Chost, explain(source(other_abi), &["app-misc/a"]));
    case("unknown-eapi", Eapi, explain(source("app-misc/a-1 ; EAPI=10"), &["app-misc/a"]));
    let mut gone = vim();
    gone.gone.insert(("main".into(), "app-editors/nano-7.2.tbz2".into()));
    case("half-broken-mirror", Gone, explain(gone, &["app-editors/nano"]));
    let mut gone = source("app-misc/a-1 ; RDEPEND=dev-libs/b\n dev-libs/b-1 ; BUILD_ID=4 ; PATH=dev-libs/b/b-1-4.gpkg.tar");
    gone.gone.insert(("main".into(), "dev-libs/b/b-1-4.gpkg.tar".into()));
    case("half-broken-mirror-dependency", Gone, explain(gone, &["app-misc/a"]));
    let mut gone = source("app-misc/a-2 ; LICENSE=Evil\n app-misc/a-1");
    gone.gone.insert(("main".into(), "app-misc/a-1.tbz2".into()));
    case("several-masks", License, explain(gone, &["app-misc/a"]));
    case("damaged-entry", Damaged, explain(source("app-misc/a-1 ; RDEPEND=( dev-libs/b"), &["app-misc/a"]));

    let slots = "
        app-misc/old-1 ; RDEPEND=<dev-libs/b-2
        app-misc/new-1 ; RDEPEND=>=dev-libs/b-2
        app-misc/both-1 ; RDEPEND=app-misc/old app-misc/new
        dev-libs/b-1 ; SLOT=0/1
        dev-libs/b-2 ; SLOT=0/2
    ";
    case("slot-conflict-in-the-request", SlotConflict, explain(source(slots), &["app-misc/old", "app-misc/new"]));
    case("slot-conflict-below-one-package", SlotConflict, explain(source(slots), &["app-misc/both"]));
    case("slot-conflict-with-the-request", SlotConflict, explain(source(slots), &["app-misc/old", "=dev-libs/b-2"]));
    let abi = "
        net-misc/a-1 ; RDEPEND=dev-libs/ssl:0/1=
        net-misc/b-1 ; RDEPEND=dev-libs/ssl:0/3=
        dev-libs/ssl-1 ; SLOT=0/1
        dev-libs/ssl-3 ; SLOT=0/3
    ";
    case("built-against-two-versions", SlotConflict, explain(source(abi), &["net-misc/a", "net-misc/b"]));

    let blocks = "
        sys-apps/systemd-250 ; RDEPEND=!sys-fs/udev
        sys-fs/udev-200
        app-misc/a-1 ; RDEPEND=sys-fs/udev
        app-misc/both-1 ; RDEPEND=sys-apps/systemd app-misc/a
    ";
    case("blocker", Blocker, explain(source(blocks), &["sys-apps/systemd", "sys-fs/udev"]));
    case("blocker-through-a-dependency", Blocker, explain(source(blocks), &["sys-apps/systemd", "app-misc/a"]));
    case("blocker-below-one-package", Blocker, explain(source(blocks), &["app-misc/both"]));
    let mut base = source("sys-apps/systemd-250 ; RDEPEND=!!sys-fs/udev");
    base.installed = Some(Installed { entries: index("sys-fs/udev-200").entries });
    case("blocker-of-the-base", Blocker, explain(base, &["sys-apps/systemd"]));
    let mut base = source("sys-apps/systemd-250 ; RDEPEND=!sys-fs/udev");
    base.installed = Some(Installed { entries: index("sys-fs/udev-200\n sys-fs/lvm2-2 ; RDEPEND=sys-fs/udev").entries });
    case("blocker-of-what-the-base-needs", Blocker, explain(base, &["sys-apps/systemd"]));
    found
}

#[test]
fn each_failure_says_what_happened_why_and_what_to_do() {
    let mut text = String::new();
    for (name, kind, explanation) in cases() {
        let kinds: Vec<TroubleKind> = explanation.troubles.iter().map(|t| t.kind).collect();
        assert!(kinds.contains(&kind), "{name}: {kinds:?}, not {kind:?}:\n{explanation}");
        text.push_str(&format!("== {name}\n{explanation}\n"));
        for wish in &explanation.unmet_wishes {
            text.push_str(&format!("  [wish: {} {:?}, nearest {:?}]\n", wish.package, wish.flags, wish.nearest));
        }
        text.push('\n');
    }
    // What Portage refuses as circular has a plan here; what is told with it belongs to what people read.
    text.push_str(&format!("== circular\n{}\n", notes(source(CIRCLE), "net-misc/a").join("\n")));
    insta::assert_snapshot!("explanations", text);
}

#[test]
fn explanations_are_data_too() {
    let explanation = explain(source(VIM), &["app-editors/vim[python,-X]"]);
    let json = serde_json::to_value(&explanation).unwrap();
    assert_eq!(json["troubles"][0]["kind"], "use");
    assert_eq!(json["troubles"][0]["offer"], "app-editors/vim[python]");
    assert_eq!(json["unmet_wishes"][0]["flags"], serde_json::json!(["-X", "python"]));
    assert_eq!(serde_json::from_value::<Explanation>(json).unwrap(), explanation);
}

#[test]
fn what_nobody_has_is_wished_for_with_its_flags() {
    // A build without `doc` would do; one without `tls` would not.
    let explanation = explain(source(VIM), &[">=app-misc/absent-2[tls,-X,doc(+)]"]);
    let [wish] = explanation.unmet_wishes.as_slice() else { panic!("{explanation}") };
    assert_eq!(wish.package, ">=app-misc/absent-2");
    assert_eq!(wish.flags, ["-X", "tls"]);
}

#[test]
fn a_hostile_index_is_given_up_in_bounded_steps() {
    // Every package offers two ways and every way ends nowhere.
    let mut lines = String::new();
    for n in 0..200 {
        for v in 0..5 {
            lines.push_str(&format!("a/p{n}-{v} ; RDEPEND=a/p{}[x] a/p{}[y] <a/q-{v}\n", (n + 1) % 200, (n * 7 + 3) % 200));
        }
    }
    let explanation = explain(source(&lines), &["a/p0"]);
    assert!(!explanation.troubles.is_empty());
}
