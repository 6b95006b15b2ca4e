//! Random calls: preview 2 answers what preview 1 answers, which a model checks (`tests/calls`).

use super::*;
use crate::host::Fail;
use crate::p1::{CallResult, Process};

/// xorshift64*.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9))
    }

    pub(crate) fn below(&mut self, count: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % count
    }

    pub(crate) fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    pub(crate) fn path(&mut self) -> String {
        let mut path = String::new();
        for index in 0..self.one(&[1, 1, 1, 1, 2, 2, 3]) {
            path += if index > 0 { "/" } else { "" };
            path += self.one(&["a", "b", "c", "a", "b", "c", "l", ".", "..", ""]);
        }
        path + self.one(&["", "", "", "", "", "/"])
    }

    pub(crate) fn offset(&mut self) -> u64 {
        self.one(&[0, 1, 10, 4095, 4096, 5000, 1 << 40, i64::MAX as u64])
    }
}

const PATH: u32 = 0x100;
const OTHER: u32 = 0x800;
const DATA: u32 = 0x1000;

/// A process of preview 1, on a tree of its own.
struct One {
    process: Process,
    memory: Vec<u8>,
}

impl One {
    fn new() -> Self {
        let namespace = Namespace::new(Arc::new(MemFs::new()));
        let mut process = Process::from_ctx(namespace.clone(), wasmtime_wasi::WasiCtx::default());
        process.preopen("/", namespace.root()).unwrap();
        Self { process, memory: vec![0; 0x4000] }
    }

    fn put(&mut self, at: u32, bytes: &[u8]) -> (u32, u32) {
        self.memory[at as usize..at as usize + bytes.len()].copy_from_slice(bytes);
        (at, u32::try_from(bytes.len()).unwrap())
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.memory[at..at + 8].try_into().unwrap())
    }

    /// What a call put to where results go.
    fn word(&self) -> u32 {
        self.long(0) as u32
    }

    fn iovec(&mut self, len: u32) {
        self.put(16, &DATA.to_le_bytes());
        self.put(20, &len.to_le_bytes());
    }

    fn taken(&self) -> &[u8] {
        &self.memory[DATA as usize..(DATA + self.word()) as usize]
    }
}

/// Calls whose answers are compared, here with preview 1 and elsewhere with preview 3.
impl Guest {
    pub(crate) const fn root(&self) -> u32 {
        self.root
    }

    pub(crate) fn size(&mut self, fd: u32) -> Result<u64, ErrorCode> {
        answer(self.view().stat(lent(fd))).map(|stat| stat.size)
    }

    pub(crate) fn set_size(&mut self, fd: u32, size: u64) -> Result<String, ErrorCode> {
        unit(self.view().set_size(lent(fd), size))
    }

    pub(crate) fn stat_words(&mut self, dir: u32, follow: PathFlags, path: &str) -> Result<String, ErrorCode> {
        let found = answer(self.view().stat_at(lent(dir), follow, path.to_owned()));
        found.map(|stat| match stat.type_ {
            DescriptorType::Directory => "dir".to_owned(),
            DescriptorType::SymbolicLink => format!("link of {}", stat.size),
            _ => format!("file of {}, {} names", stat.size, stat.link_count),
        })
    }

    pub(crate) fn change_names(
        &mut self,
        which: usize,
        dir: u32,
        follow: PathFlags,
        path: &str,
        other: &str,
    ) -> Result<String, ErrorCode> {
        let (at, from, to) = (lent(dir), path.to_owned(), other.to_owned());
        let mut view = self.view();
        unit(match which {
            0 | 1 => view.create_directory_at(at, from),
            2 => view.remove_directory_at(at, from),
            3 => view.unlink_file_at(at, from),
            4 => view.rename_at(at, from, lent(dir), to),
            5 => view.link_at(at, follow, from, lent(dir), to),
            _ => view.symlink_at(at, from, to),
        })
    }

    pub(crate) fn target(&mut self, dir: u32, path: &str) -> Result<String, ErrorCode> {
        answer(self.view().readlink_at(lent(dir), path.to_owned()))
    }
}

/// What a call answered, in words that both previews have.
type Answered = Result<String, Errno>;

fn of_one(result: CallResult, shown: impl FnOnce() -> String) -> Answered {
    match result {
        Ok(()) => Ok(shown()),
        Err(Fail::Errno(errno)) => Err(errno),
        Err(Fail::Stop(stop)) => panic!("{stop:?}"),
    }
}

fn agree(what: &str, one: &Answered, two: &Result<String, ErrorCode>) {
    match (one, two) {
        (Ok(one), Ok(two)) => assert_eq!(one, two, "{what}"),
        (Err(one), Err(two)) => assert_eq!(code(*one), *two, "{what}: preview 1 says {one:?}"),
        _ => panic!("{what}: preview 1 says {one:?}, preview 2 {two:?}"),
    }
}

fn unit(result: FsResult<()>) -> Result<String, ErrorCode> {
    answer(result).map(|()| String::new())
}

/// Two guests that do the same, and what either has open.
struct Both {
    draw: Draw,
    one: One,
    two: Guest,
    fds: Vec<(u32, u32)>,
    opened: usize,
}

