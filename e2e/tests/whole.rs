//! The whole way, as a person goes it: order in a browser, wait, get a mail, download, boot, log in.

use std::path::Path;
use std::time::Duration;

use e2e::browser::Browser;
use e2e::mail::MailServer;
use e2e::qemu::{self, Firmware, Machine, Medium, enlarged, several_at_once};
use e2e::site::Site;
use e2e::{user, wait_for, workspace};
use serde_json::{Value, json};

const PASSWORD: &str = "correct horse battery";
const BUILD_LIMIT: Duration = Duration::from_secs(1_500);

#[test]
fn an_order_in_the_browser_becomes_an_image_that_boots() {
    let dir = tempfile::tempdir().expect("a folder");
    let pictures = workspace().join("target/e2e-pictures");
    std::fs::create_dir_all(&pictures).expect("a folder for pictures");
    let Some(mail) = MailServer::start(dir.path()) else { return };
    if !qemu::is_there() {
        return;
    }
    let site_dir = dir.path().join("site");
    std::fs::create_dir(&site_dir).expect("a folder");
    allow_others_in(dir.path());
    let site = Site::start(
        &site_dir,
        &format!(
            "boot_gate = true\n[mail]\nhost = \"127.0.0.1\"\nport = {}\nfrom = \"Hatchery <hatchery@localhost>\"\nconfirm = false\n",
            mail.port
        ),
    );
    let Some(browser) = Browser::start(dir.path()) else { return };

    let page = order_in_browser(&browser, &site, &pictures);
    the_browser_shows_a_push(&browser, &site);
    let status = wait_in_browser(&browser, &site, &page, &pictures);
    the_mail_arrives(&mail, &page);
    the_images_were_started(&site, &page, &status, &pictures);
    let iso = download_in_two_parts(&site, &page, &status, dir.path());
    the_lock_names_every_package(&site, &page);

    let disk = dir.path().join("image.qcow2");
    std::fs::write(&disk, site.download(&address_of(&page, &status, ".qcow2"), 0).1).expect("room for the disk");
    let disk = enlarged(&disk, "qcow2");
    // The site has started the ISO as a CD, the disks and the network's files; the stick is left, and a disk that was made larger. A stick by
    // UEFI is in `presets.rs`.
    let boots = [(&iso, Firmware::SeaBios, Medium::UsbStick), (&disk, Firmware::SeaBios, Medium::Disk("qcow2"))];
    several_at_once(&boots, 2, |&(image, firmware, medium)| {
        let mut machine = Machine::boot(image, firmware, medium).expect("the site had QEMU");
        let marker = machine.expect("HATCHERY-READY", 0);
        match medium {
            Medium::Disk(_) => the_root_has_grown(&mut machine, marker),
            Medium::Cd | Medium::UsbStick | Medium::Network => look_around(&mut machine, marker, &pictures),
        }
    });
}

/// Every image that starts by itself was started before it was given out, and what it said and showed is there.
fn the_images_were_started(site: &Site, page: &str, status: &Value, pictures: &Path) {
    let documents = status["documents"].as_array().expect("documents");
    let of = |kind: &str| -> Vec<&Value> { documents.iter().filter(|d| d["kind"] == kind).collect() };
    let mut about: Vec<&str> = of("boot-log").iter().filter_map(|d| d["about"].as_str()).collect();
    about.sort_unstable();
    let expected = ["img.gz with SeaBIOS", "iso with OVMF", "iso with SeaBIOS", "netboot with SeaBIOS", "qcow2 with OVMF"];
    assert_eq!(about, expected);
    for log in of("boot-log") {
        let (_, bytes) = site.download(log["url"].as_str().expect("an address"), 0);
        assert!(String::from_utf8_lossy(&bytes).contains("HATCHERY-READY"), "{log}");
    }
    assert_eq!(of("boot-screen").len(), expected.len());
    for screen in of("boot-screen") {
        let name = screen["name"].as_str().expect("a name");
        let (_, bytes) = site.download(screen["url"].as_str().expect("an address"), 0);
        assert!(bytes.starts_with(b"\x89PNG"), "{name} is no picture");
        std::fs::write(pictures.join(name), bytes).expect("room for a picture");
    }
    let text = site.text(page);
    assert!(text.contains("iso with OVMF") && text.contains(".png\""), "the page shows the screens: {text}");
}

