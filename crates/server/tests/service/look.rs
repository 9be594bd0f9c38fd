//! What the pages show beside the order itself: languages and looks, pictures, differences, and what is done with an order.

use contract::lease::EndReport;
use contract::{Failure, Format, Step};

use crate::common::{Site, folder, order};

#[test]
fn pages_speak_the_readers_language() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let german = site.get_with("/queue", &[("Accept-Language", "de-AT,de;q=0.9,en;q=0.5")]).text();
    assert!(german.contains("<html lang=\"de\"") && german.contains("Die Warteschlange"), "{german}");
    let english = site.get_with("/queue", &[("Accept-Language", "fr,en;q=0.5")]).text();
    assert!(english.contains("<html lang=\"en\"") && english.contains("href=\"?language=de\""), "{english}");
    // A link's choice is kept, and what else the address said stays in the next link.
    let chosen = site.get_with("/?packages=a%26b&language=de&look=dark", &[("Accept-Language", "en")]);
    let cookies: Vec<&str> = chosen.headers.get_all("set-cookie").iter().map(|v| v.to_str().unwrap()).collect();
    assert!(cookies.len() == 2 && cookies[0].starts_with("language=de;") && cookies[1].starts_with("look=dark;"), "{cookies:?}");
    let text = chosen.text();
    assert!(text.contains("lang=\"de\" data-look=\"dark\"") && text.contains("?packages=a%26b&#38;language=en"), "{text}");
    let kept = site.get_with("/queue", &[("Accept-Language", "en"), ("Cookie", "x=y; language=de; look=light")]).text();
    assert!(kept.contains("lang=\"de\" data-look=\"light\""), "{kept}");
    let unknown = site.get_with("/queue?language=%3Cscript%3E&look=x", &[("Cookie", "language=tlh")]);
    assert!(unknown.header("set-cookie").is_empty() && !unknown.text().contains("<script>"), "{}", unknown.text());
    let refused = site.get("/orders");
    assert_eq!(
        (refused.status, refused.header("location")),
        (303, "/"),
        "the form that was sent, in another language, is the form"
    );
    site.stop();
}

#[test]
fn why_a_build_failed_is_told_in_the_readers_language() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let page = site.order(&order(&["app-shells/bash", "dev-vcs/git"], &[Format::Zip])).replace("/api/v1", "");
    let failure = Failure::new(
        Step::Merge,
        "dev-vcs/git-2.40.1, pkg_postinst: its script failed\nIts last words were:\nit is <not> there",
        "The package was built for another layout of /usr: take another build.",
    )
    .for_package("dev-vcs/git-2.40.1");
    assert_eq!(site.end(&site.lease().unwrap(), &EndReport::Failed { failure }).status, 204);
    let german = [("Accept-Language", "de")];
    for address in [page.clone(), format!("{page}/feed.atom")] {
        let text = site.get_with(&address, &german).text();
        assert!(text.contains("pkg_postinst: sein Skript scheiterte"), "{text}");
        assert!(text.contains("it is &#60;not&#62; there"), "the program's own words stay: {text}");
        assert!(text.contains("nimm einen anderen Bau."), "{text}");
        assert!(!text.contains("its script") && !text.contains("take another"), "{text}");
    }
    assert!(site.get(&page).text().contains("pkg_postinst: its script failed"));
    // Programs are answered in English, whatever they accept.
    let status = site.get_with(&format!("/api/v1{page}"), &german).json();
    assert_eq!(status["failure"]["advice"], "The package was built for another layout of /usr: take another build.");
    // Where one is, is marked in the menu.
    let marked = |path: &str| {
        let text = site.get(path).text();
        let entries = text.split("aria-current=").skip(1).filter_map(|rest| rest.split("</a>").next());
        entries.map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(marked("/queue"), ["\"page\">Queue"]);
    assert_eq!(marked(&page), ["\"true\">Order"]);
    site.stop();
}

#[test]
fn an_order_is_drawn_compared_and_changed() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let first = site.order(&order(&["app-shells/bash", "dev-vcs/git"], &[Format::Zip]));
    let queue = site.get("/queue").text();
    assert!(queue.contains("Turn") && !queue.contains("picture queue"), "without a worker no time is told: {queue}");
    let lease = site.lease().unwrap();
    let second = site.order(&order(&["app-shells/bash", "app-editors/vim"], &[Format::Zip]));
    let queue = site.get("/queue").text();
    assert!(queue.contains("picture queue") && queue.contains("1. in turn"), "{queue}");
    site.build(&lease);
    let page = first.replace("/api/v1", "");
    let text = site.get(&page).text();
    for words in ["picture treemap", "picture timeline", "dev-vcs/git-2.40.1, 1.0 kB", "wait for a worker", "Licences: 1 kind"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!text.contains(" style="), "{text}");

    let later = second.replace("/api/v1", "");
    let link =
        format!("{later}/difference?to=http%3A%2F%2Fsite%2F{}%3Flanguage%3Dde", page.trim_start_matches('/').replace('/', "%2F"));
    let text = site.get(&link).text();
    for words in
        ["1 package is new", "app-editors/vim-9.0.1503", "1 package is gone", "dev-vcs/git-2.40.1", "1 package is the same."]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert_eq!(site.get(&format!("{later}/difference?to=nonsense")).status, 404);

    let form = site.get(&format!("{later}/change")).text();
    assert!(form.contains(">\napp-shells/bash\napp-editors/vim</textarea>") && form.contains("value=\"zip\" checked"), "{form}");
    // An address is taken once, and only if it is one.
    let mail = |address: &str| {
        site.post(&format!("{later}/mail"), "application/x-www-form-urlencoded", &format!("email={address}")).status
    };
    assert_eq!([mail("nonsense"), mail("larry%40example.org"), mail("other%40example.org")], [422, 303, 303]);
    site.stop();
}
