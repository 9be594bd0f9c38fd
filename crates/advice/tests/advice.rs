//! Advice on a small binhost.

use advice::{Advice, Budget, Demand, Kind, Known, Question, Repository, Wish, advise, ebuild, svg};
use gentoo::index::{Entry, Packages};
use gentoo::useflags::ImplicitIuse;

const INDEX: &str = "\
ARCH: amd64
PACKAGES: 5
TIMESTAMP: 1
VERSION: 0

CPV: app-editors/vim-9.1
BUILD_ID: 1
IUSE: X gtk lua python +nls minimal
USE: nls
RDEPEND: sys-libs/ncurses
LICENSE: vim
SIZE: 2000000
EAPI: 8

CPV: sys-libs/ncurses-6.4
BUILD_ID: 1
IUSE: tinfo
USE: tinfo
SIZE: 700000
EAPI: 8
LICENSE: MIT

CPV: x11-libs/libX11-1.8
BUILD_ID: 1
IUSE:
USE:
RDEPEND: x11-libs/libxcb
SIZE: 900000
EAPI: 8
LICENSE: MIT

CPV: x11-libs/libxcb-1.15
BUILD_ID: 1
SIZE: 300000
EAPI: 8
LICENSE: MIT

CPV: net-misc/curl-8.5
BUILD_ID: 1
IUSE: ssl http2
USE: ssl
RDEPEND: sys-libs/ncurses
SIZE: 400000
EAPI: 8
LICENSE: curl
";

const VIM: &str = "\
EAPI=8
IUSE=X gtk lua python +nls minimal
RDEPEND=sys-libs/ncurses X? ( x11-libs/libX11 ) gtk? ( x11-libs/gtk+:3 ) lua? ( dev-lang/lua ) python? ( dev-lang/python )
REQUIRED_USE=gtk? ( X ) minimal? ( !lua !python )
LICENSE=vim gtk? ( LGPL-2+ )
SLOT=0
";
const CURL: &str = "EAPI=8\nIUSE=ssl http2\nRDEPEND=sys-libs/ncurses\nLICENSE=curl\nSLOT=0\n";
const GTK: &str = "EAPI=8\nRDEPEND=x11-libs/libX11 x11-libs/pango\nLICENSE=LGPL-2+\nSLOT=3\n";
const NANO: &str = "EAPI=8\nIUSE=+magic\nRDEPEND=sys-libs/ncurses magic? ( sys-apps/file )\nLICENSE=GPL-3\nSLOT=0\n";

fn ebuilds() -> Vec<Entry> {
    let cache =
        [("app-editors/vim-9.1", VIM), ("net-misc/curl-8.5", CURL), ("x11-libs/gtk+-3.24", GTK), ("app-editors/nano-7.2", NANO)];
    cache.map(|(cpv, text)| ebuild(cpv, text).unwrap()).into()
}

fn wish(text: &str) -> Wish {
    let (package, flags) = text.split_once('[').map_or((text, ""), |(package, flags)| (package, flags.trim_end_matches(']')));
    Wish::parse(package, flags.split(',').filter(|f| !f.is_empty())).unwrap()
}

fn demand(orders: u64, unmet: &[&str]) -> Demand {
    Demand { orders, unmet: unmet.iter().map(|w| wish(w)).collect(), met: Vec::new() }
}

fn asked(demands: &[Demand], builds: Option<u64>, with_ebuilds: bool) -> Advice {
    let index = Packages::parse(INDEX.as_bytes()).unwrap();
    let repository: Repository = Box::new(|cp| ebuilds().into_iter().filter(|e| e.cpv.cp() == cp).collect());
    let known = Known::new(ImplicitIuse::default(), &index.entries, [], with_ebuilds.then_some(repository));
    advise(demands, &known, Question { budget: Budget { builds, bytes: None }, max_added: 1 << 20 })
}

#[test]
fn a_flag_that_adds_little_and_nobody_minds_is_turned_on() {
    let advice = asked(&[demand(7, &["net-misc/curl[http2]"])], Some(0), true);
    assert_eq!((advice.served, advice.orders, advice.at_most, advice.cost.builds), (7, 7, 7, 0));
    assert_eq!(advice.package_use, ["# For the builds there are, and new ones.\n=net-misc/curl-8.5 http2\n"]);
    let chosen = advice.packages[0].options.iter().find(|o| o.chosen == Some(1)).unwrap();
    assert_eq!((chosen.kind, chosen.adds.packages.len()), (Kind::TurnOn, 0));
}

#[test]
fn what_needs_no_flags_is_no_entry_of_package_use() {
    let advice = asked(&[demand(2, &["app-editors/nano"])], None, true);
    assert_eq!(advice.package_use, ["# For the builds there are, and new ones.\n# =app-editors/nano-7.2 as it is\n"]);
}

#[test]
fn not_where_somebody_asked_for_the_flag_to_be_off() {
    let mut content = demand(3, &[]);
    content.met = vec![wish("net-misc/curl[-http2]")];
    let demands = [demand(7, &["net-misc/curl[http2]"]), content];
    assert_eq!(asked(&demands, Some(0), true).served, 0);
    let advice = asked(&demands, Some(1), true);
    assert_eq!((advice.served, advice.cost.builds), (7, 1));
    let chosen = advice.packages[0].options.iter().find(|o| o.chosen.is_some()).unwrap();
    assert_eq!(chosen.kind, Kind::Second);
    assert_eq!((chosen.against[0].wish.as_str(), chosen.against[0].orders), ("net-misc/curl[-http2]", 3));
}

