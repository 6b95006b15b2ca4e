//! Calls out of any bytes: names from a tiny alphabet, so that they meet, and pointers, lengths and offsets at the edges.

use arbitrary::{Result, Unstructured};
use mountless_wasi::p1::{CallResult, Process};

/// Bytes of the guest's memory.
pub(crate) const MEMORY_LEN: usize = 0x4000;
const END: u32 = 0x4000;
/// Where things go that are where they should be.
const OUT: u32 = 0x10;
const IOVS: u32 = 0x100;
const SUBS: u32 = 0x400;
const EVENTS: u32 = 0x700;
const PATHS: [u32; 2] = [0x1000, 0x1200];
const DATA: u32 = 0x1400;

/// What an argument is; some are two numbers.
#[derive(Clone, Copy, Debug)]
enum Arg {
    Fd,
    /// A descriptor that should be a directory.
    Dir,
    /// Pointer and length.
    Path,
    /// Pointer and count of a list.
    Iovs,
    /// Pointer and length of a buffer.
    Buf,
    /// Pointer to a result.
    Out,
    /// Pointers to subscriptions and events, and their count.
    Poll,
    Offset,
    /// Few bits.
    Flags,
    /// Which of a few.
    Choice,
    Rights,
    Nanos,
}

macro_rules! functions {
    ($($name:ident($($type:ty),*) $([$($arg:ident),*])?;)*) => {
        /// The functions of preview 1, but for `proc_exit`, after which there is nothing to see.
        #[expect(non_camel_case_types, reason = "these are the interface's names")]
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub(crate) enum Function {
            $($name),*
        }

        const FUNCTIONS: &[(Function, &[Arg])] = &[$((Function::$name, &[$($(Arg::$arg),*)?])),*];

        impl Function {
            /// Calls it.
            pub(crate) fn call(self, process: &mut Process, memory: &mut [u8], args: &[u64]) -> CallResult {
                let mut args = args.iter().copied();
                let mut next = || args.next().expect("as many arguments as the function takes");
                match self {
                    $(Self::$name => process.$name(memory, $(next() as $type),*)),*
                }
            }
        }
    };
}

functions! {
    args_get(u32, u32) [Out, Out];
    args_sizes_get(u32, u32) [Out, Out];
    environ_get(u32, u32) [Out, Out];
    environ_sizes_get(u32, u32) [Out, Out];
    clock_res_get(u32, u32) [Choice, Out];
    clock_time_get(u32, u64, u32) [Choice, Nanos, Out];
    fd_advise(u32, u64, u64, u32) [Fd, Offset, Offset, Choice];
    fd_allocate(u32, u64, u64) [Fd, Offset, Offset];
    fd_close(u32) [Fd];
    fd_datasync(u32) [Fd];
    fd_fdstat_get(u32, u32) [Fd, Out];
    fd_fdstat_set_flags(u32, u32) [Fd, Flags];
    fd_fdstat_set_rights(u32, u64, u64) [Fd, Rights, Rights];
    fd_filestat_get(u32, u32) [Fd, Out];
    fd_filestat_set_size(u32, u64) [Fd, Offset];
    fd_filestat_set_times(u32, u64, u64, u32) [Fd, Nanos, Nanos, Flags];
    fd_pread(u32, u32, u32, u64, u32) [Fd, Iovs, Offset, Out];
    fd_prestat_get(u32, u32) [Fd, Out];
    fd_prestat_dir_name(u32, u32, u32) [Fd, Buf];
    fd_pwrite(u32, u32, u32, u64, u32) [Fd, Iovs, Offset, Out];
    fd_read(u32, u32, u32, u32) [Fd, Iovs, Out];
    fd_readdir(u32, u32, u32, u64, u32) [Dir, Buf, Offset, Out];
    fd_renumber(u32, u32) [Fd, Fd];
    fd_seek(u32, u64, u32, u32) [Fd, Offset, Choice, Out];
    fd_sync(u32) [Fd];
    fd_tell(u32, u32) [Fd, Out];
    fd_write(u32, u32, u32, u32) [Fd, Iovs, Out];
    path_create_directory(u32, u32, u32) [Dir, Path];
    path_filestat_get(u32, u32, u32, u32, u32) [Dir, Choice, Path, Out];
    path_filestat_set_times(u32, u32, u32, u32, u64, u64, u32) [Dir, Choice, Path, Nanos, Nanos, Flags];
    path_link(u32, u32, u32, u32, u32, u32, u32) [Dir, Choice, Path, Dir, Path];
    path_open(u32, u32, u32, u32, u32, u64, u64, u32, u32) [Dir, Choice, Path, Flags, Rights, Rights, Flags, Out];
    path_readlink(u32, u32, u32, u32, u32, u32) [Dir, Path, Buf, Out];
    path_remove_directory(u32, u32, u32) [Dir, Path];
    path_rename(u32, u32, u32, u32, u32, u32) [Dir, Path, Dir, Path];
    path_symlink(u32, u32, u32, u32, u32) [Path, Dir, Path];
    path_unlink_file(u32, u32, u32) [Dir, Path];
    poll_oneoff(u32, u32, u32, u32) [Poll, Out];
    proc_raise(u32) [Choice];
    random_get(u32, u32) [Buf];
    sched_yield();
    sock_accept(u32, u32, u32) [Fd, Flags, Out];
    sock_recv(u32, u32, u32, u32, u32, u32) [Fd, Iovs, Flags, Out, Out];
    sock_send(u32, u32, u32, u32, u32) [Fd, Iovs, Flags, Out];
    sock_shutdown(u32, u32) [Fd, Choice];
}

