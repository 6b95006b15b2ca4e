//! Damaged images are repaired: the new image is sound, holds the last good state, and what is missing is told.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod tfs_support;

use std::fmt::Write;
use std::sync::Arc;

use bytes::Bytes;
use mountless::backend::tfs::{Part, RepairReport, TfsFs, TfsOptions, TfsVolume, check, repair};
use mountless::clock::ManualClock;
use mountless::errno::Errno;
use mountless::format::tfs::{BootSector, Disk, Partition, RecordWriter};
use mountless::fs::FileSystem;
use mountless::source::{BytesSource, MemStorage, Source, Storage};
use tfs_support::{Random, Recorded, all, cut_power, each_sample, name, of_record, seen, sound};

fn repaired(image: &Bytes) -> mountless::Result<(Bytes, RepairReport)> {
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.clone()));
    let storage = MemStorage::new();
    storage.write_at(0, b"something else").unwrap();
    let report = repair(&source, &storage)?;
    assert_eq!(report.len, storage.len());
    Ok((all(&storage), report))
}

/// Everything that is wrong, line by line.
fn losses(report: &RepairReport) -> String {
    let mut text = String::new();
    for part in &report.parts {
        assert_eq!(part.lost_count, part.lost.len() as u64);
        for lost in &part.lost {
            writeln!(text, "{lost}").unwrap();
        }
    }
    text
}

#[test]
fn sound_images_lose_nothing() {
    let mut images = 0;
    each_sample(|sample, json, image| {
        if sample.starts_with("corrupt-") {
            return;
        }
        let (after, report) = repaired(&image).unwrap();
        assert!(report.is_complete(), "{sample}: {report:?}");
        let parts = if json.get("bootfs").is_some() { vec![Some(Part::Boot), None] } else { vec![None] };
        assert_eq!(report.parts.len(), parts.len());
        for part in parts {
            let options = TfsOptions { part, ..TfsOptions::default() };
            let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.clone()));
            let (before, facts) = TfsFs::open(source, &options).unwrap();
            let (fs, found) = sound(after.clone(), &options, sample);
            assert_eq!(seen(&fs), seen(&before), "{sample}");
            let known = |it: &mountless::backend::tfs::TfsReport| {
                (it.uuid, it.label.clone(), it.root_attributes.clone(), it.start, it.part)
            };
            assert_eq!(known(&found), known(&facts), "{sample}");
            assert_eq!((found.entries_dead, found.segments), (0, 0), "{sample}: a new log has nothing dead in it");
        }
        // What is in front of the file systems is as it was, a crash log included.
        if json.get("bootfs").is_some() && after.len() == image.len() {
            assert_eq!(after[..4096], image[..4096], "{sample}");
        }
        assert!(
            after.len() == image.len() || after.len() > image.len() && after.len() < image.len() + (2 << 20),
            "{sample}"
        );
        images += 1;
    });
    assert!(tfs_support::samples().is_none() || images > 20, "{images}");
}

#[test]
fn a_disk_whose_boot_file_system_is_missing_keeps_its_root() {
    let (mut disks, mut grown) = (0, 0);
    each_sample(|sample, json, image| {
        if sample.starts_with("corrupt-") || json.get("bootfs").is_some() {
            return;
        }
        let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.clone()));
        let (before, facts) = TfsFs::open(source, &TfsOptions::default()).unwrap();
        if facts.part != Part::Whole {
            return;
        }
        let mut sector = BootSector::empty();
        let root = Partition { first: 1, count: image.len() as u64 / 512 };
        sector.set_partitions(&Disk { efi: None, boot: None, root: Some(root) });
        let disk = Bytes::from([&sector.bytes()[..], &image].concat());
        let (after, report) = repaired(&disk).unwrap();
        assert!(report.is_complete(), "{sample}: {report:?}");
        let (fs, found) = sound(after.clone(), &TfsOptions::default(), sample);
        assert_eq!((found.part, found.start), (Part::Root, 512), "{sample}");
        assert_eq!(seen(&fs), seen(&before), "{sample}");
        disks += 1;
        // What is cut off has to grow again, and its partition is written anew.
        if let Ok((after, _)) = repaired(&disk.slice(..8192)) {
            let (_, found) = sound(after, &TfsOptions::default(), sample);
            assert_eq!((found.part, found.start), (Part::Root, 512), "{sample}");
            grown += 1;
        }
    });
    assert!(disks > 10 && grown > 0, "{grown} of {disks}");
}