/// The test's folder is private to root; the ordinary user must get to its part of it.
fn allow_others_in(dir: &Path) {
    std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("permissions can be set");
    user::give(&dir.join("site"));
}

/// Fills in the form and sends it; returns the path of the order's page.
fn order_in_browser(browser: &Browser, site: &Site, pictures: &Path) -> String {
    browser.open(&site.url);
    browser.screenshot(&pictures.join("order-form.png"));
    assert!(browser.text().contains("unofficial"), "the page must say what it is: {}", browser.text());
    browser.click("input[name=preset][value=amd64-server]");
    unfold(browser);
    browser.type_into("#packages", "app-editors/vim-nonsense");
    browser.type_into("#hostname", "larry");
    browser.type_into("#root_password", PASSWORD);
    browser.type_into("#root_password_again", PASSWORD);
    browser.type_into("#keymap", "de");
    browser.type_into("#locale", "de_DE.UTF-8");
    browser.type_into("#timezone", "Europe/Berlin");
    browser.type_into("#user_name", "ada");
    browser.type_into("#user_groups", "wheel");
    browser.click("input[name=user_password_of_root]");
    browser.type_into("#network_addresses", "10.0.2.77/24");
    browser.type_into("#network_gateways", "10.0.2.2");
    browser.type_into("#network_dns", "10.0.2.3");
    browser.type_into("#locales", "fr_FR.UTF-8");
    browser.type_into("#install_mask", "/usr/share/doc *.la");
    browser.type_into("#kernel_cmdline", "hatchery.test=own-word");
    browser.type_into("#fstab", "tmpfs /srv/scratch tmpfs size=1M 0 0");
    browser.type_into("#first_boot", "echo it-ran-$((6*7)); date +%Z > /etc/zone-seen");
    browser.type_into("#email", "larry@example.org");
    for format in ["iso", "tar.bz2", "zip", "qcow2", "img.gz", "netboot"] {
        let chosen = browser.script(&format!("return document.querySelector('input[name=formats][value=\"{format}\"]').checked"));
        if chosen != Value::Bool(true) {
            browser.click(&format!("input[name=formats][value=\"{format}\"]"));
        }
    }
    // First a mistake: it is said while it is typed, and again when it is sent; what was typed is kept.
    wait_for("the conflict", Duration::from_secs(60), || browser.has("#plan .conflict").then_some(()));
    browser.click("#order-now");
    wait_for("the explanation", Duration::from_secs(60), || browser.has(".panel.bad").then_some(()));
    let text = browser.text();
    assert!(text.contains("app-editors/vim-nonsense"), "{text}");
    browser.screenshot(&pictures.join("order-refused.png"));
    unfold(browser);
    assert_eq!(browser.script("return document.querySelector('#hostname').value"), "larry");
    browser.type_into("#packages", "app-editors/nano");
    // Passwords are not sent back to the browser, so they are typed again.
    browser.type_into("#root_password", PASSWORD);
    browser.type_into("#root_password_again", PASSWORD);
    wait_for("the plan", Duration::from_secs(60), || browser.has("#plan .sums-up").then_some(()));
    browser.click("#order-now");
    wait_for("the order's page", Duration::from_secs(60), || Some(browser.address()).filter(|a| a.contains("/orders/")));
    let address = browser.address();
    address.strip_prefix(&site.url).unwrap_or(&address).to_owned()
}