/// Those without which nothing happens are called more often.
const FREQUENT: &[Function] = &[
    Function::path_open,
    Function::path_open,
    Function::path_open,
    Function::fd_write,
    Function::fd_pwrite,
    Function::fd_read,
    Function::fd_pread,
    Function::fd_readdir,
    Function::path_create_directory,
    Function::path_rename,
    Function::path_unlink_file,
];

/// A call, and what the guest puts into its memory before.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) pokes: Vec<(u32, Vec<u8>)>,
    pub(crate) function: Function,
    pub(crate) args: Vec<u64>,
}

/// What each run begins with, for without open files most calls are refused: one to read, two to write.
pub(crate) fn beginning() -> impl Iterator<Item = Call> {
    let open = |path: &[u8], oflags: u64, rights: u64| Call {
        pokes: vec![(PATHS[0], path.to_vec())],
        function: Function::path_open,
        args: vec![3, 1, PATHS[0].into(), path.len() as u64, oflags, rights, 0, 0, OUT.into()],
    };
    [open(b"a/b", 0, 1 << 1), open(b"b", 0, u64::MAX), open(b"c", 1, u64::MAX)].into_iter()
}

/// The next call, or none when the bytes are used up.
pub(crate) fn next(bytes: &mut Unstructured<'_>) -> Option<Call> {
    if bytes.is_empty() { None } else { draw(bytes).ok() }
}

