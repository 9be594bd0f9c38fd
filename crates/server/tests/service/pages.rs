//! The pages as a browser without JavaScript uses them.

use contract::Format;

use crate::common::{Site, folder, order};

/// The form's hidden token.
fn token(page: &str) -> String {
    let (_, rest) = page.split_once("name=\"token\" value=\"").unwrap();
    rest.split_once('"').unwrap().0.to_owned()
}

#[test]
fn the_form_leads_to_the_orders_page() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let form = site.get("/");
    assert_eq!(form.status, 200);
    let page = form.text();
    assert!(page.len() < 60_000, "{}", page.len());
    assert!(page.contains("unofficial") && page.contains("This site sends no mail"), "{page}");
    let token = token(&page);
    let fields = [
        ("token", token.as_str()),
        ("preset", "small"),
        ("channel", "test"),
        ("packages", "dev-vcs/git # for work\n"),
        ("formats", "zip"),
        ("hostname", "egg"),
        ("root_password", "correct horse"),
        ("root_password_again", "correct horse"),
        ("ssh_keys", "ssh-ed25519 AAAAC3Nz me@example\n\n"),
        ("timezone", "UTC"),
    ];
    let answer = site.form(&fields);
    assert_eq!(answer.status, 303, "{}", answer.text());
    let location = answer.header("location").to_owned();
    assert_eq!(site.form(&fields).header("location"), location, "sent twice, ordered once");
    let changed: Vec<(&str, &str)> =
        fields.iter().map(|(name, value)| if *name == "hostname" { (*name, "other") } else { (*name, *value) }).collect();
    let other = site.form(&changed);
    assert_eq!(other.status, 303);
    assert_ne!(other.header("location"), location, "going back and changing something is another order");
    let page = site.get(&location).text();
    for words in ["Your order is in the queue", "hatchery-small-", "dev-vcs/git", "http-equiv=\"refresh\"", "Cancel the order"] {
        assert!(page.contains(words), "{words}: {page}");
    }
    let system = site.lease().unwrap().job.system;
    assert_eq!(system.hostname.as_deref(), Some("egg"));
    assert_eq!(system.root_ssh_keys, ["ssh-ed25519 AAAAC3Nz me@example"]);
    assert!(system.root_password_hash.unwrap().starts_with("$6$"));
    for file in std::fs::read_dir(path.join("data")).unwrap() {
        let file = file.unwrap().path();
        if file.is_file() {
            let bytes = std::fs::read(&file).unwrap();
            assert!(!bytes.windows(13).any(|w| w == b"correct horse"), "{} holds the password", file.display());
        }
    }
    assert_eq!(site.lease().unwrap().job.system.hostname.as_deref(), Some("other"));
    assert!(site.lease().is_none(), "one build for the form sent twice");
    site.stop();
}

#[test]
fn a_form_with_an_error_keeps_what_was_typed() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let wrong = |fields: &[(&str, &str)], words: &[&str]| {
        let mut all = vec![("preset", "small"), ("formats", "zip"), ("packages", "dev-vcs/git[<b>]")];
        all.extend_from_slice(fields);
        let answer = site.form(&all);
        assert_eq!(answer.status, 422);
        let page = answer.text();
        for word in words.iter().chain(&[
            "dev-vcs/git[&#60;b&#62;]",
            "value=\"small\" data-formats=\"zip\" checked",
            "value=\"zip\" checked",
        ]) {
            assert!(page.contains(word), "{word}: {page}");
        }
        assert!(!page.contains("hunter2"), "a password is never shown again");
    };
    wrong(&[("hostname", "not a name")], &["value=\"not a name\"", "id=\"hostname-error\"", "aria-invalid"]);
    wrong(&[("root_password", "hunter2"), ("root_password_again", "hunter3")], &["the two passwords differ"]);
    wrong(&[("timezone", "../etc")], &["name a time zone"]);
    wrong(&[("root_password", "hunter2"), ("root_password_again", "hunter2")], &["This order cannot be filled"]);
    assert!(site.lease().is_none());
    site.stop();
}

#[test]
fn a_link_fills_in_the_form() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let page = site.get("/?preset=&packages=app-editors%2Fvim&formats=iso&hostname=%22%3E%3Cscript%3E").text();
    assert!(page.contains("\napp-editors/vim</textarea>"), "{page}");
    assert!(!page.contains("<script>"), "what the link says is text");
    site.stop();
}

#[test]
fn every_page_is_protected_and_unknown_ones_say_so() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip])).replace("/api/v1", "");
    for (page, status) in [("/", 200), (placed.as_str(), 200), ("/queue", 200), ("/orders/nothing", 404), ("/nothing", 404)] {
        let answer = site.get(page);
        assert_eq!(answer.status, status, "{page}");
        assert!(answer.header("content-type").starts_with("text/html"), "{page}");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        // The form is kept by its own browser, for whoever goes back to it; what an order's address leads to is not.
        assert_eq!(answer.header("cache-control"), if page == "/" { "private, no-cache" } else { "no-store" });
        let text = answer.text();
        assert!(!text.contains(" style=") && !text.contains(" onclick="), "{page}");
    }
    let style = site.get("/assets/site.css");
    assert!(style.header("content-type").starts_with("text/css") && style.header("cache-control").contains("immutable"));
    assert_eq!(site.get("/assets/../Cargo.toml").status, 404);
    let cancelled = site.post(&format!("{placed}/cancel"), "application/x-www-form-urlencoded", "");
    assert_eq!((cancelled.status, cancelled.header("location")), (303, placed.as_str()));
    assert!(site.get(&placed).text().contains("The order was cancelled"));
    site.stop();
}

#[test]
fn an_address_with_what_no_database_holds_is_not_there() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    for address in
        ["/orders/%00", "/orders/x%00y/change", "/mail/%00", "/orders/%00/feed.atom", "/api/v1/orders/%00", "/log-in/link/%00"]
    {
        let answer = site.get(address);
        assert_eq!(answer.status, 404, "{address}: {}", answer.text());
    }
}
