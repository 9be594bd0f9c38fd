//! Plans of real binhosts, as real Portage sees them once they are installed: with the configuration that the image gets, it finds nothing
//! to merge and nothing to rebuild. Nothing is fetched: what is installed is written down as the indexes have it.

mod common;

use std::path::Path;

use common::{Trees, have_shared, recordings};
use contract::{Plan, PlannedPackage};
use e2e::portage::Portage;
use gentoo::index::Entry;
use image::{Compression, Entry as FileEntry, Store, Tree, WriteOptions};
use resolver::{Universe, Wanted};

/// Groups of recordings with requests of theirs that are large: an XPAK binhost of 2023 and a GPKG one of 2025, closed with stubs.
const REQUESTS: [(&str, &[&str]); 2] =
    [("amd64-closed", &["dev-vcs/git", "net-misc/curl", "dev-perl/MailTools"]), ("amd64-gpkg", &["app-emulation/libvirt"])];

#[test]
fn portage_would_change_nothing_of_plans_of_real_binhosts() {
    if !have_shared("portage_would_change_nothing_of_plans_of_real_binhosts") {
        return;
    }
    let trees = Trees::new();
    let recordings = recordings();
    let mut written_in_all = 0;
    for (group, atoms) in REQUESTS {
        let recording = &recordings[group];
        let universe = Universe::new(common::source(recording, &trees));
        let wanted = Wanted { atoms: atoms.iter().map(|atom| (*atom).to_owned()).collect(), services: Vec::new() };
        let mut plan = universe.resolve(&wanted).unwrap_or_else(|error| panic!("{group}: {error}")).plan;
        plan.profile = Some(format!("gentoo:{}", recording.profile));
        let index = common::index_of(recording);
        let entry = |package: &PlannedPackage| {
            let same = |e: &&Entry| e.cpv.to_string() == package.cpv && e.build_id == package.build_id;
            index.entries.iter().find(same).expect("it is in the index")
        };
        let installed: Vec<&Entry> = plan.packages.iter().map(entry).collect();
        let settings = plan.portage.clone().and_then(|portage| portage.packages).expect("the profile is known");
        let flags = |entries: &[&Entry]| entries.iter().map(|entry| entry.iuse_names().count()).sum::<usize>();
        let written: usize = settings.use_flags.iter().map(|line| line.split(' ').count() - 1).sum();
        println!("{group}: {} packages with {} flags, {written} written", installed.len(), flags(&installed));
        assert!(written * 2 < flags(&installed), "only what differs is written: {:#?}", settings.use_flags);
        written_in_all += written;

        let dir = tempfile::tempdir().unwrap();
        let image = write_image(dir.path(), &plan, &installed);
        let binhost = dir.path().join("binhost");
        std::fs::create_dir(&binhost).unwrap();
        std::fs::write(binhost.join("Packages"), common::index_text(recording)).unwrap();
        let Some(portage) = Portage::of_image(&image, ("gentoo", &trees.path(&recording.tree)), &[&binhost]) else { return };
        portage.would_change_nothing("@selected");
        by_every_flag(&plan, &installed, &binhost, ("gentoo", &trees.path(&recording.tree)));
    }
    assert!(written_in_all > 0, "no binhost was built with other flags than its profile's: this shows nothing");
}

/// Of a channel without a profile, whatever profile its user takes then.
fn by_every_flag(plan: &Plan, installed: &[&Entry], binhost: &Path, repository: (&str, &Path)) {
    let plan = Plan { portage: None, ..plan.clone() };
    let dir = tempfile::tempdir().unwrap();
    let Some(portage) = Portage::of_image(&write_image(dir.path(), &plan, installed), repository, &[binhost]) else { return };
    portage.would_change_nothing("@selected");
}

/// A tar of what Portage reads: its configuration as images have it, and the records of the packages.
fn write_image(dir: &Path, plan: &Plan, installed: &[&Entry]) -> std::path::PathBuf {
    let store = Store::open(dir.join("store")).unwrap();
    let mut tree = Tree::new();
    let mut put = |path: String, text: &str| {
        let (blob, size) = store.put_bytes(format!("{text}\n").as_bytes()).unwrap();
        tree.make_dirs(path.rsplit_once('/').unwrap().0).unwrap();
        tree.insert(path, FileEntry::file(blob, size, 0o644)).unwrap();
    };
    put("usr/share/portage/config/make.globals".into(), "");
    put("var/lib/portage/world".into(), &plan.world.join("\n"));
    for (count, entry) in installed.iter().enumerate() {
        let pf = entry.cpv.to_string().split_once('/').unwrap().1.to_owned();
        let words = |words: &gentoo::Words| words.iter().collect::<Vec<_>>().join(" ");
        let (slot, build_time, counter) =
            (format!("{}/{}", entry.slot, entry.subslot), entry.build_time.to_string(), count.to_string());
        let (iuse, use_flags) = (words(&entry.iuse), words(&entry.use_flags));
        let build_id = entry.build_id.map(|id| id.to_string()).unwrap_or_default();
        let fields: [(&str, &str); 18] = [
            ("SLOT", &slot),
            ("EAPI", &entry.eapi),
            ("IUSE", &iuse),
            ("USE", &use_flags),
            ("KEYWORDS", &entry.keywords),
            ("LICENSE", &entry.license),
            ("DEPEND", &entry.depend),
            ("RDEPEND", &entry.rdepend),
            ("PDEPEND", &entry.pdepend),
            ("IDEPEND", &entry.idepend),
            ("BDEPEND", &entry.bdepend),
            ("BUILD_TIME", &build_time),
            ("BUILD_ID", &build_id),
            ("COUNTER", &counter),
            ("CATEGORY", &entry.cpv.category),
            ("PF", &pf),
            ("repository", "gentoo"),
            ("CONTENTS", ""),
        ];
        for (name, text) in fields.iter().filter(|(_, text)| !text.is_empty()) {
            put(format!("var/db/pkg/{}/{name}", entry.cpv), text);
        }
    }
    composer::configure_portage(&mut tree, &store, plan, &[], None).unwrap();
    let path = dir.join("image.tar.zst");
    image::write_tar(&tree, &store, Compression::Zstd, &WriteOptions::at(0), &path, &|_, _| true).unwrap();
    path
}