fn draw(bytes: &mut Unstructured<'_>) -> Result<Call> {
    let index = usize::from(bytes.arbitrary::<u8>()?) % (FUNCTIONS.len() + 5 * FREQUENT.len());
    let function = match FUNCTIONS.get(index) {
        Some(&(function, _)) => function,
        None => FREQUENT[(index - FUNCTIONS.len()) % FREQUENT.len()],
    };
    let (_, kinds) = FUNCTIONS[function as usize];
    let mut call = Call { pokes: Vec::new(), function, args: Vec::new() };
    let mut paths = PATHS.into_iter();
    for &kind in kinds {
        match kind {
            Arg::Fd => call.args.push(fd(bytes, &FILES)?.into()),
            Arg::Dir => call.args.push(fd(bytes, &DIRS)?.into()),
            Arg::Path => {
                let path = path(bytes)?;
                let at = paths.next().expect("no function takes more than two");
                let len = u32::try_from(path.len()).expect("it is short");
                call.pokes.push((at, path));
                call.span(at, len, bytes)?;
            }
            Arg::Iovs => {
                let count = bytes.int_in_range(0..=4_u32)?;
                let mut list = Vec::new();
                for _ in 0..count {
                    let (ptr, len) = buffer(bytes)?;
                    list.extend_from_slice(&ptr.to_le_bytes());
                    list.extend_from_slice(&len.to_le_bytes());
                }
                call.pokes.push((IOVS, list));
                call.span(IOVS, count, bytes)?;
            }
            Arg::Buf => {
                let (ptr, len) = buffer(bytes)?;
                call.args.extend([u64::from(ptr), u64::from(len)]);
            }
            Arg::Out => call.args.push(out(bytes)?.into()),
            Arg::Poll => {
                let count = bytes.int_in_range(0..=3_u32)?;
                let mut list = Vec::new();
                for _ in 0..count {
                    list.extend_from_slice(&subscription(bytes)?);
                }
                call.pokes.push((SUBS, list));
                call.span(SUBS, count, bytes)?;
                let events = if rarely(bytes)? { pointer(bytes)? } else { EVENTS };
                call.args.insert(1, events.into());
            }
            Arg::Offset => call.args.push(offset(bytes)?),
            Arg::Flags => {
                let flags = bytes.arbitrary::<u8>()?;
                // Unknown bits seldom: they are refused at once.
                let flags = if flags > 0xf0 { u32::from(flags) << 4 } else { u32::from(flags & 0xf) };
                call.args.push(flags.into());
            }
            Arg::Choice => call
                .args
                .push(if rarely(bytes)? { bytes.arbitrary::<u32>()? } else { bytes.int_in_range(0..=2_u32)? }.into()),
            Arg::Rights => call.args.push(*bytes.choose(&[u64::MAX, 1 << 1, 1 << 6, 1 << 1 | 1 << 6, 0])?),
            Arg::Nanos => call.args.push(*bytes.choose(&[0, 1, 1_700_000_000_123_456_789, u64::MAX])?),
        }
    }
    Ok(call)
}

impl Call {
    /// Pointer and count, mostly as they should be.
    fn span(&mut self, at: u32, count: u32, bytes: &mut Unstructured<'_>) -> Result<()> {
        let (mut at, mut count) = (at, count);
        if rarely(bytes)? {
            match bytes.int_in_range(0..=2_u8)? {
                0 => at = pointer(bytes)?,
                1 => count = length(bytes)?,
                _ => (at, count) = (pointer(bytes)?, length(bytes)?),
            }
        }
        self.args.extend([u64::from(at), u64::from(count)]);
        Ok(())
    }
}

fn rarely(bytes: &mut Unstructured<'_>) -> Result<bool> {
    bytes.ratio(1, 24)
}

/// The preopens are 3 to 5, the last one read-only; what is opened comes after them.
const DIRS: [u32; 12] = [3, 3, 3, 3, 3, 3, 4, 4, 4, 5, 6, 7];
const FILES: [u32; 16] = [6, 6, 6, 6, 6, 6, 7, 7, 7, 8, 8, 9, 3, 5, 0, 1];

fn fd(bytes: &mut Unstructured<'_>, usual: &[u32]) -> Result<u32> {
    let unusual: &[u32] = &[u32::MAX, 1 << 31, 100, 1 << 16];
    let from = if bytes.ratio(1, 32)? { unusual } else { usual };
    Ok(*bytes.choose(from)?)
}

