use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    (dir, store)
}

fn files_in(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

#[test]
fn content_comes_back() {
    let (_dir, store) = store();
    for size in [0, 1, SMALL, SMALL + 1, 3 * SMALL + 5] {
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let (blob, stored) = store.put(&mut content.as_slice()).unwrap();
        assert_eq!((blob, stored), (BlobId::of(&content), size as u64));
        assert_eq!(store.put_bytes(&content).unwrap().0, blob);
        assert_eq!(store.read(&blob).unwrap(), content);
        let mut copy = Vec::new();
        store.copy(&blob, &mut copy).unwrap();
        assert_eq!(copy, content);
    }
    assert_eq!(files_in(&store.tmp()), 0);
}

#[test]
fn a_source_that_fails_leaves_nothing() {
    struct Fails(usize);
    impl Read for Fails {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0 = self.0.checked_sub(1).ok_or_else(|| io::Error::other("cut"))?;
            buffer.fill(1);
            Ok(buffer.len())
        }
    }
    let (_dir, store) = store();
    for reads in [0, 2000] {
        assert!(matches!(store.put(&mut Fails(reads)), Err(StoreError::Source(_))));
    }
    assert_eq!(files_in(&store.root), 1, "only the empty tmp folder");
    assert_eq!(files_in(&store.tmp()), 0);
}

#[test]
fn damage_is_found_and_heals() {
    let (_dir, store) = store();
    for damage in [b"hellO".as_slice(), b"hell", b""] {
        let (blob, _) = store.put_bytes(b"hello").unwrap();
        fs::write(store.path(&blob), damage).unwrap();
        assert!(matches!(store.copy(&blob, &mut io::sink()), Err(StoreError::Damaged { .. })));
        assert!(matches!(store.read(&blob), Err(StoreError::Missing { .. })));
        store.put_bytes(b"hello").unwrap();
        fs::write(store.path(&blob), damage).unwrap();
        assert!(matches!(store.read(&blob), Err(StoreError::Damaged { .. })));
        store.put_bytes(b"hello").unwrap();
        assert_eq!(store.read(&blob).unwrap(), b"hello");
    }
}

#[test]
fn a_short_blob_is_replaced_by_put() {
    let (_dir, store) = store();
    let (blob, _) = store.put_bytes(b"hello").unwrap();
    fs::write(store.path(&blob), b"he").unwrap();
    store.put_bytes(b"hello").unwrap();
    assert_eq!(store.read(&blob).unwrap(), b"hello");
}

#[test]
fn a_full_disk_says_so() {
    let (_dir, store) = store();
    // Linux's /dev/full refuses every write as a full disk does.
    let error = File::options().write(true).open("/dev/full").unwrap().write_all(b"x").unwrap_err();
    let error = store.failed(Path::new("/somewhere"), error);
    assert!(matches!(error, StoreError::DiskFull { .. }));
    assert_eq!(error.to_string(), "the disk is full: /somewhere cannot grow; free some space there and try again");
}

#[test]
fn only_old_leftovers_are_swept() {
    let (_dir, store) = store();
    let (old, new) = (store.tmp().join("old"), store.tmp().join("new"));
    for path in [&old, &new] {
        fs::write(path, b"half").unwrap();
    }
    File::options().write(true).open(&old).unwrap().set_modified(SystemTime::now() - 2 * LEFTOVER_AGE).unwrap();
    Store::open(&store.root).unwrap();
    assert!(!old.exists() && new.exists());
}

#[test]
fn several_writers_at_once() {
    let (_dir, store) = store();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for i in 0..200u32 {
                    let (blob, _) = store.put_bytes(&i.to_le_bytes()).unwrap();
                    assert_eq!(store.read(&blob).unwrap(), i.to_le_bytes());
                }
            });
        }
    });
    assert_eq!(files_in(&store.tmp()), 0);
}
