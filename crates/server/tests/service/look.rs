//! What the pages show beside the order itself: languages and looks, pictures, differences, and what is done with an order.

use contract::Format;

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