#[test]
fn not_where_what_it_draws_in_is_too_much_or_unknown() {
    // libX11 and libxcb are 1.2 MB, more than the question allows for everybody.
    let advice = asked(&[demand(5, &["app-editors/vim[X]"])], Some(1), true);
    let chosen = advice.packages[0].options.iter().find(|o| o.chosen.is_some()).unwrap();
    assert_eq!((chosen.kind, chosen.adds.download), (Kind::Second, 1_200_000));
    assert_eq!(chosen.adds.packages, ["x11-libs/libX11-1.8.tbz2", "x11-libs/libxcb-1.15.tbz2"]);
    let advice = asked(&[demand(5, &["net-misc/curl[http2]"])], Some(1), false);
    let chosen = advice.packages[0].options.iter().find(|o| o.chosen.is_some()).unwrap();
    assert_eq!((chosen.kind, &chosen.adds.known_from), (Kind::Second, &None));
}

#[test]
fn required_use_is_satisfied_and_what_is_missing_is_built_too() {
    let advice = asked(&[demand(5, &["app-editors/vim[gtk]"])], None, true);
    let option = &advice.packages[0].options[0];
    assert_eq!(option.flags, ["X", "gtk"], "gtk needs X");
    assert_eq!(option.adds.builds, ["x11-libs/gtk+:3", "x11-libs/pango"]);
    assert_eq!(option.adds.licenses, ["LGPL-2+"]);
    assert_eq!((advice.cost.builds, &advice.needed), (3, &option.adds.builds));
    assert_eq!(asked(&[demand(5, &["app-editors/vim[gtk]"])], Some(2), true).served, 0);
    let impossible = asked(&[demand(2, &["app-editors/vim[minimal,python]"])], None, true);
    let (wished, reason) = &impossible.packages[0].impossible[0];
    assert_eq!((wished.orders, impossible.served), (2, 0));
    assert!(reason.contains("minimal? ( !lua !python )"), "{reason}");
}

#[test]
fn one_build_serves_wishes_that_agree_and_contradictions_take_two() {
    let demands =
        [demand(5, &["app-editors/vim[lua]"]), demand(4, &["app-editors/vim[python]"]), demand(3, &["app-editors/vim[minimal]"])];
    for (builds, served) in [(1, 3), (2, 5), (3, 9), (4, 12)] {
        let advice = asked(&demands, Some(builds), true);
        assert_eq!(advice.served, served, "lua and python draw in a build each that is not there: {advice}");
    }
    let without = asked(&demands, None, false);
    assert_eq!((without.served, without.cost.builds), (12, 2), "who asks for lua does not get a minimal one: {without}");
    let all = asked(&demands, None, true);
    assert_eq!(all.served, 12);
    assert_eq!(all.package_use.len(), 2, "two builds of one version come from two runs: {:?}", all.package_use);
}

#[test]
fn an_order_is_served_only_when_all_it_lacked_is_there() {
    let demands = [demand(9, &["app-editors/nano", "app-editors/vim[X]"]), demand(4, &["app-misc/absent"])];
    let advice = asked(&demands, Some(1), true);
    assert_eq!(advice.served, 0);
    let advice = asked(&demands, Some(3), true);
    assert_eq!((advice.served, advice.cost.builds), (9, 3), "nano needs sys-apps/file: {advice}");
    let absent = advice.packages.iter().find(|p| p.package.package == "app-misc/absent").unwrap();
    assert_eq!(absent.impossible[0].1, "the repository has no app-misc/absent");
    let unknown = asked(&demands, None, false);
    assert_eq!(unknown.served, 13, "without a repository nobody can say that it does not exist");
}

#[test]
fn unknown_flags_and_versions_are_said() {
    let advice = asked(&[demand(1, &["app-editors/vim[wings]"]), demand(1, &[">=app-editors/vim-10"])], None, true);
    let reasons: Vec<&str> = advice.packages[0].impossible.iter().map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(reasons, ["the repository has no >=app-editors/vim-10", "no version has the flag wings"]);
}

#[test]
fn the_words_the_json_and_the_picture() {
    let demands = [demand(12, &["app-editors/vim[X]"]), demand(7, &["net-misc/curl[http2]"]), demand(2, &["app-misc/absent"])];
    let advice = asked(&demands, Some(1), true);
    assert_eq!(
        advice.to_string(),
        "\
With 1 build more, 19 of 21 orders that lacked something would have been served, by 1 build (1.9 MiB). No other choice serves more.

app-editors/vim: lacked by 12 orders
  12 orders asked for app-editors/vim[X]
  2. build =app-editors/vim-9.1 once more with X; it meets what 12 orders asked of the package; some 1.9 MiB; it draws in \
x11-libs/libX11-1.8.tbz2, x11-libs/libxcb-1.15.tbz2 (1.1 MiB)

net-misc/curl: lacked by 7 orders
  7 orders asked for net-misc/curl[http2]
  1. set http2 in =net-misc/curl-8.5; it meets what 7 orders asked of the package; some 390 KiB; it draws in nothing more

app-misc/absent: lacked by 2 orders
  2 orders asked for app-misc/absent
  not to be had: app-misc/absent: the repository has no app-misc/absent

# For the builds there are, and new ones.
=net-misc/curl-8.5 http2

# For second builds, run 1 of its own, with FEATURES=binpkg-multi-instance.
=app-editors/vim-9.1 X
"
    );
    let json = serde_json::to_value(&advice).unwrap();
    assert_eq!((json["served"].as_u64(), json["packages"][0]["package"].as_str()), (Some(19), Some("app-editors/vim")));
    let picture = svg(&advice, str::to_owned);
    assert!(picture.starts_with("<svg") && picture.contains("19 of 21 orders") && !picture.contains("style="), "{picture}");
    assert_eq!(advice.curve.last().map(|p| p.served), Some(19));
}
