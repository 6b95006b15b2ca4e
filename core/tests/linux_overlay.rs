//! Upper layers in a host directory: what we wrote, Linux's overlayfs shows, and the other way round.
#![cfg(all(feature = "host", target_os = "linux"))]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use mountless::Namespace;
use mountless::attr::SetAttr;
use mountless::backend::host::HostFs;
use mountless::compose::{LinuxUpper, Overlay};
use mountless::namespace::Follow;
use tempfile::TempDir;

/// What is done to the merged tree, by whoever merges it.
const OPS: &[Op] = &[
    Op::Write("new", "made above\n"),
    Op::Write("etc/changed", "changed above\n"),
    Op::Chmod("etc/mode", 0o600),
    Op::Remove("etc/gone"),
    Op::Rename("lib/deep", "moved"),
    Op::Write("moved/under/added", "added below a renamed directory\n"),
    Op::Rename("moved/under", "etc/under"),
    Op::RemoveDir("empty"),
    Op::RemoveAll("old"),
    Op::MakeDir("old"),
    Op::Write("old/fresh", "of the new directory\n"),
    Op::Link("etc/motd", "link"),
    Op::Rename("lib", "library"),
];

enum Op {
    Write(&'static str, &'static str),
    Chmod(&'static str, u16),
    Remove(&'static str),
    RemoveDir(&'static str),
    RemoveAll(&'static str),
    MakeDir(&'static str),
    Rename(&'static str, &'static str),
    Link(&'static str, &'static str),
}

impl Op {
    fn on_host(&self, root: &Path) -> std::io::Result<()> {
        match *self {
            Self::Write(path, content) => fs::write(root.join(path), content),
            Self::Chmod(path, mode) => fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode.into())),
            Self::Remove(path) => fs::remove_file(root.join(path)),
            Self::RemoveDir(path) => fs::remove_dir(root.join(path)),
            Self::RemoveAll(path) => fs::remove_dir_all(root.join(path)),
            Self::MakeDir(path) => fs::create_dir(root.join(path)),
            Self::Rename(from, to) => fs::rename(root.join(from), root.join(to)),
            Self::Link(target, path) => symlink(target, root.join(path)),
        }
    }

    fn on_ours(&self, merged: &Namespace) -> mountless::error::Result<()> {
        match *self {
            Self::Write(path, content) => merged.write(path, content),
            Self::Chmod(path, mode) => {
                merged.set_attr(path, Follow::Yes, &SetAttr { mode: Some(mode), ..SetAttr::default() }).map(drop)
            }
            Self::Remove(path) => merged.remove_file(path),
            Self::RemoveDir(path) => merged.remove_dir(path),
            Self::RemoveAll(path) => merged.remove_dir_all(path),
            Self::MakeDir(path) => merged.create_dir(path),
            Self::Rename(from, to) => merged.rename(from, to),
            Self::Link(target, path) => merged.symlink(target, path),
        }
    }
}

/// Two layers: one with files, one for changes.
struct Layers {
    dir: TempDir,
}

impl Layers {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lower = dir.path().join("lower");
        for (path, content) in [
            ("etc/motd", "welcome\n"),
            ("etc/changed", "as it was\n"),
            ("etc/gone", "not for long\n"),
            ("etc/mode", "of others\n"),
            ("lib/deep/under/file", "far down\n"),
            ("lib/deep/file", "down\n"),
            ("lib/stays", "here\n"),
            ("old/hidden", "hidden by a new directory\n"),
        ] {
            fs::create_dir_all(lower.join(path).parent().unwrap()).unwrap();
            fs::write(lower.join(path), content).unwrap();
        }
        fs::create_dir(lower.join("empty")).unwrap();
        for made in ["changes/upper", "changes/work", "merged"] {
            fs::create_dir_all(dir.path().join(made)).unwrap();
        }
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn ours(&self) -> Namespace {
        let lower = Arc::new(HostFs::open(self.path("lower")).unwrap());
        let upper = LinuxUpper::new(Arc::new(HostFs::open(self.path("changes")).unwrap()), None).unwrap();
        Namespace::new(Arc::new(Overlay::with_upper(vec![lower], Arc::new(upper)).unwrap()))
    }

    /// Calls `act` with the tree that Linux merges; `None` where it may not be asked.
    fn with_linux<T>(&self, act: impl FnOnce(&Path) -> T) -> Option<T> {
        let (merged, dir) = (self.path("merged"), self.dir.path().display().to_string());
        let options =
            format!("redirect_dir=on,lowerdir={dir}/lower,upperdir={dir}/changes/upper,workdir={dir}/changes/work");
        let mounted = Command::new("mount").args(["-t", "overlay", "none", "-o", &options]).arg(&merged).output();
        if !mounted.is_ok_and(|done| done.status.success()) {
            eprintln!("NOT TESTED: Linux's overlayfs cannot be mounted here; that needs root");
            return None;
        }
        let result = act(&merged);
        assert!(Command::new("umount").arg(&merged).status().unwrap().success());
        Some(result)
    }
}

fn shown_on_host(root: &Path) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_dir() {
            todo.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            String::new()
        } else if metadata.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else {
            fs::read_to_string(&path).unwrap()
        };
        let path = path.strip_prefix(root).unwrap().display().to_string();
        shown.insert(path, format!("{:o} {} {content}", metadata.mode(), metadata.mtime()));
    }
    shown
}

fn shown_by_ours(merged: &Namespace) -> BTreeMap<String, String> {
    let mut shown = BTreeMap::new();
    let mut todo = vec![String::new()];
    while let Some(path) = todo.pop() {
        let attr = merged.symlink_metadata(format!("/{path}")).unwrap();
        let (kind, content) = match attr.file_type {
            mountless::attr::FileType::Dir => {
                for entry in merged.read_dir(format!("/{path}")).unwrap() {
                    let name = String::from_utf8(entry.name.to_vec()).unwrap();
                    todo.push(if path.is_empty() { name } else { format!("{path}/{name}") });
                }
                (0o040_000, String::new())
            }
            mountless::attr::FileType::Symlink => {
                (0o120_000, String::from_utf8(merged.read_link(&path).unwrap().to_vec()).unwrap())
            }
            _ => (0o100_000, String::from_utf8(merged.read(&path).unwrap()).unwrap()),
        };
        shown.insert(path, format!("{:o} {} {content}", kind | u32::from(attr.mode), attr.mtime.secs));
    }
    shown
}

#[test]
fn linux_shows_what_we_did() {
    let layers = Layers::new();
    let merged = layers.ours();
    for op in OPS {
        op.on_ours(&merged).unwrap();
    }
    let ours = shown_by_ours(&merged);
    assert!(ours.contains_key("library/stays") && ours.contains_key("etc/under/added"), "{ours:#?}");
    drop(merged);
    assert_eq!(shown_by_ours(&layers.ours()), ours, "opened anew");
    if let Some(linux) = layers.with_linux(shown_on_host) {
        assert_eq!(linux, ours);
    }
}

#[test]
fn we_show_what_linux_did() {
    let layers = Layers::new();
    let linux = layers.with_linux(|merged| {
        for op in OPS {
            op.on_host(merged).unwrap();
        }
        shown_on_host(merged)
    });
    if let Some(linux) = linux {
        assert_eq!(shown_by_ours(&layers.ours()), linux);
    }
}
