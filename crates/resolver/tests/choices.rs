//! What is chosen, in the small: each rule by itself, on indexes one can read.

mod common;

use common::{binhost, small_index};
use resolver::{Installed, Profile, Request, Resolution, Source, Universe, Wanted, resolve};

fn source(lines: &str) -> Source {
    Source::new(vec![binhost("main", small_index(lines))], Profile::minimal("amd64"))
}

fn wanted(atoms: &[&str]) -> Wanted {
    Wanted { atoms: atoms.iter().map(|a| (*a).to_owned()).collect(), services: vec!["sshd".into()] }
}

fn resolution(source: Source, atoms: &[&str]) -> Resolution {
    Universe::new(source).resolve(&wanted(atoms)).unwrap_or_else(|e| panic!("{e}"))
}

/// The packages chosen, in merge order, as `CPV` or `CPV@BUILD_ID`.
fn order(source: Source, atoms: &[&str]) -> Vec<String> {
    let plan = resolution(source, atoms).plan;
    plan.packages.iter().map(|p| p.build_id.map_or(p.cpv.clone(), |b| format!("{}@{b}", p.cpv))).collect()
}

fn chosen(lines: &str, atoms: &[&str]) -> Vec<String> {
    let mut found = order(source(lines), atoms);
    found.sort();
    found
}

#[test]
fn the_newest_version_then_the_newest_build_is_taken() {
    let lines = "
        a/a-1.9 ; BUILD_ID=9 ; BUILD_TIME=900
        a/a-1.10 ; BUILD_ID=2 ; BUILD_TIME=300
        a/a-1.10 ; BUILD_ID=3 ; BUILD_TIME=200
        a/a-2 ; KEYWORDS=~amd64
    ";
    assert_eq!(chosen(lines, &["a/a"]), ["a/a-1.10@2"]);
    assert_eq!(chosen(lines, &["a"]), ["a/a-1.10@2"]);
    assert_eq!(chosen(lines, &["<a/a-1.10"]), ["a/a-1.9@9"]);
}

#[test]
fn use_wishes_choose_among_builds() {
    let lines = "
        a/vim-2 ; BUILD_ID=1 ; BUILD_TIME=3 ; IUSE=X python ; USE=X
        a/vim-2 ; BUILD_ID=2 ; BUILD_TIME=2 ; IUSE=X python ; USE=X python
        a/vim-1 ; BUILD_ID=1 ; BUILD_TIME=1 ; IUSE=X python ; USE=python
    ";
    assert_eq!(chosen(lines, &["a/vim"]), ["a/vim-2@1"]);
    assert_eq!(chosen(lines, &["a/vim[python]"]), ["a/vim-2@2"]);
    assert_eq!(chosen(lines, &["a/vim[python,-X]"]), ["a/vim-1@1"]);
    assert_eq!(chosen(lines, &["a/vim[-gtk(-)]"]), ["a/vim-2@1"]);
}

#[test]
fn alternatives_prefer_what_is_there_anyway_then_the_order_written() {
    let lines = "
        a/first-1
        a/second-1
        a/user-1 ; RDEPEND=|| ( a/first a/second )
        a/choosy-1 ; RDEPEND=|| ( a/first[x] a/second )
        a/gone-1 ; RDEPEND=|| ( a/nothere a/second )
        a/pair-1 ; RDEPEND=|| ( ( a/second a/nothere ) a/first )
    ";
    assert_eq!(chosen(lines, &["a/user"]), ["a/first-1", "a/user-1"]);
    assert_eq!(chosen(lines, &["a/user", "a/second"]), ["a/second-1", "a/user-1"]);
    assert_eq!(chosen(lines, &["a/choosy"]), ["a/choosy-1", "a/second-1"]);
    assert_eq!(chosen(lines, &["a/gone"]), ["a/gone-1", "a/second-1"]);
    assert_eq!(chosen(lines, &["a/pair"]), ["a/first-1", "a/pair-1"]);
}

