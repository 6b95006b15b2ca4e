//! Works on files as Rust's standard library does, and says what it sees: nothing of it depends on times, numbers of
//! files or orders of listings.

use std::ffi::{c_char, c_int, CString};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

extern "C" {
    // The standard library has it behind a feature only.
    fn symlink(target: *const c_char, path: *const c_char) -> c_int;
}

fn link(target: &str, path: &Path) -> std::io::Result<()> {
    let target = CString::new(target)?;
    let path = CString::new(path.to_str().unwrap())?;
    // SAFETY: both are strings that live longer than the call.
    match unsafe { symlink(target.as_ptr(), path.as_ptr()) } {
        0 => Ok(()),
        _ => Err(Error::last_os_error()),
    }
}

fn say<T: std::fmt::Debug>(what: &str, result: std::io::Result<T>) {
    match result {
        Ok(value) => println!("{what}: {value:?}"),
        Err(error) => println!("{what}: {:?} {:?}", error.kind(), error.raw_os_error()),
    }
}

fn names(dir: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let kind = if kind.is_dir() {
            "dir"
        } else if kind.is_symlink() {
            "link"
        } else {
            "file"
        };
        names.push(format!("{} {kind}", entry.file_name().to_string_lossy()));
    }
    names.sort();
    Ok(names)
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.symlink_metadata()?.is_dir() {
            walk(&path, found)?;
        }
        found.push(path);
    }
    Ok(())
}

fn trees(top: &Path) -> std::io::Result<()> {
    fs::create_dir_all(top.join("a/b/c"))?;
    say("again", fs::create_dir(top.join("a")));
    say("in nothing", fs::create_dir(top.join("none/x")));
    for n in 0..200 {
        fs::write(top.join(format!("a/b/{n}")), vec![b'x'; n])?;
    }
    let mut found = Vec::new();
    walk(top, &mut found)?;
    found.sort();
    println!("{} {:?} {:?}", found.len(), found.first(), found.last());
    say("full", fs::remove_dir(top.join("a/b")));
    say("copied", fs::copy("/etc/motd", top.join("motd")));
    fs::rename(top.join("a/b"), top.join("moved"))?;
    say("over full", fs::rename(top.join("a"), top.join("moved")));
    say("into itself", fs::rename(top.join("moved"), top.join("moved/below")));
    fs::remove_dir_all(top.join("moved"))?;
    say("listed", names(top));
    Ok(())
}

fn links(top: &Path) -> std::io::Result<()> {
    fs::write(top.join("target"), "the target\n")?;
    link("target", &top.join("link"))?;
    link("nowhere", &top.join("dangling"))?;
    link("loop", &top.join("loop"))?;
    say("again", link("target", &top.join("link")));
    for name in ["link", "dangling", "loop", "target"] {
        let path = top.join(name);
        say(name, fs::read_to_string(&path));
        say("points to", fs::read_link(&path));
        say("len", path.symlink_metadata().map(|metadata| (metadata.len(), metadata.file_type().is_symlink())));
    }
    say("canonical", names(&top.join(".")));
    for path in ["../etc", "/../etc/motd", "/work/../../etc/motd"] {
        say(path, fs::metadata(path).map(|metadata| metadata.is_file()));
    }
    say("beyond a file", fs::write(top.join("target/x"), ""));
    Ok(())
}

fn contents(top: &Path) -> std::io::Result<()> {
    let path = top.join("content");
    let mut file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
    say("new", OpenOptions::new().write(true).create_new(true).open(&path).map(drop));
    for n in 0..3000 {
        writeln!(file, "line {n}")?;
    }
    println!("at {}", file.stream_position()?);
    file.seek(SeekFrom::Start(0))?;
    let sum: usize = BufReader::new(&file).lines().map(|line| line.unwrap().len()).sum();
    println!("sum {sum}");
    file.seek(SeekFrom::Start(1 << 21))?;
    file.write_all(b"beyond")?;
    println!("len {}", file.metadata()?.len());
    file.seek(SeekFrom::End(-10))?;
    let mut end = Vec::new();
    file.read_to_end(&mut end)?;
    println!("{end:?}");
    say("before", file.seek(SeekFrom::Current(-(1 << 40))));
    file.set_len(5)?;
    file.set_len(9)?;
    file.seek(SeekFrom::Start(0))?;
    end.clear();
    file.read_to_end(&mut end)?;
    println!("{end:?}");
    file.sync_all()?;
    fs::remove_file(&path)?;
    println!(
        "gone {:?}, still {}",
        path.symlink_metadata().map_err(|error| error.kind()).err(),
        file.metadata()?.len()
    );
    let mut log = OpenOptions::new().append(true).create(true).open(top.join("log"))?;
    for n in 0..5 {
        write!(log, "{n},")?;
    }
    say("read what is appended to", log.read(&mut [0; 4]));
    say("log", fs::read_to_string(top.join("log")));
    say(
        "a directory",
        fs::read(top)
            .map_err(|error| if error.kind() == ErrorKind::Other { Error::from_raw_os_error(0) } else { error }),
    );
    say("write a directory", File::create(top).map(drop));
    Ok(())
}

fn main() -> std::io::Result<()> {
    let top = PathBuf::from(std::env::args().nth(1).unwrap());
    println!("{:?}", std::env::var("SEEN"));
    fs::create_dir(&top)?;
    trees(&top)?;
    links(&top)?;
    contents(&top)?;
    eprintln!("done");
    std::process::exit(6);
}
