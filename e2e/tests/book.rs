//! Every command of the book is run, chapter by chapter, as a reader would run it who has a site.

use std::path::Path;
use std::process::{Command, Stdio};

use e2e::book::{Block, blocks};
use e2e::site::Site;
use e2e::{hatchery, test_venv, user, workspace};

/// Chapters whose commands are one story: later ones use what earlier ones found out.
const STORIES: [&str; 2] = ["api.md", "cli.md"];

/// Names that stand for the reader's own in the book's commands.
fn as_here(script: &str, site: &Site) -> String {
    script.replace("https://hatchery.example.org", &site.url).replace("/backups/", "backups/")
}

/// A chapter's folder: what a reader has beside the commands.
fn prepare(dir: &Path, whole: &Path) {
    std::fs::create_dir(dir).expect("a folder");
    for name in ["worker.token", "operator.token"] {
        std::fs::copy(whole.join("data").join(name), dir.join(name)).expect("the site's token");
    }
    // Commands that take a configuration get the site's channels with a folder of their own.
    let config = std::fs::read_to_string(whole.join("hatchery.toml")).expect("the site's configuration");
    let data = format!("data_dir = \"{}\"", whole.join("data").display());
    let own = format!("data_dir = \"{}\"\npresets_dir = \"presets\"", dir.with_file_name("data").display());
    assert!(config.contains(&data), "{config}");
    std::fs::write(dir.join("hatchery.toml"), config.replace(&data, &own)).expect("a file");
    std::fs::create_dir(dir.join("presets")).expect("a folder");
}

/// The chapters' own site, as it was carried there from the one that runs: what it was, its database and its tokens.
fn carry(whole: &Path, chapters: &Path) {
    let dir = chapters.join("carried");
    prepare(&dir, whole);
    user::give(&dir);
    let running = whole.join("hatchery.toml");
    for (command, config, folder) in [("backup", running.as_path(), "backup"), ("restore", Path::new("hatchery.toml"), "backup")]
    {
        let output = user::command(&hatchery()).args([command, "--config"]).arg(config).arg(folder).current_dir(&dir).output();
        let output = output.expect("hatchery runs");
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// The blocks of a chapter; those of a story as one script that tells where it is.
fn blocks_of(name: &str, text: &str) -> Vec<Block> {
    let found = blocks(text);
    if !STORIES.contains(&name) {
        return found;
    }
    let told = found.iter().filter_map(|block| match block {
        Block::Commands { line, script } => Some(format!("echo 'at line {line}'\n{script}")),
        Block::File { .. } => None,
    });
    vec![Block::Commands { line: 1, script: told.collect() }]
}

/// What the commands of a story say.
fn expected(name: &str) -> &'static [&'static str] {
    match name {
        "api.md" => &[
            ".tar.gz: OK",
            "otherwise\nnot-there\n",
            "urn:hatchery:problem:no-plan",
            "paused",
            "everybody",
            "cancelled",
            "rel=\"next\"",
        ],
        "cli.md" => {
            &["app-shells/bash:", "Ordered: ", "Ready: ", "Download: hatchery download http", "ready\n", ".tar.gz", ".spdx.json"]
        }
        _ => &[],
    }
}

fn run_chapter(name: &str, text: &str, dir: &Path, site: &Site) {
    let path = format!("{}:{}", hatchery().parent().expect("a folder").display(), std::env::var("PATH").unwrap_or_default());
    for block in blocks_of(name, text) {
        match block {
            Block::File { path, content } => std::fs::write(dir.join(path), content).expect("a file"),
            Block::Commands { line, script } => {
                user::give(dir);
                let output = user::command(Path::new("bash"))
                    .args(["-euo", "pipefail", "-c", &as_here(&script, site)])
                    .current_dir(dir)
                    .env("PATH", &path)
                    .env("HATCHERY_SERVER", &site.url)
                    .env("HATCHERY_OPERATOR_TOKEN", dir.join("operator.token"))
                    .env("HATCHERY_CONFIG", dir.join("hatchery.toml"))
                    .env("HATCHERY_DIR", dir.with_file_name("data"))
                    .env("HOME", dir)
                    .stdin(Stdio::null())
                    .output()
                    .expect("bash runs");
                let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                assert!(output.status.success(), "docs/{name}, line {line}: {}\n{script}\n{said}", output.status);
                expected(name).iter().for_each(|text| assert!(said.contains(text), "docs/{name}: {text} is not in\n{said}"));
            }
        }
    }
}

#[test]
fn the_commands_of_the_book_run() {
    let whole = tempfile::tempdir().expect("a folder");
    let site = Site::start(whole.path(), "");
    let chapters = tempfile::tempdir().expect("a folder");
    user::give(chapters.path());
    carry(whole.path(), chapters.path());
    let mut run = 0;
    let mut files: Vec<_> = std::fs::read_dir(workspace().join("docs")).expect("docs/").flatten().map(|e| e.path()).collect();
    files.sort();
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.ends_with(".md") {
            continue;
        }
        let text = std::fs::read_to_string(&file).expect("a chapter");
        let dir = chapters.path().join(&name);
        prepare(&dir, whole.path());
        run_chapter(&name, &text, &dir, &site);
        run += blocks(&text).iter().filter(|block| matches!(block, Block::Commands { .. })).count();
    }
    assert!(run >= 12, "only {run} blocks of commands were found in docs/");
}

/// mdBook itself, from PyPI (`scripts/setup test`), makes the same book and has nothing to say against it.
#[test]
fn mdbook_makes_it_too() {
    let out = tempfile::tempdir().expect("a folder");
    let mdbook = test_venv().join("bin/mdbook");
    if !mdbook.exists() {
        println!("SKIPPED: mdBook is not in {}: run scripts/setup test", test_venv().display());
        return;
    }
    let made = Command::new(mdbook).arg("build").arg(workspace()).arg("-d").arg(out.path()).output().expect("mdbook runs");
    let said = format!("{}{}", String::from_utf8_lossy(&made.stdout), String::from_utf8_lossy(&made.stderr));
    assert!(made.status.success() && !said.contains("WARN") && !said.contains("ERROR"), "{said}");
    let architecture = std::fs::read_to_string(out.path().join("architecture.html")).expect("a chapter");
    assert!(architecture.contains("An image is a pure function"), "what is included is there");
    let chapters = std::fs::read_dir(workspace().join("docs")).expect("docs/").flatten().map(|entry| entry.file_name());
    for chapter in chapters.filter_map(|name| name.to_string_lossy().strip_suffix(".md").map(str::to_owned)) {
        assert!(chapter == "SUMMARY" || out.path().join(format!("{chapter}.html")).exists(), "{chapter} is not in the book");
    }
}