#[test]
fn overlapping_alternatives_share_one_package() {
    let lines = "
        a/user-1 ; RDEPEND=|| ( a/one a/two ) || ( a/two a/three )
        a/one-1
        a/two-1
        a/three-1
    ";
    assert_eq!(chosen(lines, &["a/user"]), ["a/two-1", "a/user-1"]);
}

#[test]
fn virtuals_follow_what_is_there_anyway() {
    let lines = "
        virtual/udev-1 ; RDEPEND=|| ( sys-apps/systemd sys-fs/eudev )
        sys-apps/systemd-250
        sys-fs/eudev-3
        a/user-1 ; RDEPEND=virtual/udev
    ";
    assert_eq!(chosen(lines, &["a/user"]), ["a/user-1", "sys-apps/systemd-250", "virtual/udev-1"]);
    assert_eq!(chosen(lines, &["a/user", "sys-fs/eudev"]), ["a/user-1", "sys-fs/eudev-3", "virtual/udev-1"]);
}

#[test]
fn a_version_that_leads_nowhere_is_given_up_for_an_older_one() {
    let lines = "
        a/user-1 ; RDEPEND=a/lib
        a/lib-3 ; RDEPEND=a/nothere
        a/lib-2
        b/old-1 ; RDEPEND=<b/lib-2
        b/any-1 ; RDEPEND=b/lib
        b/lib-2
        b/lib-1
    ";
    assert_eq!(chosen(lines, &["a/user"]), ["a/lib-2", "a/user-1"]);
    assert_eq!(chosen(lines, &["b/any", "b/old"]), ["b/any-1", "b/lib-1", "b/old-1"]);
}

#[test]
fn packages_bound_to_a_sub_slot_get_the_one_they_were_built_against() {
    let lines = "
        a/curl-8 ; RDEPEND=a/ssl:0/3=
        a/old-1 ; RDEPEND=a/ssl:0/1=
        a/ssl-3 ; SLOT=0/3
        a/ssl-1 ; SLOT=0/1
        a/py-1 ; RDEPEND=a/slotted:2=
        a/slotted-2 ; SLOT=2
        a/slotted-3 ; SLOT=3
    ";
    assert_eq!(chosen(lines, &["a/curl"]), ["a/curl-8", "a/ssl-3"]);
    assert_eq!(chosen(lines, &["a/old"]), ["a/old-1", "a/ssl-1"]);
    assert_eq!(chosen(lines, &["a/py", "a/slotted"]), ["a/py-1", "a/slotted-2", "a/slotted-3"]);
}

#[test]
fn earlier_binhosts_win_and_later_ones_fill_gaps() {
    let own = "a/app-1 ; RDEPEND=a/lib a/tool[x]\n a/tool-5 ; IUSE=x ; USE=\n a/lib-1 ; BUILD_TIME=1";
    let fallback = "a/lib-9 ; BUILD_TIME=9\n a/tool-4 ; IUSE=x ; USE=x\n a/app-9";
    let both = |prefer| {
        let hosts = vec![binhost("own", small_index(own)), binhost("fallback", small_index(fallback))];
        let source = Source { prefer_binhost_order: prefer, ..Source::new(hosts, Profile::minimal("amd64")) };
        let mut found: Vec<(String, String)> =
            resolution(source, &["a/app"]).plan.packages.into_iter().map(|p| (p.cpv, p.binhost)).collect();
        found.sort();
        found
    };
    let pair = |cpv: &str, host: &str| (cpv.to_owned(), host.to_owned());
    assert_eq!(both(true), [pair("a/app-1", "own"), pair("a/lib-1", "own"), pair("a/tool-4", "fallback")]);
    assert_eq!(both(false), [pair("a/app-9", "fallback")]);
}

#[test]
fn a_file_the_mirror_lost_is_replaced_by_another_build() {
    let mut source = source("a/a-2 ; PATH=a/a/a-2-1.xpak ; BUILD_ID=1\n a/a-1 ; PATH=a/a/a-1-1.xpak ; BUILD_ID=1");
    assert_eq!(order(source.clone(), &["a/a"]), ["a/a-2@1"]);
    source.gone.insert(("main".into(), "a/a/a-2-1.xpak".into()));
    assert_eq!(order(source, &["a/a"]), ["a/a-1@1"]);
}

