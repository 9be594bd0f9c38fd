//! The API as its own description has it: OpenAPI, problem documents, lists in parts.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use contract::Format;
use serde_json::{Value, json};

use crate::common::{Setup, Site, folder, operator_token, order, venv};

/// A site that turns nobody away, with one order that is ready; the order's path in the API.
fn site_with_an_order(path: &Path) -> (Site, String) {
    let most = u32::MAX;
    let tables = format!(
        "[limits]\nplans_per_minute = {most}\norders_per_hour = {most}\nsite_orders_per_hour = {most}\nopen_orders = {most}\n"
    );
    let site = Site::start_with(path, &Setup { tables, ..Setup::default() });
    let placed = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    site.build(&site.lease().unwrap());
    (site, placed)
}

/// All `$ref` of a document.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_description_is_whole() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let document = site.get("/api/v1/openapi.json").json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut found = BTreeSet::new();
    references(&document, &mut found);
    assert!(found.len() > 20, "{found:?}");
    for reference in found {
        assert!(document.pointer(reference.strip_prefix('#').unwrap()).is_some(), "{reference} leads nowhere");
    }
    let mut ids = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id), "{id} is there twice");
            let said = ["summary", "tags"].iter().all(|field| !operation[*field].is_null());
            assert!(said, "{method} {path} does not say what it is");
            assert!(!operation["responses"]["500"]["content"]["application/problem+json"].is_null(), "{method} {path}");
        }
    }
    // The documentation names every type of problem there is.
    let documented = include_str!("../../../../docs/api.md");
    for kind in document["components"]["schemas"]["Kind"]["enum"].as_array().unwrap() {
        assert!(documented.contains(&format!("| `{}` |", kind.as_str().unwrap())), "{kind} is not in docs/api.md");
    }
    // No route of the API is made beside its description.
    let routes = include_str!("../../src/http/mod.rs");
    assert!(!routes.contains("\"/api/v1"), "a route is not in api_routes()");
    site.stop();
}

#[test]
fn every_error_is_a_problem_document() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let operator = format!("Bearer {}", operator_token(&path));
    let with =
        |path: &str, kind: &str, body: &str| site.post_with(path, body, &[("Authorization", &operator), ("Content-Type", kind)]);
    let queue = "/api/v1/operator/queue";
    let large = format!("{{\"arch\": \"{}\"}}", "x".repeat(3 << 20));
    let answers = [
        (404, "not-found", site.get("/api/v1/nothing")),
        (404, "not-found", site.get("/api/v1/orders/none")),
        (400, "malformed", site.get("/api/v1/orders/%ff")),
        (405, "wrong-method", site.post("/api/v1/presets", "application/json", "{}")),
        (401, "unauthorized", site.get(queue)),
        (400, "malformed", with(queue, "application/json", "{")),
        (415, "wrong-media-type", with(queue, "text/plain", "{}")),
        (422, "invalid", with(queue, "application/json", "{\"action\": \"dance\"}")),
        (409, "conflict", with(queue, "application/json", "{\"action\": \"first\", \"build\": \"none\"}")),
        (400, "malformed", site.get("/api/v1/queue?limit=0")),
        (415, "wrong-media-type", site.post("/api/v1/orders", "text/plain", "x")),
        (400, "malformed", site.post("/api/v1/orders", "application/json", "{")),
        (413, "too-large", site.post("/api/v1/orders", "application/json", &large)),
        (422, "invalid", site.post_json("/api/v1/orders", &json!({ "arch": "amd64", "formats": ["iso"] }))),
        (422, "no-plan", site.post_json("/api/v1/orders", &order(&["app-misc/missing"], &[Format::Zip]))),
    ];
    for (status, kind, answer) in answers {
        assert_eq!(answer.status, status, "{kind}: {}", answer.text());
        assert_eq!(answer.header("content-type"), "application/problem+json", "{kind}: {}", answer.text());
        let problem = answer.json();
        assert_eq!(problem["type"], format!("urn:hatchery:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().len() > 10, "{problem}");
    }
    assert_eq!(site.post("/api/v1/presets", "application/json", "{}").header("allow"), "GET,HEAD");
    site.stop();
}

/// Routes of pages, as `METHOD path`, from the source that makes them.
fn routes_of_pages() -> Vec<String> {
    let source = include_str!("../../src/http/mod.rs");
    let mut found = Vec::new();
    for line in source.split(".route(\"").skip(1) {
        let (path, rest) = line.split_once('"').unwrap();
        let handlers = rest.split_once('\n').map_or(rest, |(first, _)| first);
        let methods = [("get(", "GET"), ("post(", "POST"), ("put(", "PUT"), ("delete(", "DELETE")];
        let of_page = !path.starts_with("/api/worker/");
        found.extend(
            methods.iter().filter(|(word, _)| of_page && handlers.contains(word)).map(|(_, method)| format!("{method} {path}")),
        );
    }
    found
}

#[test]
fn the_api_does_what_pages_do() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let document = site.get("/api/v1/openapi.json").json();
    let routes = routes_of_pages();
    assert!(routes.len() > 40, "{routes:?}");
    let documented = include_str!("../../../../docs/api.md");
    for route in &routes {
        let rows: Vec<&str> = documented.lines().filter(|line| line.starts_with(&format!("| `{route}` | "))).collect();
        assert_eq!(rows.len(), 1, "docs/api.md does not say once where in the API {route} is");
    }
    // What it names of the API is there, and its rows are about pages that are.
    let rows = documented.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
    let rows: Vec<_> = rows.filter(|(page, _)| page.starts_with("GET ") || page.starts_with("POST ")).collect();
    assert_eq!(rows.len(), routes.len());
    for (page, stands_for_it) in rows {
        assert!(routes.iter().any(|route| route == page), "{page} is no route");
        for call in stands_for_it.split('`').filter(|part| part.contains("/api/v1/")) {
            let (method, path) = call.split_once(' ').unwrap();
            assert!(!document["paths"][path][method.to_lowercase()].is_null(), "{call} is not in the API");
        }
    }
    site.stop();
}