fn path(bytes: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut path = Vec::new();
    if rarely(bytes)? {
        path.push(b'/');
    }
    let count = *bytes.choose(&[1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 4, 0])?;
    for index in 0..count {
        if index > 0 {
            path.push(b'/');
        }
        let long = [b'n'; 256];
        let part: &[u8] = match bytes.int_in_range(0..=63_u8)? {
            0..=13 => b"a",
            14..=25 => b"b",
            26..=35 => b"c",
            36..=42 => b"d",
            43..=46 => b"l",
            47..=49 => b"m",
            50..=51 => b"s",
            52..=54 => b".",
            55..=58 => b"..",
            59 => b"",
            60 => &long[..255],
            61 => &long,
            62 => "\u{e9}".as_bytes(),
            _ => bytes.choose(&[&b"\0"[..], b"\xff"])?,
        };
        path.extend_from_slice(part);
    }
    if bytes.ratio(1, 6)? {
        path.push(b'/');
    }
    Ok(path)
}

/// Any pointer: somewhere, or around the end.
fn pointer(bytes: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match bytes.int_in_range(0..=7_u8)? {
        0 => 0,
        1 => END,
        2 => END - bytes.int_in_range(1..=64_u32)?,
        3 => u32::MAX,
        4 => u32::MAX - bytes.int_in_range(1..=64_u32)?,
        5 => 1 << 31,
        6 => IOVS,
        _ => bytes.int_in_range(0..=END)?,
    })
}

fn length(bytes: &mut Unstructured<'_>) -> Result<u32> {
    Ok(match bytes.int_in_range(0..=7_u8)? {
        0 => 0,
        1 => 1,
        2 => u32::MAX,
        3 => 1 << 29,
        4 => END,
        5 => END - DATA,
        6 => 2000,
        _ => bytes.int_in_range(0..=END)?,
    })
}

fn buffer(bytes: &mut Unstructured<'_>) -> Result<(u32, u32)> {
    if rarely(bytes)? {
        return Ok((pointer(bytes)?, length(bytes)?));
    }
    let at = DATA + u32::from(bytes.arbitrary::<u8>()?) * 16;
    let len = *bytes.choose(&[0, 1, 7, 23, 24, 25, 100, 300, 1000, 4095, 4096, 5000, END - at])?;
    Ok((at, len))
}

fn out(bytes: &mut Unstructured<'_>) -> Result<u32> {
    if rarely(bytes)? {
        return pointer(bytes);
    }
    Ok(OUT + 64 * bytes.int_in_range(0..=1_u32)?)
}

fn offset(bytes: &mut Unstructured<'_>) -> Result<u64> {
    const MAX: u64 = i64::MAX as u64;
    Ok(match bytes.int_in_range(0..=15_u8)? {
        0..=5 => bytes.int_in_range(0..=9000_u64)?,
        6..=8 => *bytes.choose(&[0, 1, 4095, 4096, 4097])?,
        9 => 1 << 32,
        10 => 1 << 40,
        11 => MAX - bytes.int_in_range(0..=5000_u64)?,
        12 => MAX + bytes.int_in_range(0..=5000_u64)?,
        13 => u64::MAX - bytes.int_in_range(0..=5000_u64)?,
        14 => bytes.arbitrary()?,
        _ => bytes.int_in_range(0..=3_u64)?,
    })
}

fn subscription(bytes: &mut Unstructured<'_>) -> Result<[u8; 48]> {
    let mut out = [0; 48];
    out[0..8].copy_from_slice(&u64::from(bytes.arbitrary::<u8>()?).to_le_bytes());
    let tag = bytes.int_in_range(0..=2_u8)?;
    out[8] = if rarely(bytes)? { 3 } else { tag };
    if tag == 0 {
        out[16] = if rarely(bytes)? { 4 } else { bytes.int_in_range(0..=1)? };
        out[24..32].copy_from_slice(&offset(bytes)?.to_le_bytes());
        out[40] = bytes.int_in_range(0..=1)?;
    } else {
        out[16..20].copy_from_slice(&fd(bytes, &FILES)?.to_le_bytes());
    }
    Ok(out)
}