#[test]
fn an_installed_base_serves_and_is_replaced_only_where_it_must_be() {
    let lines = "
        a/app-1 ; RDEPEND=a/lib a/new
        a/strict-1 ; RDEPEND=>=a/lib-2
        a/lib-2
        a/new-1
    ";
    let base = |atoms: &[&str]| {
        let mut source = source(lines);
        source.installed = Some(Installed { entries: small_index("a/lib-1\n a/other-1").entries });
        order(source, atoms)
    };
    assert_eq!(base(&["a/app"]), ["a/new-1", "a/app-1"]);
    assert_eq!(base(&["a/strict"]), ["a/lib-2", "a/strict-1"]);
    assert_eq!(base(&["a/lib"]), ["a/lib-2"]);
}

#[test]
fn what_is_needed_comes_first_and_what_is_asked_for_afterwards_last() {
    let lines = "
        app-misc/a-1 ; RDEPEND=app-misc/lib ; PDEPEND=app-misc/plugin ; IDEPEND=app-misc/tool
        app-misc/lib-1 ; RDEPEND=sys-libs/glibc
        app-misc/plugin-1 ; RDEPEND=app-misc/a
        app-misc/tool-1
        sys-libs/glibc-2
        app-shells/bash-5 ; RDEPEND=sys-libs/readline
        sys-libs/readline-8 ; RDEPEND=sys-libs/glibc
        acct-user/joe-0 ; RDEPEND=acct-group/joe
        acct-group/joe-0
    ";
    let found = order(source(lines), &["app-misc/a", "acct-user/joe", "app-shells/bash"]);
    assert_eq!(
        found,
        [
            "sys-libs/glibc-2",
            "sys-libs/readline-8",
            "app-shells/bash-5",
            "acct-group/joe-0",
            "acct-user/joe-0",
            "app-misc/lib-1",
            "app-misc/tool-1",
            "app-misc/a-1",
            "app-misc/plugin-1",
        ]
    );
}

#[test]
fn a_true_cycle_has_a_plan_and_a_note() {
    let lines = "
        a/util-1 ; RDEPEND=a/udev:0/1=
        a/udev-1 ; SLOT=0/1 ; RDEPEND=a/systemd:0/2=
        a/systemd-2 ; SLOT=0/2 ; RDEPEND=a/util:=
        a/soft-1 ; RDEPEND=a/loop
        a/loop-1 ; RDEPEND=a/soft
    ";
    let found = resolution(source(lines), &["a/util"]);
    assert_eq!(found.plan.packages.len(), 3);
    assert!(found.notes[0].contains("a/systemd-2, a/udev-1 and a/util-1 were built against each other"), "{:?}", found.notes);
    assert!(resolution(source(lines), &["a/soft"]).notes.is_empty());
}

#[test]
fn blockers_within_one_slot_are_an_upgrade_and_not_a_conflict() {
    let lines = "
        a/new-2 ; RDEPEND=!<a/new-2 !a/nothere
        a/strong-1 ; RDEPEND=!!<a/new-2
    ";
    assert_eq!(chosen(lines, &["a/new", "a/strong"]), ["a/new-2", "a/strong-1"]);
}

