//! Two people order at once: one on a phone and without JavaScript, one at a desk. Each step is reloaded and gone back from, and the site is
//! killed and started again while a page is open. What is downloaded was sent by hand; `whole.rs` has an image built. And every page is
//! looked at for everybody.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::access::{ENTER, TAB, UP, english, focus_is, nameless, tab_to};
use e2e::browser::{Browser, axe_core};
use e2e::hand::{Hand, IMAGE};
use e2e::site::Site;
use e2e::{wait_for, workspace};
use serde_json::json;

const LIMIT: Duration = Duration::from_secs(60);

struct Visitor {
    browser: Browser,
    pictures: PathBuf,
    name: &'static str,
}

impl Visitor {
    fn picture(&self, step: &str) {
        self.browser.screenshot(&self.pictures.join(format!("{}-{step}.png", self.name)));
    }

    fn sees(&self, css: &str) {
        wait_for(&format!("{css} on the page of the {}", self.name), LIMIT, || self.browser.has(css).then_some(()));
    }

    fn reads(&self, text: &str) {
        let read = || self.browser.text().contains(text).then_some(());
        wait_for(&format!("“{text}” on the page of the {}", self.name), LIMIT, read);
    }

    fn value_of(&self, id: &str) -> String {
        let value = self.browser.script(&format!("return document.getElementById('{id}').value"));
        value.as_str().unwrap_or_default().to_owned()
    }

    /// Chooses zip and nothing else.
    fn wants_a_zip(&self) {
        for format in ["input[name=formats]:checked:not([value=zip])", "input[name=formats][value=zip]:not(:checked)"] {
            while self.browser.has(format) {
                self.browser.click(format);
            }
        }
    }

    /// Downloads the image by its link, and looks whether it is what was sent.
    fn downloads(&self, folder: &Path) {
        std::fs::create_dir(folder).expect("a folder");
        self.browser.download_to(folder);
        self.browser.click("a[href*='/artifacts/'][href$='.zip']");
        wait_for("the download", LIMIT, || {
            let files = std::fs::read_dir(folder).expect("the folder").flatten();
            files.map(|file| file.path()).find(|path| path.extension().is_some_and(|ending| ending == "zip"))
        });
        let file = std::fs::read_dir(folder).expect("the folder").flatten().next().expect("the file").path();
        assert_eq!(std::fs::read(file).expect("it can be read"), IMAGE);
    }
}

#[test]
fn two_order_at_once_one_without_javascript_and_the_site_starts_again() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let site_dir = dir.path().join("site");
    std::fs::create_dir(&site_dir).expect("a folder");
    let mut site = Site::without_worker(&site_dir, "lease_ttl_seconds = 120");
    let pictures = workspace().join("target/e2e-pictures");
    std::fs::create_dir_all(&pictures).expect("a folder for pictures");
    let Some(browser) = Browser::without_javascript(dir.path()) else { return };
    browser.set_width(390);
    let phone = Visitor { browser, pictures: pictures.clone(), name: "phone" };
    let Some(browser) = Browser::start(dir.path()) else { return };
    let desk = Visitor { browser, pictures, name: "desk" };

    phone_orders(&phone, &site);
    desk_orders(&desk, &site);
    assert_eq!(site.json("/api/v1/queue")["waiting"], 2, "what was sent twice is ordered once");

    let hand = Hand::new(&site, &site_dir);
    let (first, second) = (hand.lease(), hand.lease());
    hand.tells(&first);
    // Without a script the page loads itself anew.
    phone.reads("Your image is being built");
    phone.picture("building");
    hand.is_ready(&first);
    phone.reads("Your image is ready");
    phone.picture("ready");
    phone.downloads(&dir.path().join("phone"));

    desk.reads("Your image is being built");
    // The page is not loaded anew: it goes on by itself with what is told after the site has started again.
    desk.browser.script("window.wasHere = true");
    site.kill();
    site.resume();
    let hand = Hand::new(&site, &site_dir);
    hand.tells(&second);
    desk.reads("sys-apps/coreutils-9.1");
    assert_eq!(desk.browser.script("return window.wasHere"), true);
    desk.picture("building-after-restart");
    hand.is_ready(&second);
    desk.reads("Your image is ready");
    desk.browser.reload();
    desk.picture("ready");
    desk.downloads(&dir.path().join("desk"));
    desk.browser.back();
    desk.sees("#order-now");
    desk.browser.forward();
    desk.reads("Your image is ready");

    // A newcomer whose image is there already has it with two clicks.
    desk.browser.open(&format!("{}/?preset=&packages=app-editors%2Fnano&formats=zip", site.url));
    desk.sees("#plan .tag.good");
    desk.picture("at-hand");
    desk.browser.click("#order-now");
    desk.reads("Your image is ready");
    desk.downloads(&dir.path().join("newcomer"));
}

