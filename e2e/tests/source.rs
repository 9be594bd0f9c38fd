//! What no binhost has is built from source, by real Portage in a worker's build root: once the operator says so, and by an order that waits for
//! it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::gentoo;
use e2e::site::Site;
use e2e::worker::Worker;
use e2e::{free_port, hatchery, sample_dir, user, wait_for};
use serde_json::{Value, json};

const LIMIT: Duration = Duration::from_secs(180);

/// What it builds looks around first: it must find nothing of the worker's or the site's, no network, and nothing that it can change.
fn greeting(secret: &Path, port: u16) -> String {
    format!(
        r#"IUSE="loud"
RDEPEND="app-misc/words"
SRC_URI="https://example.org/greeting.txt"
src_unpack() {{ cp "${{DISTDIR}}"/greeting.txt . || die; }}
src_compile() {{
	[[ -e "{secret}" || -e /root/.bashrc ]] && die "files of others are in reach"
	( echo > /usr/local/written ) 2>/dev/null && die "the build root can be changed"
	( exec 3<>/dev/tcp/127.0.0.1/{port} ) 2>/dev/null && die "the network can be reached"
	printf '#include <stdio.h>\nint main(void) {{ puts("%s%s"); return 0; }}\n' "$(<greeting.txt)" "$(usex loud '!' '')" > greeting.c || die
	gcc -O2 -o greeting greeting.c || die
}}
src_install() {{
	dobin greeting
	insinto /usr/share/greeting
	newins greeting.c "$(usex loud loud.c quiet.c)"
}}
"#,
        secret = secret.display()
    )
}

#[test]
fn a_wish_is_built_from_source_and_then_ordered() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("permissions can be set");
    let (root, port) = (path.join("root"), free_port());
    if gentoo::build_root(&root).is_none() {
        return;
    }
    gentoo::ebuild(&root, "app-misc/greeting", "1.0", &greeting(&path.join("hatchery.toml"), port));
    gentoo::distfile(&root, "app-misc/greeting", "greeting.txt", "hello from source");
    gentoo::ebuild(&root, "app-misc/words", "1.0", "src_install() { insinto /usr/share; newins - words <<<hello; }\n");
    gentoo::ebuild(&root, "app-misc/needy", "1.0", "DEPEND=\"app-misc/absent\"\n");
    let made = Command::new(hatchery()).args(["keygen", "Own <own@example.org>", "-o"]).arg(path.join("own.key")).output();
    assert!(made.expect("hatchery runs").status.success());
    let site = Site::with_config(path, port, &config(path, port), false);
    let words = [format!("--build-root=own={}", root.display())];
    let _worker =
        Worker::start_with(user::command(&hatchery()), &site.url, &path.join("data/worker.token"), &path.join("worker"), &words);
    let operator = Operator::of(&site, path);

    // Nobody has it; what was lacking is told to the operator, who has it built, without the flag to begin with.
    let order = json!({ "arch": "amd64", "channel": "own", "packages": ["app-misc/greeting[loud]"], "formats": ["tar.zst"] });
    let other = operator.source("app-misc/needy");
    let (status, answer) = site.order(&order);
    assert_eq!(status, 422, "{answer}");
    let page = operator.page("GET", "/operator", &[]);
    let button = "name=\"package\" value=\"app-misc/greeting\"><input type=\"hidden\" name=\"flags\" value=\"loud\">";
    assert!(page.contains("<code>app-misc/greeting[loud]</code>") && page.contains(button), "{page}");
    operator.page("POST", "/operator/source", &[("channel", "own"), ("package", "app-misc/greeting"), ("flags", "")]);
    assert!(site.text("/queue").contains("app-misc/greeting"), "the queue shows what is built");
    let build = wait_for("the package to be built", LIMIT, || operator.ended("app-misc/greeting"));
    assert_eq!(build["state"], "ready", "{build:#}\n{}", worker_log(path));

    // It lacks a flag. An order that waits has it built with that, and then what it needs to run, and is made of both.
    assert_eq!(site.order(&order).1["from_source"], true);
    let mut waits = order;
    waits["from_source"] = json!(true);
    let placed = site.order(&waits);
    assert_eq!(placed.0, 201, "{}", placed.1);
    let id = placed.1["id"].as_str().expect("an id").to_owned();
    let done = site.wait(&id, "ready", LIMIT);
    let built: Vec<&Value> = done["from_source"].as_array().expect("packages").iter().map(|source| &source["package"]).collect();
    assert_eq!(built, ["app-misc/greeting[loud]", "app-misc/words"], "{done:#}");
    let file = done["artifacts"][0]["name"].as_str().expect("a file");
    fs::write(path.join("image.tar.zst"), site.download(&format!("/api/v1/orders/{id}/artifacts/{file}"), 0).1).expect("written");
    let listed = Command::new("tar").arg("-tf").arg(path.join("image.tar.zst")).output().expect("tar runs");
    let listed = String::from_utf8_lossy(&listed.stdout);
    assert!(listed.contains("usr/share/greeting/loud.c") && listed.contains("usr/bin/greeting\n"), "{listed}");
    assert!(listed.contains("usr/share/words\n"), "{listed}");

    // What is lacking in the build root is said, and what the operator does not allow is not built.
    let failed = wait_for("the other package to fail", LIMIT, || operator.ended("app-misc/needy"));
    assert_eq!((&failed["state"], &failed["id"]), (&json!("failed"), &other["build"]), "{failed:#}");
    let why = failed["failure"].as_str().expect("a reason");
    assert!(why.contains("app-misc/needy could not be built from source") && why.contains("app-misc/absent"), "{why}");
    assert!(operator.source("sys-apps/greeting")["detail"].to_string().contains("do not allow"));
}

