use std::fs;
use std::path::Path;

use super::{FormKey, PACK_SIZE};
use crate::store::Store;

fn key(number: u64) -> FormKey {
    let mut hasher = FormKey::of("test, 1");
    hasher.number(number);
    hasher.finish()
}

fn bytes(number: u64) -> Vec<u8> {
    (0..number * 7 % 50_000).map(|i| (i * number % 251) as u8).collect()
}

/// Files in the store's forms with this ending, by name.
fn files(dir: &Path, ending: &str) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(dir.join("forms")).unwrap().map(|entry| entry.unwrap().path());
    let mut found: Vec<_> = entries.filter(|path| path.extension().is_some_and(|e| e == ending)).collect();
    found.sort();
    found
}

#[test]
fn forms_come_back_here_and_elsewhere() {
    let dir = tempfile::tempdir().unwrap();
    let (here, elsewhere) = (Store::open(dir.path()).unwrap(), Store::open(dir.path()).unwrap());
    let (forms, early) = (here.forms().unwrap(), elsewhere.forms().unwrap());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let forms = &forms;
            scope.spawn(move || (0..100).for_each(|n| forms.put(&key(n * 4 + thread), &bytes(n * 4 + thread)).unwrap()));
        }
    });
    early.put(&key(1000), &bytes(1000)).unwrap();
    assert_eq!(early.get(&key(0)), None, "not there when it was opened");
    let later = Store::open(dir.path()).unwrap();
    for forms in [here.forms().unwrap(), elsewhere.forms().unwrap(), later.forms().unwrap()] {
        for n in (0..400).chain([1000]) {
            assert_eq!(forms.get(&key(n)).as_deref(), Some(bytes(n).as_slice()), "{n}");
        }
        assert_eq!(forms.get(&key(500)), None);
    }
    assert_eq!(files(dir.path(), "pack").len(), 2, "one for each process that puts");
    drop((here, elsewhere, forms, early));
    later.forms().unwrap().put(&key(2000), b"more").unwrap();
    assert_eq!(files(dir.path(), "pack").len(), 2, "packs with room are gone on with");
}

#[test]
fn damage_is_a_miss_and_heals() {
    let dir = tempfile::tempdir().unwrap();
    let damage: [(&str, fn(&Path)); 4] = [
        ("a flipped bit", |dir| {
            let path = &files(dir, "pack")[0];
            let mut content = fs::read(path).unwrap();
            content[bytes(1).len() + 3] ^= 4;
            fs::write(path, content).unwrap();
        }),
        ("a cut pack", |dir| {
            let path = &files(dir, "pack")[0];
            fs::File::options().write(true).open(path).unwrap().set_len(10).unwrap();
        }),
        ("a cut index", |dir| {
            let path = &files(dir, "index")[0];
            fs::File::options().write(true).open(path).unwrap().set_len(100).unwrap();
        }),
        ("a garbled index", |dir| {
            let path = &files(dir, "index")[0];
            let mut content = fs::read(path).unwrap();
            content.iter_mut().skip(64 + 32).for_each(|byte| *byte = !*byte);
            fs::write(path, content).unwrap();
        }),
    ];
    for (what, damage) in damage {
        let dir = dir.path().join(what);
        {
            let store = Store::open(&dir).unwrap();
            let forms = store.forms().unwrap();
            (1..4).for_each(|n| forms.put(&key(n), &bytes(n)).unwrap());
        }
        damage(&dir);
        let store = Store::open(&dir).unwrap();
        let forms = store.forms().unwrap();
        assert_eq!(forms.get(&key(2)), None, "{what}");
        forms.put(&key(2), &bytes(2)).unwrap();
        for forms in [forms, Store::open(&dir).unwrap().forms().unwrap()] {
            assert_eq!(forms.get(&key(2)), Some(bytes(2)), "{what}");
        }
    }
}

#[test]
fn removed_packs_are_a_miss_and_full_ones_are_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let forms = store.forms().unwrap();
    forms.put(&key(1), b"one").unwrap();
    fs::File::options().write(true).open(&files(dir.path(), "pack")[0]).unwrap().set_len(PACK_SIZE).unwrap();
    drop((store, forms));
    let store = Store::open(dir.path()).unwrap();
    let forms = store.forms().unwrap();
    forms.put(&key(2), b"two").unwrap();
    let packs = files(dir.path(), "pack");
    assert_eq!(packs.len(), 2);
    packs.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!(forms.get(&key(1)), None);
    forms.put(&key(3), b"three").unwrap();
    assert_eq!(files(dir.path(), "pack").len(), 1, "a pack that is gone is not added to");
    assert_eq!(store.forms().unwrap().get(&key(2)), None);
    assert_eq!(store.forms().unwrap().get(&key(3)).unwrap(), b"three");
}

#[test]
fn fields_of_keys_never_run_together() {
    let key = |fields: &[&str]| {
        let mut hasher = FormKey::of("test");
        fields.iter().for_each(|field| _ = hasher.field(field.as_bytes()));
        hasher.finish()
    };
    assert_ne!(key(&["ab", "c"]), key(&["a", "bc"]));
}
