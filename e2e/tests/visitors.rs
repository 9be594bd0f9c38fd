//! Two people order at once: one on a phone and without JavaScript, one at a desk. Each step is reloaded and gone back from, and the site is
//! killed and started again while a page is open. What is downloaded was sent by hand; `whole.rs` has an image built.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::browser::Browser;
use e2e::hand::{Hand, IMAGE};
use e2e::site::Site;
use e2e::{wait_for, workspace};

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
    fn downloads(&self, dir: &Path) {
        let folder = dir.join(self.name);
        std::fs::create_dir(&folder).expect("a folder");
        self.browser.download_to(&folder);
        self.browser.click("a[href*='/artifacts/'][href$='.zip']");
        wait_for("the download", LIMIT, || {
            let files = std::fs::read_dir(&folder).expect("the folder").flatten();
            files.map(|file| file.path()).find(|path| path.extension().is_some_and(|ending| ending == "zip"))
        });
        let file = std::fs::read_dir(&folder).expect("the folder").flatten().next().expect("the file").path();
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
    phone.downloads(dir.path());

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
    desk.downloads(dir.path());
    desk.browser.back();
    desk.sees("#order-now");
    desk.browser.forward();
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
