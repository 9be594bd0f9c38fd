//! What can be known before an order, and what becomes of wishes that cannot be met.

use contract::Format;

use crate::common::{Site, folder, operator_token, order};

#[test]
fn a_wish_nobody_can_meet_is_counted_without_who_wished() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let mut wish = order(&["app-editors/vim[X]", "dev-vcs/git"], &[Format::Zip]);
    wish.notify.email = Some("somebody@example.org".into());
    for _ in 0..2 {
        assert_eq!(site.post_json("/api/v1/orders", &wish).status, 422);
    }
    assert_eq!(site.post_json("/api/v1/orders", &order(&["app-misc/nothing"], &[Format::Zip])).status, 422);
    let url = "/api/v1/operator/wishes?days=7";
    for token in ["", "Bearer wrong"] {
        assert_eq!(site.get_with(url, &[("Authorization", token)]).status, 401);
    }
    let token = operator_token(&path);
    let bearer = format!("Bearer {token}");
    let wishes = site.get_with(url, &[("Authorization", &bearer)]).json();
    let wishes = wishes.as_array().unwrap();
    assert_eq!(wishes.len(), 2, "{wishes:?}");
    assert_eq!((wishes[0]["package"].as_str(), wishes[0]["count"].as_u64()), (Some("app-editors/vim"), Some(2)));
    assert_eq!(wishes[0]["flags"], serde_json::json!(["X"]));
    assert_eq!(wishes[0]["differs"], serde_json::json!(["+X"]));
    assert_eq!(wishes[0]["channel"], "test");
    assert_eq!((wishes[1]["package"].as_str(), wishes[1]["nearest"].is_null()), (Some("app-misc/nothing"), true));
    assert_eq!(site.get_with("/api/v1/operator/wishes?days=x", &[("Authorization", &bearer)]).status, 400);
    site.stop();
    for file in std::fs::read_dir(path.join("data")).unwrap().map(|f| f.unwrap().path()).filter(|f| f.is_file()) {
        let bytes = std::fs::read(&file).unwrap();
        assert!(!bytes.windows(8).any(|w| w == b"somebody"), "{} says who wished", file.display());
    }
}

#[test]
fn the_operators_page_asks_for_the_token() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    assert_eq!(site.post_json("/api/v1/orders", &order(&["app-editors/vim[X]"], &[Format::Zip])).status, 422);
    let page = site.get("/operator").text();
    assert!(page.contains("Operator’s token") && !page.contains("app-editors/vim"), "{page}");
    let log_in = |token: &str| site.post("/operator", "application/x-www-form-urlencoded", &format!("operator_token={token}"));
    assert_eq!(log_in("wrong").status, 403);
    let answer = log_in(&operator_token(&path));
    assert_eq!((answer.status, answer.header("location")), (303, "/operator"));
    let cookie = answer.header("set-cookie");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&operator_token(&path)), "the token itself is not kept in the browser");
    let page = site.get_with("/operator", &[("Cookie", cookie.split(';').next().unwrap())]).text();
    assert!(page.contains("app-editors/vim[X]") && page.contains("differs in +X"), "{page}");
    assert!(!site.get_with("/operator", &[("Cookie", "hatchery_operator=0")]).text().contains("app-editors/vim"));
    site.stop();
}

/// The fields of a form that asks for a build nobody has.
const FORM: [(&str, &str); 5] = [
    ("token", "0123456789abcdef"),
    ("preset", ""),
    ("channel", "test"),
    ("packages", "# editors\nvim[X] dev-vcs/git"),
    ("formats", "zip"),
];

#[test]
fn the_nearest_build_is_one_click_away() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let refused = site.form(&FORM);
    assert_eq!(refused.status, 422);
    let page = refused.text();
    assert!(page.contains("name=\"take\" value=\"vim[X] app-editors/vim\""), "{page}");
    assert!(page.find("aria-hidden=\"true\">Check").unwrap() < page.find("name=\"take\"").unwrap(), "Enter presses the first");
    let mut click = FORM.to_vec();
    click.push(("take", "vim[X] app-editors/vim"));
    let answer = site.form(&click);
    assert_eq!(answer.status, 303, "{}", answer.text());
    let plan = site.lease().unwrap().job.plan;
    assert_eq!(plan.world, ["app-editors/vim", "dev-vcs/git"]);
    site.stop();
}

#[test]
fn one_click_does_not_lose_a_password() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let mut with_password = FORM.to_vec();
    with_password.extend([("root_password", "hunter2"), ("root_password_again", "hunter2")]);
    let page = site.form(&with_password).text();
    assert!(page.contains("name=\"had_password\"") && !page.contains("hunter2"), "{page}");
    let mut click = FORM.to_vec();
    click.extend([("had_password", "1"), ("take", "vim[X] app-editors/vim")]);
    let answer = site.form(&click);
    assert_eq!(answer.status, 422);
    let page = answer.text();
    assert!(page.contains("type the password once more") && page.contains("app-editors/vim dev-vcs/git</textarea>"), "{page}");
    assert!(site.lease().is_none());
    click.extend([("root_password", "hunter2"), ("root_password_again", "hunter2")]);
    assert_eq!(site.form(&click).status, 303);
    assert!(site.lease().unwrap().job.system.root_password_hash.is_some());
    site.stop();
}