#[test]
fn damaged_images_give_what_can_be_read_of_them() {
    let (mut text, mut states) = (String::new(), 0);
    each_sample(|sample, json, image| {
        if !sample.starts_with("corrupt-") {
            return;
        }
        let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.clone()));
        let was_sound = check(&source, &TfsOptions::default()).unwrap().is_sound();
        let (after, report) = match repaired(&image) {
            Ok(repaired) => repaired,
            Err(error) => {
                assert!(error.corrupt().is_some(), "{error}");
                writeln!(text, "{sample}: {error}").unwrap();
                return;
            }
        };
        let (fs, _) = sound(after.clone(), &TfsOptions::default(), sample);
        if let Some(tree) = json.get("tree_before_first_bad_frame").or_else(|| json.get("tree")) {
            let paths = tree.as_array().unwrap().iter().map(|entry| entry["path"].as_str().unwrap());
            let mut expected: Vec<_> = paths.filter(|path| *path != "/").collect();
            expected.sort_unstable();
            assert_eq!(seen(&fs).keys().collect::<Vec<_>>(), expected, "{sample}");
            states += 1;
        }
        // What was wrong is told, or was no loss.
        assert!(was_sound || !report.is_complete() || sample == "corrupt-children-not-tuple", "{sample}");
        // It can be used again.
        let storage = Arc::new(MemStorage::new());
        storage.write_at(0, &after).unwrap();
        TfsVolume::open(storage, &TfsOptions::default(), Arc::new(ManualClock::new(0))).unwrap();
        writeln!(text, "{sample}: {} nodes", report.parts[0].nodes).unwrap();
        losses(&report).lines().for_each(|line| writeln!(text, "    {line}").unwrap());
    });
    if tfs_support::samples().is_some() {
        assert!(states >= 8, "{states}");
        insta::assert_snapshot!(text);
    }
}

#[test]
fn no_name_of_a_file_loses_its_directory() {
    let mut root = RecordWriter::new();
    root.tuple(1); // #1
    root.symbol(b"children"); // #2
    root.tuple(3); // #3
    root.symbol(b"a"); // #4
    root.tuple(1); // #5
    root.symbol(b"linktarget"); // #6
    root.string(b"x");
    root.symbol(b"dir"); // #7
    root.tuple(1); // #8
    root.symbol_ref(2);
    root.tuple(1); // #9
    root.symbol(b"no_encode"); // #10
    root.tuple_ref(5, 0);
    root.symbol_ref(10);
    root.tuple_ref(5, 0);
    let image = of_record(&root);
    let source: Arc<dyn Source> = Arc::new(BytesSource::new(image.clone()));
    assert_eq!(
        check(&source, &TfsOptions::default()).unwrap().faults.iter().filter(|fault| fault.is_damage).count(),
        2
    );
    let (after, report) = repaired(&image).unwrap();
    let (fs, _) = sound(after, &TfsOptions::default(), "");
    let names = ["/a", "/dir", "/dir/no_encode.recovered", "/no_encode.recovered"];
    assert_eq!(seen(&fs).keys().collect::<Vec<_>>(), names);
    let link = fs.lookup(fs.root(), name(b"a")).unwrap();
    assert_eq!(fs.attr(link.node).unwrap().nlink, 3);
    insta::assert_snapshot!(losses(&report), @r"
    byte 28: /no_encode: the entry is called no_encode.recovered now, Nanos would lose the directory
    byte 61: /dir/no_encode: the entry is called no_encode.recovered now, Nanos would lose the directory
    ");
}

#[test]
fn nothing_is_made_of_nothing() {
    let error = repaired(&Bytes::from_static(&[0; 4096])).unwrap_err();
    assert_eq!(error, Errno::Io);
    assert!(error.corrupt().is_some());
}

#[test]
fn a_repair_that_is_cut_leaves_no_image_that_looks_whole() {
    let Some(folder) = tfs_support::samples() else { return };
    let mut random = Random(3);
    for sample in ["corrupt-torn-tail-zero", "crash-log"] {
        let image: Bytes =
            zstd::decode_all(&*std::fs::read(folder.join(format!("{sample}.img.zst"))).unwrap()).unwrap().into();
        let storage = Recorded::default();
        let source: Arc<dyn Source> = Arc::new(BytesSource::new(image));
        repair(&source, &storage).unwrap();
        let events = storage.events.lock().unwrap().clone();
        let expected = seen(&sound(all(&storage), &TfsOptions::default(), sample).0);
        let mut complete = 0;
        cut_power(&events, 0, &mut random, |medium, at, cut| {
            let image: Arc<dyn Source> = Arc::new(BytesSource::new(medium.into()));
            match TfsFs::open(image, &TfsOptions::default()) {
                Ok((fs, _)) => {
                    complete += 1;
                    assert_eq!(seen(&fs), expected, "{sample} {at} {cut:?}");
                    assert!(fs.info().total_nodes.is_some());
                }
                Err(error) => assert!(at + 1 < events.len(), "{error}"),
            }
        });
        assert!(complete >= 4, "{sample}: {complete}");
    }
}
