//! The order form without JavaScript, and the parts of it that the script asks for.

use contract::{Format, Order};

use crate::common::{Setup, Site, content, folder, wait_until};

const FORM: [(&str, &str); 5] =
    [("token", "0123456789abcdef"), ("preset", "small"), ("packages", "dev-vcs/git"), ("formats", "zip"), ("hostname", "egg")];

/// All that a browser fetches for the first page.
#[test]
fn the_first_page_is_light_and_shows_what_the_preset_comes_to() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let page = site.get("/").text();
    let mut total = page.len();
    for link in page.split(['"']).filter(|text| text.starts_with("/assets/")).collect::<std::collections::BTreeSet<_>>() {
        let asset = site.get(link);
        assert_eq!(asset.status, 200, "{link}");
        total += asset.body.len();
    }
    assert!(total < 60_000, "{total} bytes");
    assert!(!page.contains("src=\"http") && !page.contains("href=\"http"), "nothing is fetched from elsewhere");
    assert!(page.contains("1 package · 1.0 kB of package files") && page.contains("made in "), "{page}");
    let page = site.get("/?preset=small&formats=zip").text();
    assert!(page.contains("1 package, 1.0 kB") && page.contains("no worker is connected"), "{page}");
    site.stop();
}

#[test]
fn a_preset_that_is_kept_warm_is_chosen_and_ready_now() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &Setup { top: "warm = ['small']".into(), ..Setup::default() });
    let mut lease = None;
    wait_until("it is built ahead", || {
        lease = site.lease();
        lease.is_some()
    });
    site.build(&lease.unwrap());
    let page = site.get("/").text();
    assert!(
        page.contains("Small <span class=\"tag good\">ready now</span>") && page.contains("the download can begin at once"),
        "{page}"
    );
    // With a password it is another image, which has to be made.
    let parts = |fields: &[(&str, &str)]| site.form_to("/orders/parts", fields).text();
    let plain = [("preset", "small"), ("formats", "zip")];
    let size = format!("{:.1} kB", content(Format::Zip).len() as f64 / 1_000.0);
    let ready = parts(&plain);
    assert!(ready.contains("ready now") && ready.contains(&format!("zip {size}<")), "{ready}");
    let other = parts(&[plain[0], plain[1], ("had_password", "1")]);
    assert!(!other.contains("ready now") && other.contains(&format!("zip about {size}<")), "as large as what was made: {other}");
    site.stop();
}

#[test]
fn what_is_in_the_way_is_said_with_a_button_that_mends_it() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let shown = |path: &str, fields: &[(&str, &str)]| {
        let answer = site.form_to(path, fields);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    };
    for path in ["/orders/form", "/orders/parts"] {
        let page = shown(path, &[("preset", "small"), ("formats", "zip"), ("packages", "app-editors/vin\napp-editors/vim[X]")]);
        for words in [
            "No binhost has app-editors/vin",
            "name=\"take\" value=\"app-editors/vin app-editors/vim\"",
            "name=\"remove\" value=\"app-editors/vin\"",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
        let page = shown(path, &[("preset", "small"), ("packages", "app-editors/vim")]);
        assert!(page.contains("name=\"set\" value=\"formats=iso\""), "{page}");
        // The button does it, and the page shows what it comes to.
        let page = shown(path, &[("preset", "small"), ("packages", "app-editors/vim"), ("set", "formats=zip")]);
        assert!(page.contains("2 packages, "), "{page}");
        let fields = [("preset", "small"), ("formats", "zip"), ("packages", "nonsense dev-vcs/git"), ("remove", "nonsense")];
        assert!(shown(path, &fields).contains("\ndev-vcs/git</textarea>"));
    }
    assert!(site.lease().is_none(), "nothing was ordered");
    site.stop();
}

#[test]
fn an_image_that_lets_nobody_in_is_told_of_before_it_is_ordered() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let is_told = |more: (&str, &str)| {
        let fields = [("preset", ""), ("packages", "sys-kernel/kernel"), ("formats", "iso"), ("formats", "zip"), more];
        let page = site.form_to("/orders/parts", &fields).text();
        assert!(page.contains("Package files"), "it has a plan: {page}");
        page.contains("nobody can log in, unless")
    };
    assert!(is_told(("hostname", "egg")));
    assert!(!is_told(("had_password", "1")));
    assert!(!is_told((
        "ssh_keys",
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKHEChOOBxyxBzeEfAMsbnyA4eLR4WYOhBmUFbWuZYlm ada@example"
    )));
    let page = site.form_to("/orders/parts", &[("preset", "small"), ("formats", "zip")]).text();
    assert!(!page.contains("nobody can log in, unless"), "an archive does not start: {page}");
    site.stop();
}