#[test]
fn an_order_is_changed_compared_and_mailed_of() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let mut wish = order(&["app-shells/bash"], &[Format::Zip]);
    wish.system.root_password_hash = Some("$6$saltsalt$hashhash".into());
    wish.notify.webhook = Some("https://example.org/told".into());
    let first = site.order(&wish);
    let asked = site.get(&format!("{first}/order"));
    assert!(!asked.text().contains("$6$") && !asked.text().contains("example.org"), "{}", asked.text());
    let mut changed = asked.json();
    assert_eq!(changed["packages"], json!(["app-shells/bash"]));
    let toml = site.get_with(&format!("{first}/order"), &[("Accept", "application/toml")]);
    assert_eq!(serde_json::to_value(contract::Order::from_toml(&toml.text()).unwrap()).unwrap(), changed);
    changed["packages"] = json!(["dev-vcs/git"]);
    let second = site.post_json("/api/v1/orders", &changed);
    assert_eq!(second.status, 201, "{}", second.text());
    let second = second.header("location").to_owned();

    // The earlier one by its page's address, as a user has it, or by its identifier.
    let id = first.rsplit('/').next().unwrap();
    for link in [id.to_owned(), format!("{}/orders/{id}", site.base)] {
        let compared = site.get(&format!("{second}/difference?to={link}")).json();
        assert_eq!(compared["earlier"], id);
        let kinds: Vec<_> =
            compared["difference"]["packages"].as_array().unwrap().iter().map(|p| (&p["name"], &p["kind"])).collect();
        assert!(kinds.contains(&(&json!("dev-vcs/git"), &json!("added"))), "{compared}");
        let sizes = ["before", "after"].map(|side| compared[side]["download_size"].as_i64().unwrap());
        assert_eq!(compared["difference"]["download_size"], sizes[1] - sizes[0], "{compared}");
    }
    assert_eq!(site.get(&format!("{second}/difference?to=nothing")).status, 404);

    let mail = |email: &str| site.put_json(&format!("{first}/mail"), &json!({ "email": email })).status;
    assert_eq!(mail("no address"), 422);
    assert_eq!(mail("larry@example.org"), 409, "this site sends none");

    // A name alone on its line needs no category.
    let list = "bash\ndev-vcs/gti\n=dev-vcs/git-0.1\nno!name\n";
    let answer = site.post("/api/v1/packages", "text/plain", list).json();
    assert_eq!(answer["packages"], json!(["app-shells/bash", "dev-vcs/git"]));
    let left: Vec<_> = answer["left"].as_array().unwrap().iter().map(|left| left["reason"].as_str().unwrap()).collect();
    assert_eq!(left, ["not-there", "otherwise", "not-an-atom"]);
    assert_eq!(site.post("/api/v1/packages", "text/plain", &"x ".repeat(10_001)).status, 422);
    site.stop();
}

/// As zsync asks for what an older image lacks.
#[test]
fn several_parts_of_a_file_come_in_one_answer() {
    let (_dir, path) = folder();
    let (site, placed) = site_with_an_order(&path);
    let status = site.status(&placed);
    let artifact = &status["artifacts"][0];
    let (url, size) = (artifact["url"].as_str().unwrap(), artifact["size"].as_u64().unwrap());
    let whole = site.get(url).body;
    assert_eq!((whole.len() as u64, size > 4), (size, true));
    let answer = site.get_with(url, &[("Range", &format!("bytes=0-1, {}-", size - 2))]);
    if crate::backend::on_s3() {
        // The storage answers for itself, and this one sends the whole, as the RFC allows.
        assert_eq!((answer.status, answer.body == whole), (200, true));
        return site.stop();
    }
    assert_eq!(answer.status, 206);
    let kind = answer.header("content-type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for (first, last) in [(0, 1), (size - 2, size - 1)] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n"
        );
        expected.extend(head.into_bytes());
        expected.extend(&whole[first as usize..=last as usize]);
    }
    expected.extend(format!("\r\n--{boundary}--\r\n").into_bytes());
    assert_eq!(answer.body, expected);
    assert_eq!(answer.header("content-length"), expected.len().to_string());
    site.stop();
}