/// What the real Portage 3.0.83 says of the same packages over the same base: `emerge --usepkgonly` uninstalls after the merge, or refuses.
#[test]
fn what_a_package_softly_blocks_goes_from_the_base_unless_something_needs_it() {
    let lines = "
        a/new-2 ; RDEPEND=!a/old
        a/strict-2 ; RDEPEND=!!a/old
        a/both-1 ; RDEPEND=a/new a/plain
        a/plain-1 ; RDEPEND=!a/old
        a/user-2 ; RDEPEND=a/old
        a/either-2 ; RDEPEND=|| ( a/old a/new )
        a/hated-1
    ";
    let over = |installed: &str, atoms: &[&str]| {
        let mut source = source(lines);
        source.installed = Some(Installed { entries: small_index(installed).entries });
        source.profile.system = vec![gentoo::Atom::parse("a/base").unwrap()];
        Universe::new(source).resolve(&wanted(atoms)).map(|found| {
            let removed = found.plan.removals.iter().map(|gone| format!("{} after {} ({})", gone.cpv, gone.after, gone.because));
            assert_eq!(found.notes.len(), found.plan.removals.len());
            removed.collect::<Vec<_>>()
        })
    };
    let removed = |installed: &str, atoms: &[&str]| over(installed, atoms).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(removed("a/old-1\n a/base-1", &["a/new"]), ["a/old-1 after a/new-2 (!a/old of a/new-2)"]);
    // After the last of them.
    assert_eq!(removed("a/old-1", &["a/both"]).len(), 1);
    // The blocker may be the installed one.
    assert_eq!(removed("a/hater-1 ; RDEPEND=!a/hated", &["a/hated"]), ["a/hater-1 after a/hated-1 (!a/hated of a/hater-1)"]);
    // Where anything serves, what is merged does.
    assert_eq!(removed("a/old-1\n a/either-1 ; RDEPEND=|| ( a/old a/new )", &["a/new"]).len(), 1);
    // Nothing is removed that is not blocked, or that something needs: a package of the base (for Portage: of @world), the request, the
    // system; and a strong block wants the package away before, which Portage does not do to a running system.
    assert!(removed("a/other-1", &["a/new"]).is_empty());
    for (installed, atoms) in
        [("a/old-1\n a/needy-1 ; RDEPEND=a/old", &["a/new"][..]), ("a/old-1", &["a/new", "a/user"]), ("a/old-1", &["a/strict"])]
    {
        assert!(over(installed, atoms).is_err(), "{installed} {atoms:?}");
    }
    let mut system = source("a/new-2 ; RDEPEND=!a/base");
    system.installed = Some(Installed { entries: small_index("a/base-1").entries });
    system.profile.system = vec![gentoo::Atom::parse("a/base").unwrap()];
    assert!(Universe::new(system).resolve(&wanted(&["a/new"])).is_err());
}

#[test]
fn each_package_says_why_it_is_there() {
    let lines = "
        a/curl-8.0.1 ; RDEPEND=a/openssl:0/3=
        a/openssl-3 ; SLOT=0/3 ; IDEPEND=a/certs ; SIZE=500
        a/certs-1 ; SIZE=20
    ";
    let mut source = source(lines);
    source.sets.insert("net".into(), vec!["a/curl".into()]);
    let plan = resolution(source, &["@net"]).plan;
    let certs = plan.packages.iter().find(|p| p.cpv == "a/certs-1").unwrap();
    assert_eq!(
        certs.because,
        ["needed by a/openssl-3 (IDEPEND: a/certs)", "needed by a/curl-8.0.1 (RDEPEND: a/openssl:0/3=)", "asked for as @net"]
    );
    assert_eq!(plan.download_size(), 1520);
    assert_eq!(plan.world, Vec::<String>::new());
    assert_eq!(plan.services, ["sshd"]);
    assert_eq!(plan.chost, "x86_64-pc-linux-gnu");
}

#[test]
fn the_world_is_what_was_asked_for_by_name() {
    let request = Request {
        binhosts: vec![binhost("main", small_index("a/a-1 ; IUSE=x ; USE=x y\n a/b-3 ; SLOT=3"))],
        profile: Profile::minimal("amd64"),
        arch: "amd64".into(),
        channel: "test".into(),
        atoms: vec![">=a-1[x]".into(), "a/b:3".into(), "a/a".into()],
        services: Vec::new(),
        installed: None,
    };
    let plan = resolve(&request).unwrap();
    assert_eq!(plan.world, ["a/a", "a/b:3"]);
    let a = plan.packages.iter().find(|p| p.cpv == "a/a-1").unwrap();
    assert_eq!((a.use_flags.as_slice(), a.slot.as_str(), a.path.as_str()), (["x".to_owned()].as_slice(), "0/0", "a/a-1.tbz2"));
    assert_eq!(resolve(&request).unwrap(), plan);
}