#[test]
fn a_preset_whose_channel_cannot_be_read_says_so_and_is_offered_no_channel_that_it_is_not_for() {
    let (_dir, path) = folder();
    std::fs::create_dir_all(path.join("presets")).unwrap();
    let preset = "name='far'\ntitle='Far'\narch='amd64'\ndescription='.'\npackages=['app-shells/bash']\nchannels=['gone']\n";
    std::fs::write(path.join("presets/far.toml"), format!("{preset}formats=['zip']\n")).unwrap();
    let gone = "[[channel]]\nname='gone'\ntitle='Gone'\narch='amd64'\n[[channel.binhost]]\nname='gone'\nuri='file:///nowhere'\n";
    let tables = format!("{gone}allow_unsigned = true\n");
    let site = Site::start_with(&path, &Setup { tables, ..Setup::default() });
    wait_until("both channels were tried", || {
        let page = site.get("/").text();
        page.contains("not available now: the channel “Gone” cannot be read") && page.contains("tag good\">")
    });
    let of_preset = [("preset", "far"), ("formats", "zip")];
    let page = site.form_to("/orders/parts", &of_preset).text();
    assert!(page.contains("cannot be read now") && !page.contains("Order from") && !page.contains("works; order"), "{page}");
    // Packages of one's own may come from any channel.
    let page = site.form_to("/orders/parts", &[("packages", "app-shells/bash"), ("channel", "gone"), ("formats", "zip")]).text();
    assert!(page.contains("Order from Test") && page.contains("works; order"), "{page}");
    site.stop();
}

#[test]
fn a_password_sent_to_a_preview_is_dropped_and_asked_for_again() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let mut fields = FORM.to_vec();
    fields.extend([("root_password", "hunter2"), ("root_password_again", "hunter2")]);
    let page = site.form_to("/orders/form", &fields).text();
    assert!(!page.contains("hunter2") && page.contains("name=\"had_password\""), "{page}");
    let mut sent = FORM.to_vec();
    sent.push(("had_password", "1"));
    let answer = site.form(&sent);
    assert_eq!(answer.status, 422);
    assert!(answer.text().contains("type the password once more") && !answer.text().contains("name=\"had_password\""));
    assert_eq!(site.form(&FORM).status, 303, "said once is enough");
    site.stop();
}

#[test]
fn packages_are_found_with_their_flags_and_one_click_adds_them() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let mut looked = FORM.to_vec();
    looked.push(("search", "improved"));
    for path in ["/orders/form", "/orders/hits"] {
        let page = site.form_to(path, &looked).text();
        for words in [
            "Vi IMproved",
            "9.0.1503",
            "GPL-2",
            "name=\"add\" value=\"app-editors/vim\"",
            "value=\"app-editors/vim[X]\"",
            "+python",
        ] {
            assert!(page.contains(words), "{words}: {page}");
        }
    }
    let page = site.form_to("/orders/hits", &[("preset", "small"), ("category", "dev-vcs")]).text();
    assert!(page.contains("dev-vcs/git") && !page.contains("vim"), "{page}");
    assert!(site.form_to("/orders/hits", &[("search", "zzzz")]).text().contains("Nothing fits"));
    let mut added = FORM.to_vec();
    added.push(("add", "app-editors/vim[-python]"));
    let page = site.form_to("/orders/form", &added).text();
    assert!(page.contains("dev-vcs/git\napp-editors/vim[-python]</textarea>"), "{page}");
    assert!(page.contains("aria-label=\"Leave out app-editors/vim[-python]\""), "{page}");
    site.stop();
}