#[test]
fn lists_are_followed_by_their_links() {
    let (_dir, path) = folder();
    let site = Site::start(&path);
    for i in 0..3 {
        let mut wish = order(&["app-shells/bash"], &[Format::Zip]);
        wish.system.hostname = Some(format!("host{i}"));
        site.order(&wish);
    }
    let (mut next, mut positions) = ("/api/v1/queue?limit=2".to_owned(), Vec::new());
    while !next.is_empty() {
        let answer = site.get(&next);
        let builds = answer.json()["builds"].as_array().unwrap().clone();
        positions.extend(builds.iter().map(|build| build["position"].as_u64().unwrap()));
        let link = answer.header("link");
        next = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap_or_default().to_owned();
        assert_eq!(answer.json()["next"].is_null(), next.is_empty());
    }
    assert_eq!(positions, [1, 2, 3]);
    let found = site.get("/api/v1/packages?q=sys-&limit=1").json();
    assert_eq!((found["packages"].as_array().unwrap().len(), found["next"].as_str()), (1, Some("1")));
    site.stop();
}

#[test]
fn a_connection_outlives_a_refusal() {
    use std::io::{BufRead, BufReader, Read, Write};
    let (_dir, path) = folder();
    let site = Site::start(&path);
    let mut stream = std::net::TcpStream::connect(site.base.strip_prefix("http://").unwrap()).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(30))).unwrap();
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for _ in 0..3 {
        let body = "{\"action\": \"pause\"}";
        let head = "POST /api/v1/operator/queue HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
        write!(stream, "{head}Content-Length: {}\r\n\r\n", body.len()).unwrap();
        // The body comes later than it takes to see that the token is missing.
        std::thread::sleep(std::time::Duration::from_millis(50));
        stream.write_all(body.as_bytes()).unwrap();
        let mut line = String::new();
        answers.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 401"), "{line}");
        let mut length = 0;
        while line != "\r\n" {
            line.clear();
            answers.read_line(&mut line).unwrap();
            length = line.to_lowercase().strip_prefix("content-length: ").map_or(length, |text| text.trim().parse().unwrap());
        }
        answers.read_exact(&mut vec![0; length]).unwrap();
    }
    site.stop();
}

/// The settings of schemathesis. The order that is there stands for all. No schema can say which packages there are, so orders may be refused
/// (422); and the operator may have closed the site (503).
fn settings(site: &Site, placed: &str) -> String {
    let id = placed.rsplit('/').next().unwrap();
    let name = site.status(placed)["artifacts"][0]["name"].as_str().unwrap().to_owned();
    format!(
        "[parameters]\n\"path.id\" = \"{id}\"\n\"path.name\" = \"{name}\"\n\
         [checks.not_a_server_error]\nexpected-statuses = [\"2xx\", \"3xx\", \"4xx\", \"503\"]\n\
         [checks.positive_data_acceptance]\nexpected-statuses = [\"2xx\", \"3xx\", \"401\", \"403\", \"404\", \"409\", \"422\", \"503\"]\n"
    )
}

#[test]
fn sqlite_answers_are_as_the_description_says() {
    let program = venv().join("bin/schemathesis");
    if !program.exists() {
        println!("SKIPPED: needs schemathesis in {}: run scripts/setup test", venv().display());
        return;
    }
    let (_dir, path) = folder();
    let (site, placed) = site_with_an_order(&path);
    std::fs::write(path.join("openapi.json"), site.get("/api/v1/openapi.json").body).unwrap();
    std::fs::write(path.join("schemathesis.toml"), settings(&site, &placed)).unwrap();
    let authorization = format!("Authorization: Bearer {}", operator_token(&path));
    // The operator comes last: he may close the site.
    for tag in ["--exclude-tag", "--include-tag"] {
        let output = Command::new(&program)
            .args(["--config-file", "schemathesis.toml", "run", "openapi.json", "--url", &site.base, "--header", &authorization])
            .args([tag, "operator", "--phases", "examples,coverage,fuzzing", "--max-examples", "6", "--seed", "1"])
            .args(["--suppress-health-check", "all", "--no-color"])
            .current_dir(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        println!("{said}");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        // What it looked at was there to be looked at.
        let tested = said.split("Tested: ").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
        assert!(tested.parse::<u32>().unwrap() >= 7, "{said}");
    }
    site.stop();
}