#[test]
fn a_page_that_gets_no_stream_asks_for_its_order() {
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let site = Site::without_worker(dir.path(), "lease_ttl_seconds = 120\n[limits]\nlive_pages = 0");
    let Some(browser) = Browser::start(dir.path()) else { return };
    let desk = Visitor { browser, pictures: workspace().join("target/e2e-pictures"), name: "desk" };
    let wish = json!({"arch": "amd64", "channel": "sample", "packages": ["app-editors/nano"], "formats": ["zip"]});
    let (code, placed) = site.order(&wish);
    assert_eq!(code, 201, "{placed}");
    desk.browser.open(&format!("{}/orders/{}", site.url, placed["id"].as_str().expect("an id")));
    let hand = Hand::new(&site, dir.path());
    let held = hand.lease();
    desk.reads("Your image is being built");
    desk.browser.script("window.wasHere = true");
    hand.tells(&held);
    desk.reads("sys-apps/coreutils-9.1");
    assert_eq!(desk.browser.script("return window.wasHere"), true, "the page was not loaded anew");
    hand.is_ready(&held);
    desk.reads("Your image is ready");
}

/// From the first page to the order's with nothing but links, fields and buttons.
fn phone_orders(phone: &Visitor, site: &Site) {
    let browser = &phone.browser;
    browser.open(&site.url);
    phone.picture("form");
    browser.click("input[name=preset][value='']");
    // What is folded unfolds without a script.
    browser.click("#step-packages details summary");
    browser.type_into("#packages", "app-editors/nano");
    browser.click("#step-formats > summary");
    phone.wants_a_zip();
    browser.click("#check");
    phone.sees("#plan .sums-up");
    phone.picture("plan");
    let address = browser.address();
    browser.reload();
    phone.sees("#plan .sums-up");
    assert_eq!(phone.value_of("packages").trim(), "app-editors/nano");
    browser.back();
    phone.sees("#order-now");
    browser.forward();
    phone.sees("#plan .sums-up");
    assert_eq!(browser.address(), address);
    browser.click("#order-now");
    phone.reads("Your order is in the queue");
    let order = browser.address();
    browser.reload();
    assert_eq!(browser.address(), order);
    phone.picture("waiting");
    // Whoever goes back and orders once more comes to the same order.
    browser.back();
    phone.sees("#order-now");
    browser.click("#order-now");
    phone.reads("Your order is in the queue");
    assert_eq!(browser.address(), order);
}