/// Asks on the order's page to be told in this browser, and has it get what a push service would bring. A real one cannot be reached from
/// here, so the subscription is made up; asking the site, the worker and the notice are the browser's own.
fn the_browser_shows_a_push(browser: &Browser, site: &Site) {
    let origin = json!({ "origin": site.url, "permissions": ["notifications"] });
    browser.devtools("Browser.grantPermissions", &origin);
    browser.script(
        "PushManager.prototype.subscribe = async ({ applicationServerKey }) => {
           const p256dh = btoa(String.fromCharCode(...applicationServerKey)).replaceAll('+', '-').replaceAll('/', '_').replaceAll('=', '');
           return { endpoint: 'https://push.invalid/1', keys: { p256dh, auth: 'AAAAAAAAAAAAAAAAAAAAAA' } };
         }",
    );
    browser.click("[data-push]");
    wait_for("the site to take the browser's word", Duration::from_secs(30), || {
        Some(browser.text()).filter(|text| text.contains("This browser will tell you"))
    });
    browser.devtools("ServiceWorker.enable", &json!({}));
    let told = json!({ "title": "an image", "text": "It is ready to be downloaded.", "url": "/orders/x" }).to_string();
    let message = json!({ "origin": site.url, "registrationId": "0", "data": told });
    let shown = "return navigator.serviceWorker.ready.then((r) => r.getNotifications()).then((all) => all.map((n) => `${n.title}|${n.body}|${n.data}`))";
    // What is delivered while the service worker starts may be lost; notices of one order replace each other.
    let shown = wait_for("the notice to be shown", Duration::from_secs(30), || {
        browser.devtools("ServiceWorker.deliverPushMessage", &message);
        Some(browser.script(shown)).filter(|s| s[0].is_string())
    });
    assert_eq!(shown, json!(["an image|It is ready to be downloaded.|/orders/x"]));
}

/// Opens all steps of the order form.
fn unfold(browser: &Browser) {
    browser.script("document.querySelectorAll('details').forEach((details) => { details.open = true; })");
}

/// Watches the live page until the image is ready; it must show it without being reloaded.
fn wait_in_browser(browser: &Browser, site: &Site, page: &str, pictures: &Path) -> Value {
    let id = page.trim_start_matches("/orders/");
    wait_for("the build to begin", Duration::from_secs(60), || {
        Some(site.json(&format!("/api/v1/orders/{id}"))).filter(|s| s["state"] != "waiting")
    });
    browser.screenshot(&pictures.join("order-building.png"));
    let status = site.wait(id, "ready", BUILD_LIMIT);
    wait_for("the live page to show the download", Duration::from_secs(30), || {
        browser.has("a[href*='/artifacts/']").then_some(())
    });
    browser.screenshot(&pictures.join("order-ready.png"));
    let text = browser.text();
    assert!(text.contains(".iso") && text.contains(".tar.bz2") && text.contains(".zip"), "{text}");
    assert!(!text.contains(PASSWORD) && !text.contains("$6$"), "a secret is on the page");
    assert!(!site.log().contains(PASSWORD) && !site.log().contains("$6$"), "a secret is in the log");
    status
}

fn the_mail_arrives(mail: &MailServer, page: &str) {
    let mails = wait_for("the mail", Duration::from_secs(60), || Some(mail.mails()).filter(|m| !m.is_empty()));
    assert!(mails.iter().any(|m| m.contains("larry@example.org") && m.replace("=\n", "").contains(page)), "{mails:?}");
}

/// Downloads the ISO as a broken-off download goes on: the beginning, then the rest by a range request.
fn download_in_two_parts(site: &Site, page: &str, status: &Value, dir: &Path) -> std::path::PathBuf {
    let iso = artifact(status, ".iso");
    let url = address_of(page, status, ".iso");
    let (_, whole) = site.download(&url, 0);
    let (code, tail) = site.download(&url, 1_000_000);
    assert_eq!(code, 206, "a range is answered as one");
    assert_eq!(whole.len() as u64, iso["size"].as_u64().expect("a size"));
    assert!(whole[1_000_000..] == tail[..], "the range is the file's end");
    let path = dir.join("image.iso");
    std::fs::write(&path, &whole).expect("room for the ISO");
    let output = std::process::Command::new("sha256sum").arg(&path).output().expect("sha256sum runs");
    assert!(String::from_utf8_lossy(&output.stdout).starts_with(iso["sha256"].as_str().expect("a checksum")));
    path
}

