//! Listings: cookies, brims, changes in between.

use std::collections::BTreeMap;

use super::*;

#[derive(Debug, PartialEq, Eq, Clone)]
struct Entry {
    next: u64,
    ino: u64,
    file_type: u8,
    name: String,
}

/// The whole entries in a buffer.
fn entries(mut buf: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    while buf.len() >= 24 {
        let name_len = u32::from_le_bytes(buf[16..20].try_into().unwrap()) as usize;
        if buf.len() < 24 + name_len {
            break;
        }
        entries.push(Entry {
            next: u64::from_le_bytes(buf[0..8].try_into().unwrap()),
            ino: u64::from_le_bytes(buf[8..16].try_into().unwrap()),
            file_type: buf[20],
            name: String::from_utf8(buf[24..24 + name_len].to_vec()).unwrap(),
        });
        buf = &buf[24 + name_len..];
    }
    entries
}

/// Lists as wasi-libc does, with a buffer of `len`, and calls `between` between two calls.
fn scan(guest: &mut Guest, fd: u32, len: u32, mut between: impl FnMut(&mut Guest)) -> Vec<Entry> {
    let mut all = Vec::new();
    let mut cookie = 0;
    loop {
        let buf = guest.readdir(fd, len, cookie).unwrap();
        let is_end = buf.len() < len as usize;
        let part = entries(&buf);
        if let Some(last) = part.last() {
            cookie = last.next;
        } else {
            assert!(is_end, "a buffer of {len} makes no progress");
        }
        all.extend(part);
        if is_end {
            return all;
        }
        between(guest);
    }
}

fn names(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.name.as_str()).collect()
}

#[test]
fn dots_come_first_and_types_and_numbers_are_right() {
    let mut guest = Guest::new();
    guest.mkdir("dir").unwrap();
    guest.create("file");
    guest.symlink("file", "link").unwrap();
    let all = scan(&mut guest, ROOT, 4096, |_| {});
    assert_eq!(names(&all[..2]), [".", ".."]);
    assert_eq!((all[0].next, all[1].next), (1, 2));
    let root = guest.fstat(ROOT).unwrap().ino;
    assert_eq!((all[0].ino, all[1].ino), (root, root));
    let found: BTreeMap<_, _> = all[2..].iter().map(|entry| (entry.name.as_str(), entry)).collect();
    for (name, file_type) in [("dir", 3), ("file", 4), ("link", 7)] {
        assert_eq!(found[name].file_type, file_type, "{name}");
        assert_eq!(found[name].ino, guest.stat_at(ROOT, name, 0).unwrap().ino, "{name}");
        assert!(found[name].next >= 3);
    }
    assert_eq!(all.len(), 5);
}

#[test]
fn any_buffer_is_filled_to_the_brim() {
    let mut guest = Guest::new();
    for index in 0..50 {
        guest.namespace().write(format!("/{}", "n".repeat(index + 1)), "").unwrap();
    }
    let whole = guest.readdir(ROOT, 60_000, 0).unwrap();
    assert_eq!(entries(&whole).len(), 52);
    for len in [0, 1, 23, 24, 25, 26, 27, 50, 51, 52, 53, 100, 1000, 2000] {
        let part = guest.readdir(ROOT, len, 0).unwrap();
        assert_eq!(part, whole[..len as usize], "a buffer of {len}");
    }
    let exact = u32::try_from(whole.len()).unwrap();
    assert_eq!(guest.readdir(ROOT, exact, 0).unwrap(), whole);
    for len in [80, 81, 100, 128, 1000, exact, exact + 1] {
        assert_eq!(scan(&mut guest, ROOT, len, |_| {}), entries(&whole), "buffers of {len}");
    }
    // Every cookie resumes behind its entry.
    let all = entries(&whole);
    for (index, entry) in all.iter().enumerate() {
        assert_eq!(entries(&guest.readdir(ROOT, 60_000, entry.next).unwrap()), all[index + 1..]);
    }
    for cookie in [1 << 62, u64::MAX] {
        assert_eq!(guest.readdir(ROOT, 100, cookie).unwrap(), b"");
    }
}

#[test]
fn removing_while_listing_skips_nothing() {
    let mut guest = Guest::new();
    for index in 0..300 {
        guest.namespace().write(format!("/f{index:03}"), "").unwrap();
    }
    // As `rm -r`: remove what was listed, then list on.
    let mut cookie = 0;
    let mut removed = 0;
    loop {
        let buf = guest.readdir(ROOT, 256, cookie).unwrap();
        for entry in entries(&buf) {
            cookie = entry.next;
            if !entry.name.starts_with('.') {
                guest.unlink(&entry.name).unwrap();
                removed += 1;
            }
        }
        if buf.len() < 256 {
            break;
        }
    }
    assert_eq!(removed, 300);
}

#[test]
fn what_stays_is_listed_once_while_others_come_and_go() {
    let mut guest = Guest::new();
    for index in 0..200 {
        guest.namespace().write(format!("/stay{index:03}"), "").unwrap();
        guest.namespace().write(format!("/go{index:03}"), "").unwrap();
    }
    let mut step = 0;
    let all = scan(&mut guest, ROOT, 200, |guest| {
        guest.unlink(&format!("go{:03}", (step * 7) % 200)).ok();
        guest.namespace().write(format!("/come{step:03}"), "").unwrap();
        step += 1;
    });
    let stayed: Vec<_> = all.iter().filter(|entry| entry.name.starts_with("stay")).collect();
    assert_eq!(stayed.len(), 200);
    let distinct: std::collections::BTreeSet<_> = stayed.iter().map(|entry| &entry.name).collect();
    assert_eq!(distinct.len(), 200);
}

#[test]
fn only_directories_are_listed() {
    let mut guest = Guest::new();
    let fd = guest.create("f");
    assert_eq!(guest.readdir(fd, 100, 0), Err(Errno::NotDir));
    assert_eq!(guest.readdir(0, 100, 0), Err(Errno::BadFd));
    guest.mkdir("d").unwrap();
    let dir = guest.open("d", DIRECTORY, READ).unwrap();
    guest.rmdir("d").unwrap();
    assert_eq!(names(&scan(&mut guest, dir, 100, |_| {})), [".", ".."]);
}
