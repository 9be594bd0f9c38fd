//! A failed build is reported with one button, seen by cause, and answered.

use contract::lease::EndReport;
use contract::{Failure, Format, Step};

use crate::common::{Setup, Site, failed, folder, operator_token, order, wait_until};

/// Logs in as the operator; the cookie to show.
fn operator(site: &Site, dir: &std::path::Path) -> String {
    let body: String =
        form_urlencoded::Serializer::new(String::new()).append_pair("operator_token", operator_token(dir).trim()).finish();
    let answer = site.post("/operator", "application/x-www-form-urlencoded", &body);
    answer.header("set-cookie").split(';').next().unwrap().to_owned()
}

#[test]
fn a_failure_is_reported_and_answered() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &Setup::default());
    let mut wanted = order(&["app-shells/bash", "dev-vcs/git"], &[Format::Zip]);
    wanted.system.root_password_hash = Some("$6$saltsalt$hashhash".into());
    wanted.notify.email = Some("larry@example.org".into());
    let api = site.order(&wanted);
    let page = api.replace("/api/v1", "");
    let form = "application/x-www-form-urlencoded";
    assert_eq!(site.post(&format!("{page}/report"), form, "words=early").status, 409, "nothing has failed yet");
    let lease = site.lease().unwrap();
    assert_eq!(site.events(&lease, 0, vec![contract::Event::Log { line: "cannot do it".into() }]), Ok(false));
    assert_eq!(site.end(&lease, &failed()).status, 204);

    let text = site.get(&page).text();
    assert!(text.contains("What you can try") && text.contains("Order it without app-shells/bash"), "{text}");
    let changed = site.get(&format!("{page}/change?without=app-shells%2Fbash")).text();
    assert!(changed.contains(">\ndev-vcs/git</textarea>"), "{changed}");
    for _ in 0..2 {
        assert_eq!(site.post(&format!("{page}/report"), form, "words=%3Cb%3Eplease").status, 303);
    }
    assert!(site.get(&page).text().contains("The answer will stand here"));
    let reported = site.post_json(&format!("{api}/report"), &serde_json::json!({"words": "again"})).json();
    assert_eq!((reported["words"].as_str(), reported["answer"].is_null()), (Some("<b>please"), true), "{reported}");

    assert_eq!(site.get("/operator/reports").status, 303, "nobody but the operator reads them");
    let cookie = operator(&site, &path);
    let as_operator = [("Cookie", cookie.as_str())];
    let listed = site.get_with("/operator/reports", &as_operator).text();
    assert!(listed.contains("&#60;b&#62;please") && listed.contains("1 report"), "{listed}");
    let ids: Vec<&str> = listed.split("href=\"/operator/reports/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let [id] = ids[..] else { panic!("reported twice it is one: {ids:?}") };
    let bundle = site.get_with(&format!("/operator/reports/{id}"), &as_operator);
    let text = bundle.text();
    for secret in ["$6$", "larry@example.org", page.rsplit('/').next().unwrap()] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    let bundle = bundle.json();
    let repeated = contract::Order::from_toml(bundle["order_toml"].as_str().unwrap()).unwrap();
    assert_eq!(repeated.packages, wanted.packages);
    assert_eq!(bundle["plan"]["packages"].as_array().map(|p| p.len() > 1), Some(true), "{bundle}");
    assert_eq!((bundle["log"][0].as_str(), bundle["worker"].as_str()), (Some("cannot do it"), Some("test")));

    let answer = |headers: &[(&str, &str)], text: &str| site.post_with(&format!("/operator/reports/{id}"), text, headers).status;
    assert_eq!(answer(&[("Content-Type", form)], "answer=no"), 403);
    assert_eq!(answer(&[("Content-Type", form), ("Cookie", &cookie)], "answer=+"), 422);
    assert_eq!(answer(&[("Content-Type", form), ("Cookie", &cookie)], "answer=It+is+mended"), 303);
    wait_until("the answer is on the page", || site.get(&page).text().contains("It is mended"));

    // The same for programs.
    let bearer = format!("Bearer {}", operator_token(&path));
    let as_operator = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
    assert_eq!(site.get("/api/v1/operator/reports").status, 401);
    let groups = site.get_with("/api/v1/operator/reports", &as_operator).json();
    let (group, report) = (&groups[0], &groups[0]["reports"][0]);
    assert_eq!((group["package"].as_str(), report["id"].as_str()), (Some("app-shells/bash-5.2_p15"), Some(id)), "{groups}");
    let address = format!("/api/v1/operator/reports/{id}");
    assert_eq!(site.get_with(&address, &as_operator).json(), bundle);
    assert_eq!(site.post_with(&address, "{\"answer\": \" \"}", &as_operator).status, 422);
    assert_eq!(site.post_with("/api/v1/operator/reports/none", "{\"answer\": \"x\"}", &as_operator).status, 404);
    assert_eq!(site.post_with(&address, "{\"answer\": \"Truly\"}", &as_operator).status, 204);
    assert_eq!(site.get(&format!("{api}/report")).json()["answer"], "Truly");
    site.stop();
}

#[test]
fn operators_read_why_builds_failed_in_their_language() {
    let (_dir, path) = folder();
    let site = Site::start_with(&path, &Setup::default());
    let api = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    let failure = Failure::new(
        Step::Merge,
        "app-shells/bash-5.2_p15, pkg_postinst: its script failed\nIts last words were:\nno",
        "Order again.",
    )
    .for_package("app-shells/bash-5.2_p15");
    assert_eq!(site.end(&site.lease().unwrap(), &EndReport::Failed { failure }).status, 204);
    assert_eq!(
        site.post(&format!("{}/report", api.replace("/api/v1", "")), "application/x-www-form-urlencoded", "words=x").status,
        303
    );
    let cookie = operator(&site, &path);
    for address in ["/operator", "/operator/reports"] {
        let said = |language| site.get_with(address, &[("Cookie", &cookie), ("Accept-Language", language)]).text();
        let (german, english) = (said("de"), said("en"));
        assert!(german.contains("pkg_postinst: sein Skript scheiterte") && !german.contains("its script failed"), "{german}");
        assert!(english.contains("pkg_postinst: its script failed"), "{english}");
    }
    site.stop();
}