/// The artifact whose name ends so.
fn artifact<'a>(status: &'a Value, ending: &str) -> &'a Value {
    let artifacts = status["artifacts"].as_array().expect("artifacts");
    artifacts.iter().find(|a| a["name"].as_str().is_some_and(|n| n.ends_with(ending))).expect("the artifact")
}

fn address_of(page: &str, status: &Value, ending: &str) -> String {
    format!("/api/v1{page}/artifacts/{}", artifact(status, ending)["name"].as_str().expect("a name"))
}

fn the_lock_names_every_package(site: &Site, page: &str) {
    let plan = site.json(&format!("/api/v1{page}/plan"));
    let packages = plan["packages"].as_array().expect("packages");
    assert!(packages.len() > 40, "a server has more than {} packages", packages.len());
    for package in packages {
        assert!(package["sha256"].as_str().is_some_and(|s| s.len() == 64), "not locked: {package}");
        assert!(package["because"].as_array().is_some_and(|b| !b.is_empty()), "no reason: {package}");
    }
}

/// Logs in and checks that the root fills the larger disk, and that the table of its partitions is in order.
fn the_root_has_grown(machine: &mut Machine, from: usize) {
    machine.log_in(PASSWORD, from);
    machine.has_a_root_of(38..=40);
    let table = machine.run("sfdisk --verify /dev/vda");
    assert!(table.contains("No errors detected"), "{table}");
    assert!(machine.run("mount | grep ' / '").contains("ext4"));
}

/// Logs in and checks that the system is what was ordered.
fn look_around(machine: &mut Machine, from: usize, pictures: &Path) {
    machine.screenshot(&pictures.join("boot-screen.png"));
    machine.log_in(PASSWORD, from);
    machine.expect("wait here for the login", 0);
    let name = machine.run("uname -n");
    assert!(name.contains("larry"), "{name}");
    assert!(machine.run("ls -d /var/db/pkg/app-editors/nano-*").contains("/var/db/pkg/app-editors/nano-"));
    let services = machine.run("rc-status default");
    assert!(services.contains("sshd") && services.contains("started"), "{services}");
    let answer = machine.run("curl -sS -o /dev/null -w 'code-%{http_code}' http://127.0.0.1/");
    assert!(answer.contains("code-200"), "the web server answers: {answer}");
    assert!(machine.run("touch /etc/written && echo writable").contains("writable"));
    assert!(machine.run("cat /usr/share/hatchery-sample/README").contains("Debian"));
    // What INSTALL_MASK names is left out; a neighbour of it is there.
    assert!(machine.run("test -e /usr/share/doc/nano || echo left-out").contains("left-out"));
    assert!(machine.run("ls /usr/share/nano").contains("c.nanorc"));
    the_settings_are_in_force(machine);
}

/// What was ordered beyond the host's name and a password.
fn the_settings_are_in_force(machine: &mut Machine) {
    let mut says = |command: &str, expected: &str| {
        let said = machine.run(command);
        assert!(said.contains(expected), "{command}: {said}");
    };
    says("ip -4 -o addr show scope global", "inet 10.0.2.77/24");
    says("ip route show default", "default via 10.0.2.2");
    says("cat /etc/resolv.conf", "nameserver 10.0.2.3");
    says("id ada", "(wheel)");
    says("cut -d: -f1,2 /etc/shadow | tail -n 1", "ada:$6$");
    says("locale -a", "de_DE.utf8");
    says("locale -a", "fr_FR.utf8");
    says("bash -lc 'echo $LANG'", "de_DE.UTF-8");
    says("bash -lc 'locale -k LC_TIME | grep ^day='", "Montag");
    // Keycode 21 is Y on an American keyboard and Z on a German one.
    says("dumpkeys -n </dev/tty0 | grep -m1 'keycode  *21 ='", "7a");
    says("cat /proc/cmdline", "hatchery.test=own-word");
    says("grep ' /srv/scratch ' /proc/mounts", "tmpfs");
    says("cat /var/log/hatchery-first-boot.log", "it-ran-42");
    says("cat /var/log/hatchery-first-boot.log", "ended with status 0");
    says("cat /etc/zone-seen", "CE");
    says("ls /etc/ssh", "ssh_host_ed25519_key");
}
