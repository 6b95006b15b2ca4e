#![no_main]

use libfuzzer_sys::fuzz_target;
use mountless::format::tfs::{Manifest, ManifestKind, ManifestValue};

/// Whether names are sorted and unique, all the way down.
fn is_ordered(value: &ManifestValue) -> bool {
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        match &value.kind {
            ManifestKind::String(_) => {}
            ManifestKind::Vector(elements) => pending.extend(elements),
            ManifestKind::Tuple(entries) => {
                if !entries.is_sorted_by(|one, other| one.name < other.name) {
                    return false;
                }
                pending.extend(entries.iter().map(|entry| &entry.value));
            }
        }
    }
    true
}

fuzz_target!(|data: &[u8]| {
    let lines = data.iter().filter(|byte| **byte == b'\n').count() + 1;
    let is_inside = |line: u32| (1..=lines).contains(&usize::try_from(line).expect("small"));
    match Manifest::parse(data) {
        Ok(manifest) => {
            assert!(is_ordered(&manifest.root));
            assert!(manifest.remarks.iter().all(|remark| is_inside(remark.position.line)));
        }
        Err(error) => assert!(is_inside(error.position.line), "{error}"),
    }
});