fn config(path: &Path, port: u16) -> String {
    format!(
        "listen = \"127.0.0.1:{port}\"\ndata_dir = \"{dir}/data\"\n[[channel]]\nname = \"own\"\ntitle = \"Own\"\narch = \"amd64\"\n\
         profile = \"{sample}/repo/profiles/default/linux/amd64/23.0\"\n\
         [channel.source_builds]\nbinhost = \"own\"\nsigning_key_file = \"{dir}/own.key\"\npackages = [\"app-misc/*\"]\nfor_orders = [\"app-misc/*\"]\n\
         [[channel.binhost]]\nname = \"own\"\nuri = \"file://{dir}/own\"\nkeyring_file = \"{dir}/own.key.asc\"\n\
         [[channel.binhost]]\nname = \"sample\"\nuri = \"file://{sample}/binhost\"\nkeyring_file = \"{sample}/key/certificate.asc\"\n",
        dir = path.display(),
        sample = sample_dir().display(),
    )
}

fn worker_log(path: &Path) -> String {
    fs::read_to_string(path.join("worker.log")).unwrap_or_default()
}

/// The operator at the site's page and its API.
struct Operator {
    url: String,
    token: String,
    cookie: String,
    agent: ureq::Agent,
}

impl Operator {
    fn of(site: &Site, path: &Path) -> Operator {
        let token = fs::read_to_string(path.join("data/operator.token")).expect("a token").trim().to_owned();
        let agent = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        let mut operator = Operator { url: site.url.clone(), token, cookie: String::new(), agent };
        let form = [("operator_token", operator.token.as_str())];
        let answer = operator.agent.post(format!("{}/operator", operator.url)).send_form(form).expect("the site answers");
        let cookie = answer.headers().get("set-cookie").expect("a cookie").to_str().expect("text").to_owned();
        operator.cookie = cookie.split(';').next().expect("a cookie").to_owned();
        operator
    }

    fn page(&self, method: &str, address: &str, form: &[(&str, &str)]) -> String {
        let url = format!("{}{address}", self.url);
        let answer = match method {
            "GET" => self.agent.get(url).header("Cookie", &self.cookie).call(),
            _ => self.agent.post(url).header("Cookie", &self.cookie).send_form(form.iter().copied()),
        };
        let mut answer = answer.expect("the site answers");
        let text = answer.body_mut().read_to_string().expect("text");
        assert!(answer.status().as_u16() < 400, "{address}: {text}");
        text
    }

    /// Has a package built; what the API says.
    fn source(&self, package: &str) -> Value {
        let request = self.agent.post(format!("{}/api/v1/operator/source", self.url));
        let request = request.header("Authorization", format!("Bearer {}", self.token));
        let answer = request.send_json(json!({ "channel": "own", "package": package }));
        answer.expect("the site answers").body_mut().read_json().expect("JSON")
    }

    /// The build of this title, once it has ended.
    fn ended(&self, title: &str) -> Option<Value> {
        let request = self.agent.get(format!("{}/api/v1/operator/queue", self.url));
        let answer = request.header("Authorization", format!("Bearer {}", self.token)).call();
        let queue: Value = answer.expect("the site answers").body_mut().read_json().expect("JSON");
        let builds = queue["builds"].as_array().expect("builds").clone();
        let is_over = |build: &Value| !["waiting", "building"].contains(&build["state"].as_str().unwrap_or_default());
        builds.into_iter().find(|build| build["image_name"] == title && is_over(build))
    }
}
