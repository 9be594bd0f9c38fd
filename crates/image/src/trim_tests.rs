use std::collections::BTreeSet;
use std::time::Duration;

use super::*;
use crate::forms::FormKey;
use crate::store::BlobId;

const DAY: Duration = Duration::from_secs(86_400);

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    (dir, store)
}

/// Stores a blob of one disk block that was used so long ago.
fn put(store: &Store, text: &str, ago: Duration) -> BlobId {
    let (blob, _) = store.put_bytes(text.as_bytes()).unwrap();
    age(&store.path(&blob), ago);
    blob
}

fn age(path: &Path, ago: Duration) {
    File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - ago).unwrap();
}

fn size(store: &Store) -> u64 {
    store.trim(u64::MAX).unwrap().left
}

#[test]
fn the_oldest_go_first_and_no_more_than_has_to() {
    let (_dir, store) = store();
    let blobs: Vec<BlobId> = (0..4).map(|i| put(&store, &format!("number {i}"), DAY * (10 - i))).collect();
    let forms = store.forms().unwrap();
    let key = FormKey::of("test").finish();
    forms.put(&key, b"kept").unwrap();
    let pack = fs::read_dir(store.root().join("forms"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|p| p.ends_with("") && p.extension().is_some_and(|e| e == "pack"))
        .unwrap();
    age(&pack, DAY * 9 - DAY / 2);
    drop(forms);

    let all = size(&store);
    let one = on_disk(&fs::metadata(store.path(&blobs[0])).unwrap());
    assert_eq!(store.trim(all).unwrap(), Trimmed { removed: 0, left: all });
    assert_eq!(store.trim(all - 1).unwrap(), Trimmed { removed: one, left: all - one });
    let left = |store: &Store| blobs.iter().map(|blob| store.contains(blob)).collect::<Vec<_>>();
    assert_eq!(left(&store), [false, true, true, true]);
    // Number 1 is older than the pack, which is older than the others.
    store.trim(3 * one).unwrap();
    assert_eq!(left(&store), [false, false, true, true]);
    let removed = store.trim(2 * one).unwrap();
    assert_eq!((left(&store), removed.left), (vec![false, false, true, true], 2 * one));
    assert_eq!(store.forms().unwrap().get(&key), None);
    assert_eq!(store.trim(0).unwrap().left, 0);
    assert_eq!(left(&store), [false; 4]);
}

#[test]
fn what_a_running_build_uses_stays() {
    let (_dir, store) = store();
    let read = put(&store, "read", DAY * 3);
    let put_again = put(&store, "put again", DAY * 3);
    let unused = put(&store, "unused", DAY);
    let in_use = store.in_use().unwrap();
    let fresh = store.put_bytes(b"fresh").unwrap().0;
    assert_eq!(store.read(&read).unwrap(), b"read");
    store.put_bytes(b"put again").unwrap();
    store.trim(0).unwrap();
    for blob in [fresh, read, put_again] {
        assert!(store.contains(&blob), "{}", String::from_utf8(store.read(&blob).unwrap()).unwrap());
    }
    assert!(!store.contains(&unused));
    drop(in_use);
    assert_eq!(store.trim(0).unwrap().left, 0);
}

#[test]
fn a_use_ends_with_its_process() {
    let (_dir, store) = store();
    let left_behind = store.root().join(USES).join("of-a-dead-process");
    drop(store.in_use().unwrap());
    fs::write(&left_behind, "").unwrap();
    put(&store, "some", DAY);
    assert_eq!(store.trim(0).unwrap().left, 0);
    assert!(!left_behind.exists());
}

#[test]
fn builds_and_trimming_go_on_side_by_side() {
    let (dir, store) = store();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let trimmer = Store::open(dir.path()).unwrap();
        let (done, store) = (&done, &store);
        scope.spawn(move || {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                trimmer.trim(0).unwrap();
            }
        });
        for round in 0..30 {
            let _in_use = store.in_use().unwrap();
            let texts: Vec<String> = (0..20).map(|i| format!("blob {i}")).collect();
            let blobs: Vec<BlobId> = texts.iter().map(|text| store.put_bytes(text.as_bytes()).unwrap().0).collect();
            for (blob, text) in blobs.iter().zip(&texts) {
                assert_eq!(store.read(blob).unwrap(), text.as_bytes(), "round {round}");
                // As if it had not been used for long before the next round.
                let _ = File::options().write(true).open(store.path(blob)).and_then(|f| f.set_modified(SystemTime::now() - DAY));
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

/// Numbers that are the same each time.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// A worker of several that share a store, and what its build has put or read.
#[derive(Default)]
struct Build {
    use_of_store: Option<InUse>,
    blobs: BTreeSet<u64>,
    forms: BTreeSet<u64>,
}

fn content(number: u64) -> Vec<u8> {
    format!("content {number} ").repeat(400).into_bytes()
}

fn form_key(number: u64) -> FormKey {
    let mut key = FormKey::of("test");
    key.number(number);
    key.finish()
}

/// Makes everything look as if it had been put or read a day earlier than it was, the beginnings of uses too.
fn a_day_passes(root: &Path) {
    for entry in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            a_day_passes(&entry);
        } else if let Ok(found) = fs::metadata(&entry) {
            File::options().write(true).open(&entry).unwrap().set_modified(found.modified().unwrap() - DAY).unwrap();
        }
    }
}

#[test]
fn nothing_in_use_goes_and_the_size_holds() {
    for seed in 0..24 {
        let dir = tempfile::tempdir().unwrap();
        let workers: Vec<Store> = (0..2).map(|_| Store::open(dir.path()).unwrap()).collect();
        let mut builds = [Build::default(), Build::default()];
        let mut dice = Dice(seed);
        for step in 0..150 {
            let at = dice.below(2) as usize;
            let (store, build) = (&workers[at], &mut builds[at]);
            let number = dice.below(30);
            match dice.below(12) {
                0 => *build = Build::default(),
                1 => a_day_passes(dir.path()),
                2 | 3 => {
                    let most = dice.below(200_000);
                    let left = store.trim(most).unwrap().left;
                    let idle = builds.iter().all(|build| build.use_of_store.is_none());
                    assert!(
                        left <= most || !idle,
                        "seed {seed}, step {step}: {left} bytes are left of {most}, and nobody uses them"
                    );
                }
                action => {
                    // Only builds look at the store, and each says so before its first look.
                    build.use_of_store.get_or_insert_with(|| store.in_use().unwrap());
                    let (bytes, key, forms) = (content(number), form_key(number), store.forms().unwrap());
                    match action {
                        4 | 5 => _ = build.blobs.insert(number).then(|| store.put_bytes(&bytes).unwrap()),
                        6 | 7 => _ = store.read(&BlobId::of(&bytes)).is_ok_and(|_| build.blobs.insert(number)),
                        8 | 9 => _ = build.forms.insert(number).then(|| forms.put(&key, &bytes).unwrap()),
                        _ => _ = forms.get(&key).is_some_and(|_| build.forms.insert(number)),
                    }
                }
            }
            for (build, store) in builds.iter().zip(&workers) {
                let forms = store.forms().unwrap();
                let blob_is_there = |number: &u64| store.contains(&BlobId::of(&content(*number)));
                assert!(build.blobs.iter().all(blob_is_there), "seed {seed}, step {step}: a build has lost a content");
                let form_is_there = |number: &u64| forms.contains(&form_key(*number));
                assert!(build.forms.iter().all(form_is_there), "seed {seed}, step {step}: a build has lost a form");
            }
        }
    }
}