impl Both {
    fn open(&mut self) {
        let (dir, dir2) = self.draw.one(&self.fds[..self.fds.len().min(3)]);
        let path = self.draw.path();
        let (at, len) = self.one.put(PATH, path.as_bytes());
        let bits = self.draw.one(&[0, 1, 1, 1, 2, 5, 8, 9]);
        let mut open = OpenFlags::empty();
        for (bit, flag) in [(1, CREATE), (2, OpenFlags::DIRECTORY), (4, OpenFlags::EXCLUSIVE), (8, OpenFlags::TRUNCATE)]
        {
            open |= if bits & bit != 0 { flag } else { OpenFlags::empty() };
        }
        let (rights, flags) = self.draw.one(&[(2, READ), (64, WRITE), (66, READ | WRITE)]);
        let One { process, memory } = &mut self.one;
        let opened = process.path_open(memory, dir, 1, at, len, bits, rights, 0, 0, 0);
        let opened2 = self.two.open_with(dir2, PathFlags::SYMLINK_FOLLOW, &path, open, flags);
        agree(
            &format!("open {path:?} {bits}"),
            &of_one(opened, String::new),
            &opened2.as_ref().map(|_| String::new()).map_err(|error| *error),
        );
        if let Ok(opened2) = opened2 {
            self.fds.push((self.one.word(), opened2));
            self.opened += 1;
        }
    }

    fn close(&mut self) {
        // The preopen stays.
        if self.fds.len() > 1 {
            let (fd, fd2) = self.fds.swap_remove(1 + self.draw.below(self.fds.len() - 1));
            self.one.process.fd_close(&mut self.one.memory, fd).unwrap();
            self.two.close(fd2);
        }
    }

    fn data(&mut self) {
        let Self { draw, one, two, fds, .. } = self;
        let (fd, fd2) = draw.one(fds);
        let (offset, len) = (draw.offset(), draw.one(&[0, 1, 100, 4096]));
        one.iovec(len);
        match draw.below(3) {
            0 => {
                let result = one.process.fd_pread(&mut one.memory, fd, 16, 1, offset, 0);
                let read = of_one(result, || format!("{:?}", one.taken()));
                let read2 = two.read(fd2, len.into(), offset).map(|(bytes, _)| format!("{bytes:?}"));
                agree(&format!("read {len} at {offset}"), &read, &read2);
            }
            1 => {
                let bytes = vec![offset as u8 | 1; len as usize];
                one.put(DATA, &bytes);
                let result = one.process.fd_pwrite(&mut one.memory, fd, 16, 1, offset, 0);
                let written = of_one(result, || one.word().to_string());
                let written2 = two.write(fd2, &bytes, offset).map(|count| count.to_string());
                agree(&format!("write {len} at {offset}"), &written, &written2);
            }
            _ => {
                let set = of_one(one.process.fd_filestat_set_size(&mut one.memory, fd, offset), String::new);
                agree(&format!("set size {offset}"), &set, &two.set_size(fd2, offset));
            }
        }
    }

    fn stat(&mut self) {
        let Self { draw, one, two, fds, .. } = self;
        let (dir, dir2) = draw.one(&fds[..fds.len().min(3)]);
        let path = draw.path();
        let (at, len) = one.put(PATH, path.as_bytes());
        let (follow, follow2) = draw.one(&[(0, PathFlags::empty()), (1, PathFlags::SYMLINK_FOLLOW)]);
        let result = one.process.path_filestat_get(&mut one.memory, dir, follow, at, len, 0);
        let found = of_one(result, || match one.memory[16] {
            3 => "dir".to_owned(),
            7 => format!("link of {}", one.long(32)),
            _ => format!("file of {}, {} names", one.long(32), one.long(24)),
        });
        agree(&format!("stat {path:?}"), &found, &two.stat_words(dir2, follow2, &path));
    }

    fn names(&mut self) {
        let Self { draw, one, two, fds, .. } = self;
        let (dir, dir2) = draw.one(&fds[..fds.len().min(3)]);
        let (path, other) = (draw.path(), draw.path());
        let ((at, len), (to, to_len)) = (one.put(PATH, path.as_bytes()), one.put(OTHER, other.as_bytes()));
        let (follow, follow2) =
            draw.one(&[(0, PathFlags::empty()), (0, PathFlags::empty()), (1, PathFlags::SYMLINK_FOLLOW)]);
        let One { process, memory } = &mut *one;
        let which = draw.below(7);
        let result = match which {
            0 | 1 => process.path_create_directory(memory, dir, at, len),
            2 => process.path_remove_directory(memory, dir, at, len),
            3 => process.path_unlink_file(memory, dir, at, len),
            4 => process.path_rename(memory, dir, at, len, dir, to, to_len),
            5 => process.path_link(memory, dir, follow, at, len, dir, to, to_len),
            _ => process.path_symlink(memory, at, len, dir, to, to_len),
        };
        let result2 = two.change_names(which, dir2, follow2, &path, &other);
        agree(&format!("change {which} {path:?} {other:?}"), &of_one(result, String::new), &result2);
        let (at, len) = one.put(PATH, other.as_bytes());
        let result = one.process.path_readlink(&mut one.memory, dir, at, len, DATA, 100, 0);
        let target = of_one(result, || String::from_utf8(one.taken().to_vec()).unwrap());
        agree(&format!("readlink {other:?}"), &target, &two.target(dir2, &other));
    }
}

#[test]
fn random_calls_answer_as_in_preview_1() {
    let mut opened = 0;
    for seed in 1..150 {
        let two = Guest::new();
        let fds = vec![(3, two.root)];
        let mut both = Both { draw: Draw::new(seed), one: One::new(), two, fds, opened: 0 };
        for _ in 0..300 {
            match both.draw.below(12) {
                0..=2 => both.open(),
                3 => both.close(),
                4..=6 => both.data(),
                7 => both.stat(),
                _ => both.names(),
            }
        }
        opened += both.opened;
    }
    assert!(opened > 1000, "hardly anything was opened: {opened}");
}