#[test]
fn search_finds_names_first() {
    let lines = "
        app-editors/vim-9 ; DESC=Vi IMproved
        app-editors/vim-core-9 ; DESC=vim and gvim shared files
        app-vim/nerdtree-1 ; DESC=file explorer
        app-editors/nano-1 ; DESC=An editor, not vim
        app-misc/masked-vim-1 ; KEYWORDS=
    ";
    let universe = Universe::new(source(lines));
    let found: Vec<&str> = universe.search("vim", 10).iter().map(|h| h.name).collect();
    assert_eq!(found, ["app-editors/vim", "app-editors/vim-core", "app-vim/nerdtree", "app-editors/nano"]);
    assert_eq!(universe.search("vim", 1).len(), 1);
    assert_eq!(universe.search("VIM-core", 10)[0].best.cpv.to_string(), "app-editors/vim-core-9");
    assert!(universe.search("", 10).is_empty());
}

#[test]
fn search_takes_words_in_any_order_and_knows_what_categories_are_for() {
    let lines = "
        www-servers/nginx-1 ; DESC=Robust, small and high performance http and reverse proxy server
        www-servers/lighttpd-1 ; DESC=Lightweight high-performance web server
        dev-perl/HTTP-Server-1 ; DESC=A web server in Perl
        acct-user/nginx-0 ; DESC=A user for www-servers/nginx
        net-wireless/iwd-1 ; DESC=Internet Wireless Daemon
        app-misc/web-1 ; DESC=Something else
    ";
    let universe = Universe::new(source(lines));
    let found = |text: &str| universe.search(text, 10).iter().map(|h| h.name).collect::<Vec<&str>>();
    let servers = ["www-servers/lighttpd", "www-servers/nginx", "dev-perl/HTTP-Server"];
    assert_eq!(found("web server"), servers);
    assert_eq!(found("Server WEB"), servers);
    assert_eq!(found("web servers"), servers);
    assert_eq!(found("nginx"), ["www-servers/nginx", "acct-user/nginx"]);
    assert_eq!(found("wifi"), ["net-wireless/iwd"]);
    assert_eq!(found("web browser"), [""; 0]);
    // The first letters of what a category is for are not yet the word.
    assert_eq!(found("we"), ["app-misc/web", "dev-perl/HTTP-Server", "www-servers/lighttpd"]);
}

/// Indexes made to keep a resolver busy get an answer or an explanation, whatever it is.
#[test]
fn hostile_indexes_end() {
    let mut virtuals = String::new();
    for n in 0..40 {
        for v in 0..6 {
            virtuals.push_str(&format!("virtual/v{n}-{v} ; SLOT={v} ; RDEPEND=|| ( virtual/v{} virtual/v{} )\n", n + 1, n + 2));
        }
    }
    let mut circle = String::new();
    for n in 0..1500 {
        let deps: Vec<String> = (1..12).map(|k| format!("a/p{}:0/1=", (n * k + k * k) % 1500)).collect();
        circle.push_str(&format!("a/p{n}-1 ; SLOT=0/1 ; RDEPEND={}\n", deps.join(" ")));
    }
    let wide: String = (0..30)
        .map(|n| format!("|| ( {} ) ", (0..30).map(|k| format!("w/q{}", (n * k) % 40)).collect::<Vec<_>>().join(" ")))
        .collect();
    let mut product = format!("w/all-1 ; RDEPEND={wide}\n");
    (0..20).for_each(|n| product.push_str(&format!("w/q{n}-1\n")));
    let mut nested = String::from("n/n-1 ; RDEPEND=");
    nested.push_str(&"|| ( n/x ( n/y ".repeat(45));
    nested.push_str(&") ) ".repeat(45));
    nested.push_str("\n n/x-1\n n/y-1");
    for (lines, atom) in [(virtuals, "virtual/v0"), (circle, "a/p0"), (product, "w/all"), (nested, "n/n")] {
        match Universe::new(source(&lines)).resolve(&wanted(&[atom])) {
            Ok(found) => assert!(!found.plan.packages.is_empty()),
            Err(explanation) => assert!(!explanation.troubles.is_empty()),
        }
    }
}