#[test]
fn an_order_goes_into_a_file_and_a_link_and_comes_back() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let mut fields = FORM.to_vec();
    fields.extend([
        ("root_password", "hunter2"),
        ("root_password_again", "hunter2"),
        ("email", "a@example.org"),
        ("first_boot", "echo hi"),
    ]);
    let file = site.form_to("/orders/file", &fields);
    assert!(file.header("content-disposition").contains("small.toml"), "{:?}", file.headers);
    let text = file.text();
    let order = Order::from_toml(&text).unwrap();
    assert_eq!((order.system.hostname.as_deref(), order.system.first_boot.as_deref()), (Some("egg"), Some("echo hi")));
    assert!(!text.contains("hunter2") && !text.contains("$6$") && !text.contains("example.org"), "{text}");
    let page = site.form_with_file("/orders/form", &[("token", FORM[0].1)], ("file", "mine.toml", &text)).text();
    for words in [
        "The order of mine.toml is filled in",
        "value=\"egg\"",
        "value=\"small\" data-formats=\"zip\" checked",
        "\ndev-vcs/git</textarea>",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let (_, link) = page.split_once("<a href=\"/?preset=").unwrap();
    let link = format!("/?preset={}", link.split_once('"').unwrap().0.replace("&amp;", "&").replace("&#38;", "&"));
    let again = site.get(&link).text();
    assert!(
        again.contains("value=\"egg\"") && again.contains("\ndev-vcs/git</textarea>") && !again.contains("echo hi"),
        "{link}"
    );
    site.stop();
}

#[test]
fn lists_are_taken_over_and_what_is_not_is_listed() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let import = |name: &str, text: &str| site.form_with_file("/orders/form", &FORM, ("file", name, text)).text();
    let page = import("world", "app-editors/vim\n=app-shells/bash-4.0\nsys-fs/zfs\nnet-misc/openssh-9.3_p2\n!!\n@nothing\n");
    for words in [
        "3 packages of world were added",
        "dev-vcs/git\napp-editors/vim\napp-shells/bash\n=net-misc/openssh-9.3_p2</textarea>",
        "=app-shells/bash-4.0 is not there so; instead app-shells/bash is asked for, which gets version 5.2_p15",
        "sys-fs/zfs is not in this channel",
        "@nothing is not in this channel",
        "!! is not the name of a package",
        "value=\"egg\"",
    ] {
        assert!(page.contains(words), "{words}: {page}");
    }
    assert!(import("stage4.tar", "ustar\0\0").contains("/var/lib/portage/world"));
    assert!(import("bad.toml", "arch = 1").contains("It is not an order"));
    let lock = r#"{"version": 1, "arch": "amd64", "channel": "main", "chost": "x", "binhosts": [], "packages": [],
                   "services": ["sshd"], "world": ["app-editors/vim"]}"#;
    let page = import("egg.plan.json", lock);
    assert!(page.contains("1 package of egg.plan.json was added") && page.contains("hatchery build order.toml --lock"), "{page}");
    assert!(page.contains("\napp-editors/vim</textarea>") && page.contains("value=\"sshd\""), "{page}");
    let page = import(
        "order.json",
        r#"{"arch": "amd64", "formats": ["zip"], "packages": ["dev-vcs/git"], "system": {"hostname": "json"}}"#,
    );
    assert!(page.contains("The order of order.json is filled in") && page.contains("value=\"json\""), "{page}");
    assert!(import("other.json", "{\"a\": 1}").contains("It is not an order"));
    let page = import(
        "order.toml",
        "arch='amd64'\npreset='small'\nformats=['zip']\n[system]\nroot_password_hash='$6$saltsalt$hash0000'\n",
    );
    assert!(page.contains("Passwords: type one below") && !page.contains("$6$"), "{page}");
    // A file that was chosen is looked at before anything is ordered.
    let answer = site.form_with_file("/orders", &FORM, ("file", "world", "app-editors/vim\n"));
    assert_eq!(answer.status, 200);
    assert!(site.lease().is_none());
    site.stop();
}

#[test]
fn keys_come_as_files_and_private_ones_are_refused() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let key = "ssh-ed25519 AAAAC3Nz me@example\n";
    let answer = site.form_with_file("/orders", &FORM, ("ssh_key_file", "id.pub", key));
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(site.lease().unwrap().job.system.root_ssh_keys, [key.trim()]);
    let private = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz\n";
    let answer = site.form_with_file("/orders", &FORM, ("ssh_key_file", "id", private));
    assert_eq!(answer.status, 200);
    let page = answer.text();
    assert!(page.contains("must not leave your machine") && !page.contains("b3BlbnNz"), "{page}");
    // A form that broke off, and one that is none.
    let broken = site.post("/orders", "multipart/form-data; boundary=b0undary", "--b0undary\r\nContent-Disp");
    assert_eq!(broken.status, 400);
    assert_eq!(site.post("/orders/parts", "text/plain", "x").status, 415);
    site.stop();
}