/// The same at a desk, where the plan is worked out while it is typed.
fn desk_orders(desk: &Visitor, site: &Site) {
    let browser = &desk.browser;
    browser.open(&site.url);
    browser.click("input[name=preset][value='']");
    browser.script("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
    browser.type_into("#packages", "app-editors/nano");
    browser.type_into("#hostname", "desk");
    desk.wants_a_zip();
    desk.sees("#plan .sums-up");
    browser.click("#order-now");
    desk.reads("Your order is in the queue");
    let order = browser.address();
    browser.back();
    desk.sees("#order-now");
    browser.forward();
    desk.reads("Your order is in the queue");
    assert_eq!(browser.address(), order);
    desk.picture("waiting");
}

/// Every kind of page, for those who see, hear and use pages differently: axe-core finds nothing against WCAG 2.2 AA, light and dark,
/// whatever is operated has a name, nothing has to be moved sideways on a phone, and German pages say nothing of ours in English. Their
/// pictures are kept, to be looked at. Then somebody orders with the keyboard alone.
#[test]
fn every_page_is_for_everybody() {
    let Some(axe) = axe_core() else { return };
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    let site_dir = dir.path().join("site");
    std::fs::create_dir(&site_dir).expect("a folder");
    let site = Site::without_worker(&site_dir, "");
    let Some(browser) = Browser::start(dir.path()) else { return };
    let pictures = workspace().join("target/e2e-pictures");
    std::fs::create_dir_all(&pictures).expect("a folder for pictures");
    // The first order takes the longest to plan; leases live for 5 seconds, so what is built is looked at first.
    let hand = Hand::new(&site, &site_dir);
    let order = |hostname: &str, packages: &[&str]| {
        let (code, placed) = site.order(&json!({
            "arch": "amd64", "channel": "sample", "packages": packages, "formats": ["zip"], "system": {"hostname": hostname},
        }));
        assert_eq!(code, 201, "{placed}");
        format!("/orders/{}", placed["id"].as_str().expect("an id"))
    };
    let ready = order("ready", &["@system", "app-editors/nano"]);
    let held = hand.lease();
    hand.tells(&held);
    hand.is_ready(&held);
    let failed = order("failed", &["@system", "app-editors/nano", "app-misc/tmux"]);
    hand.fails(&hand.lease());
    let waiting = order("waiting", &["@system"]);

    let look = |name: &str| {
        let mut found = Vec::new();
        for width in [1280, 360] {
            browser.set_width(width);
            let mut lines = browser.axe(&axe);
            let wide = browser.script("return document.documentElement.scrollWidth - document.documentElement.clientWidth");
            if wide != 0 {
                lines.push(format!("wider than the screen by {wide} pixels"));
            }
            lines.extend(nameless(&browser));
            if browser.has("html[lang=de]") {
                lines.extend(english(&browser));
            }
            found.extend(lines.into_iter().map(|line| format!("{name} at {width}: {line}")));
            browser.screenshot(&pictures.join(format!("{name}-{width}.png")));
        }
        found
    };
    let mut found = Vec::new();
    for shade in ["light", "dark"] {
        browser.open(&format!("{}/stats?look={shade}", site.url));
        let to = ready.trim_start_matches("/orders/");
        let difference = format!("{failed}/difference?to={to}");
        let packages = format!("{ready}/packages");
        let change = format!("{failed}/change");
        let pages = [
            ("form", "/"),
            ("waiting", &waiting),
            ("ready", &ready),
            ("failed", &failed),
            ("packages", &packages),
            ("difference", &difference),
            ("change", &change),
            ("queue", "/queue"),
            ("stats", "/stats"),
            ("log-in", "/log-in"),
            ("book", "/docs/formats"),
            ("operator-log-in", "/operator"),
            ("missing", "/orders/nothing"),
        ];
        for (name, path) in pages {
            browser.open(&format!("{}{path}", site.url));
            found.extend(look(&format!("{name}-{shade}")));
        }
    }
    browser.open(&format!("{}/?preset=&packages=app-editors%2Fno-such-editor&formats=zip&hostname=a&look=light", site.url));
    browser.click("#order-now");
    wait_for("the refusal", Duration::from_secs(30), || browser.has(".panel.bad").then_some(()));
    found.extend(look("refused"));
    browser.open(&format!("{}{failed}", site.url));
    browser.type_into("#words", "It worked last week.");
    browser.click("form[action$='/report'] button");
    found.extend(look("reported"));
    browser.open(&format!("{}/operator", site.url));
    let token = std::fs::read_to_string(site_dir.join("data/operator.token")).expect("the site has made a token");
    browser.type_into("#operator_token", token.trim());
    browser.click("form[action='/operator'] button");
    found.extend(look("operator"));
    browser.open(&format!("{}/operator/reports", site.url));
    assert!(browser.text().contains("It worked last week."), "{}", browser.text());
    found.extend(look("reports"));
    let held = hand.lease();
    hand.tells(&held);
    browser.open(&format!("{}{waiting}?language=de", site.url));
    assert!(browser.text().contains("Dein Abbild wird gebaut"), "{}", browser.text());
    // What is under way is said to those who hear the page.
    wait_for("the step to be told", Duration::from_secs(30), || {
        Some(browser.script("return document.querySelector('[role=status][data-told]').textContent"))
            .filter(|told| told == "Pakete einspielen: läuft")
    });
    found.extend(look("building-de"));
    let packages = format!("{ready}/packages");
    let difference = format!("{failed}/difference?to={}", ready.trim_start_matches("/orders/"));
    for (name, path) in [
        ("form-de", "/?look=light"),
        ("packages-de", &packages),
        ("failed-de", &failed),
        ("ready-de", &ready),
        ("difference-de", &difference),
        ("queue-de", "/queue"),
        ("stats-de", "/stats"),
        ("log-in-de", "/log-in"),
        ("missing-de", "/orders/nothing"),
    ] {
        browser.open(&format!("{}{path}", site.url));
        found.extend(look(name));
    }
    let no_plan = "/?preset=&packages=app-editors%2Fno-such-editor%0Aapp-editors%2Fvim%5Bno-such-flag%5D&formats=zip&hostname=a";
    browser.open(&format!("{}{no_plan}", site.url));
    wait_for("the conflict", Duration::from_secs(30), || browser.has("#plan .conflict").then_some(()));
    found.extend(look("no-plan-de"));
    assert!(found.is_empty(), "{}", found.join("\n"));
    browser.set_width(1280);
    the_keyboard_orders(&browser, &site);
    what_is_pressed_counts(&browser, &site);
}

/// From the first page to an order that is cancelled again, with nothing but keys. What is focused shows that it is, and stays focused, or
/// leads on, when a part of the page is replaced.
fn the_keyboard_orders(browser: &Browser, site: &Site) {
    browser.open(&format!("{}/?language=en", site.url));
    // The first stop leads past the menu.
    browser.press(TAB);
    focus_is(browser, "#main");
    browser.press(ENTER);
    let preset = browser.script("return document.querySelector('[name=preset]:checked').value");
    tab_to(browser, preset.as_str().expect("a preset is chosen"));
    // The arrow goes round the group, to its last.
    browser.press(UP);
    assert_eq!(browser.script("return document.querySelector('[name=preset]:checked').value"), "");
    tab_to(browser, "search");
    browser.press("nano");
    wait_for("what is found", LIMIT, || browser.has("#hits button[value='app-editors/nano']").then_some(()));
    tab_to(browser, "app-editors/nano");
    browser.press(ENTER);
    wait_for("the chip", LIMIT, || browser.has("#chips button").then_some(()));
    focus_is(browser, "app-editors/nano");
    browser.script("document.querySelector('#chips button').focus()");
    browser.press(ENTER);
    wait_for("the chip to go", LIMIT, || (!browser.has("#chips button")).then_some(()));
    focus_is(browser, "search");
    tab_to(browser, "app-editors/nano");
    browser.press(ENTER);
    wait_for("the plan", LIMIT, || browser.has("#chips button").then_some(()).filter(|()| browser.has("#plan .sums-up")));
    tab_to(browser, "order-now");
    browser.press(ENTER);
    wait_for("the order's page", LIMIT, || browser.address().contains("/orders/").then_some(()));
    tab_to(browser, "Cancel the order");
    browser.press(ENTER);
    wait_for("the end", LIMIT, || browser.text().contains("The order was cancelled").then_some(()));
}

/// Buttons that are pressed one right after the other all count, also when the order is sent at once, and when the script gets no answer.
fn what_is_pressed_counts(browser: &Browser, site: &Site) {
    let hit = |name: &str| format!("#hits button[value='app-editors/{name}']");
    let chip = |name: &str| browser.has(&format!("#chips button[value='app-editors/{name}']")).then_some(());
    let find = || {
        browser.open(&format!("{}/?preset=&formats=zip&hostname=quick&language=en", site.url));
        let tops = "return ['search', 'category'].map((name) => document.querySelector(`label[for=${name}]`).getBoundingClientRect().top)";
        let tops = browser.script(tops);
        assert_eq!(tops[0], tops[1], "the labels of the search are on one line");
        browser.type_into("#search", "app-editors");
        wait_for("what is found", LIMIT, || (browser.has(&hit("nano")) && browser.has(&hit("vim"))).then_some(()));
    };
    let press = |buttons: &[String]| {
        browser.script(&format!("for (const css of {}) document.querySelector(css).click()", json!(buttons)));
    };
    find();
    press(&[hit("nano"), hit("vim")]);
    wait_for("both chips", LIMIT, || chip("nano").and_then(|()| chip("vim")));
    find();
    press(&[hit("vim"), "#order-now".into()]);
    wait_for("the order's page", LIMIT, || browser.address().contains("/orders/").then_some(()));
    assert!(browser.text().contains("app-editors/vim"), "{}", browser.text());
    find();
    browser.devtools("Network.enable", &json!({}));
    browser.devtools("Network.setBlockedURLs", &json!({"urls": ["*/orders/parts"]}));
    press(&[hit("nano")]);
    wait_for("the page anew", LIMIT, || browser.address().ends_with("/orders/form").then_some(()));
    chip("nano").expect("what was pressed is chosen");
    browser.devtools("Network.setBlockedURLs", &json!({"urls": []}));
}
