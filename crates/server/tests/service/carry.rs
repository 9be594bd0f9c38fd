//! A site in one archive.

use contract::Format;

use crate::common::{Setup, Site, config, content, folder, operator_token, order};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(work)
}

fn export(config: &server::Config, keys: bool) -> Vec<u8> {
    let mut archive = Vec::new();
    let exported = block_on(server::export(config, None, keys, &mut archive)).unwrap();
    assert!(exported.images == 1 && exported.rows > 10, "{exported:?}");
    archive
}

#[test]
fn a_site_is_carried_elsewhere_and_back() {
    let (_dir, path) = folder();
    let setup = Setup::default();
    let site = Site::start(&path);
    let built = site.order(&order(&["app-shells/bash"], &[Format::Zip]));
    site.build(&site.lease().unwrap());
    let waiting = site.order(&order(&["dev-vcs/git"], &[Format::Zip]));
    let archive = export(&config(&path, &setup), true);
    site.stop();

    // Whatever these tests run on, it goes over SQLite and a folder, and back.
    let (_between, between) = folder();
    let plain = server::Config { database: None, storage: None, ..config(&between, &setup) };
    for length in [0, 512, archive.len() / 2, archive.len() - 2_048] {
        let cut = block_on(server::import(&plain, &mut &archive[..length]));
        assert!(matches!(cut, Err(server::CarryError::Damaged(_))), "{length}: {cut:?}");
    }
    let mut changed = archive.clone();
    let at = changed.windows(16).position(|bytes| bytes == &content(Format::Zip)[..16]).unwrap();
    changed[at] ^= 1;
    assert!(matches!(block_on(server::import(&plain, &mut changed.as_slice())), Err(server::CarryError::Damaged(_))));
    assert!(!plain.data_dir.join("carried").exists(), "nothing of these was taken");
    let imported = block_on(server::import(&plain, &mut archive.as_slice())).unwrap();
    assert_eq!(imported.images, 1);
    assert!(imported.carried.join("folders/0/app-shells/bash-5.2_p15.gpkg.tar").exists(), "the binhost came along");
    let again = block_on(server::import(&plain, &mut archive.as_slice()));
    assert!(matches!(again, Err(server::CarryError::InTheWay(_))));

    let (_last, last) = folder();
    let presets = between.join("own");
    std::fs::create_dir(&presets).unwrap();
    let lab = "name = \"lab\"\ntitle = \"Lab\"\narch = \"amd64\"\ndescription = \"Ours.\"\npackages = [\"app-shells/bash\"]\n";
    std::fs::write(presets.join("lab.toml"), lab).unwrap();
    let written = format!("data_dir = \"{}\"\npresets_dir = '{}'\n", plain.data_dir.display(), presets.display());
    std::fs::write(between.join("hatchery.toml"), written).unwrap();
    let plain = server::Config { presets_dir: Some(presets), ..plain };
    let mut archive = Vec::new();
    block_on(server::export(&plain, Some(&between.join("hatchery.toml")), false, &mut archive)).unwrap();
    let at = config(&last, &setup);
    let carried = block_on(server::import(&at, &mut archive.as_slice())).unwrap().carried;
    let written = std::fs::read_to_string(carried.join("hatchery.toml")).unwrap();
    let expected = format!("data_dir = \"{}\"\npresets_dir = '{}'\n", at.data_dir.display(), carried.join("presets").display());
    assert_eq!(written, expected);
    assert_eq!(std::fs::read_to_string(carried.join("presets/lab.toml")).unwrap(), lab);
    let site = Site::start(&last);
    assert_ne!(operator_token(&last), operator_token(&between), "keys go only where they are wanted");
    assert_eq!(operator_token(&path), operator_token(&between));
    assert_eq!((site.state(&built).as_str(), site.state(&waiting).as_str()), ("ready", "waiting"));
    let file = site.status(&built)["artifacts"][0]["url"].as_str().unwrap().to_owned();
    assert_eq!(site.get(&file).body, content(Format::Zip));
    site.build(&site.lease().unwrap());
    assert_eq!(site.state(&waiting), "ready");
    site.order(&order(&["app-editors/vim"], &[Format::Zip]));
    site.stop();
}