#[test]
fn sizes_notes_and_reasons_are_there_from_the_plan_on() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let wish = order(&["sys-apps/util", "app-editors/vim"], &[Format::Zip]);
    let plan = site.post_json("/api/v1/plan", &wish).json();
    let note = plan["notes"][0].as_str().unwrap();
    assert!(note.contains("were built against each other"), "{plan}");
    assert_eq!((plan["summary"]["packages"].as_u64(), plan["summary"]["measured"].as_bool()), (Some(5), Some(false)));
    let placed = site.order(&wish);
    let status = site.status(&placed);
    assert_eq!(status["summary"], plan["summary"]);
    assert_eq!(status["notes"][0], note);
    let page = placed.replace("/api/v1", "");
    let text = site.get(&page).text();
    assert!(text.contains("5 packages, 5.0 kB to fetch, about 15.6 kB installed"), "{text}");
    assert!(text.contains(note) && text.contains(&format!("{page}/packages")), "{text}");
    let text = site.get(&format!("{page}/packages")).text();
    let bash = text.split("<details>").find(|part| part.contains("app-shells/bash")).unwrap();
    assert!(bash.contains("<li>needed by app-editors/vim-9.0.1503 (RDEPEND: app-shells/bash)</li>"), "{bash}");
    assert!(bash.contains("<li>asked for as app-editors/vim</li>"), "{bash}");
    assert!(text.contains("Built with USE python."), "{text}");
    // The worker measures; the lock, the page and the API then say what was measured.
    let lease = site.lease().unwrap();
    site.build(&lease);
    let status = site.status(&placed);
    assert_eq!(
        (status["summary"]["installed_size"].as_u64(), status["summary"]["measured"].as_bool()),
        (Some(4_242), Some(true))
    );
    assert!(site.get(&page).text().contains("to fetch, 4.2 kB installed"));
    site.stop();
}

#[test]
fn packages_are_found_as_one_types() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let found = site.get("/api/v1/packages?channel=test&q=vi+improved").json();
    assert_eq!(found["channel"], "test");
    let vim = &found["packages"][0];
    assert_eq!((vim["name"].as_str(), vim["description"].as_str()), (Some("app-editors/vim"), Some("Vi IMproved")));
    let build = &vim["builds"][0];
    assert_eq!(build["version"], "9.0.1503");
    assert_eq!((&build["use"], &build["without"]), (&serde_json::json!(["python"]), &serde_json::json!(["X"])));
    assert_eq!(build["size"], 1_004);
    assert_eq!(site.get("/api/v1/packages?q=bash").json()["packages"][0]["name"], "app-shells/bash");
    assert_eq!(site.get("/api/v1/packages?q=").json()["packages"].as_array().unwrap().len(), 0);
    assert_eq!(site.get("/api/v1/packages?channel=nowhere&q=bash").status, 404);
    site.stop();
}

#[test]
fn the_operator_is_advised_what_to_build() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let place = |packages: &[&str], status| {
        let answer = site.post_json("/api/v1/orders", &order(packages, &[Format::Zip]));
        assert_eq!(answer.status, status, "{}", answer.text());
    };
    for _ in 0..3 {
        place(&["app-editors/vim[X]", "dev-vcs/git"], 422);
    }
    place(&["app-misc/nothing"], 422);
    place(&["app-editors/vim[-X]"], 201);
    let bearer = format!("Bearer {}", operator_token(&path));
    let url = "/api/v1/operator/advice?days=7&builds=1";
    assert_eq!(site.get(url).status, 401);
    let advice = site.get_with(url, &[("Authorization", &bearer)]).json();
    assert_eq!((advice["orders"].as_u64(), advice["served"].as_u64(), advice["at_most"].as_u64()), (Some(4), Some(3), Some(3)));
    let vim = &advice["packages"][0];
    assert_eq!(vim["package"], "app-editors/vim");
    assert_eq!((vim["options"][0]["kind"].as_str(), vim["options"][0]["chosen"].as_u64()), (Some("second"), Some(1)), "{vim}");
    assert_eq!(vim["options"][0]["against"][0]["wish"], "app-editors/vim[-X]", "who has it as it is would lose it: {vim}");
    assert!(
        advice["package_use"][0].as_str().unwrap().contains("app-editors/vim")
            && advice["text"].as_str().unwrap().contains("3 of 4")
    );
    for (url, status) in [("?channel=none", 404), ("?builds=few", 400)] {
        let url = format!("/api/v1/operator/advice{url}");
        assert_eq!(site.get_with(&url, &[("Authorization", &bearer)]).status, status);
    }
    let entered =
        site.post("/operator", "application/x-www-form-urlencoded", &format!("operator_token={}", operator_token(&path)));
    let cookie = entered.header("set-cookie").split(';').next().unwrap().to_owned();
    let page = site.get_with("/operator/advice?builds=1", &[("Cookie", &cookie)]).text();
    assert!(page.contains("<svg") && page.contains("3 of 4 orders") && page.contains("app-editors/vim"), "{page}");
    let page = site.get_with("/operator/advice?builds=few", &[("Cookie", &cookie)]);
    assert!(page.status == 400 && page.text().contains("must be a whole number"));
    assert_eq!(site.get("/operator/advice").status, 303);
    site.stop();
}
