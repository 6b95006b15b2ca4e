//! Standard streams, arguments, clocks and waiting.

use core::pin::Pin;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite};
use wasmtime_wasi::cli::{AsyncStdinStream, IsTerminal, StdinStream};
use wasmtime_wasi::p2::pipe::{ClosedOutputStream, MemoryInputPipe, MemoryOutputPipe};
use wasmtime_wasi::{Deterministic, HostMonotonicClock};

use super::*;
use crate::host::{CtxHost, Stop};

fn guest(setup: impl FnOnce(&mut WasiCtxBuilder) -> &mut WasiCtxBuilder) -> Guest {
    Guest::on(Namespace::new(Arc::new(MemFs::new())), setup(&mut WasiCtx::builder()))
}

#[test]
fn arguments_and_environment_are_laid_out() {
    let mut guest = guest(|ctx| ctx.args(&["app", "", "grün"]).env("A", "1").env("B", ""));
    errno(guest.process.args_sizes_get(&mut guest.memory, OUT, OUT + 4)).unwrap();
    assert_eq!((guest.u32_at(OUT), guest.u32_at(OUT + 4)), (3, 11));
    errno(guest.process.args_get(&mut guest.memory, OUT, DATA)).unwrap();
    assert_eq!([guest.u32_at(OUT), guest.u32_at(OUT + 4), guest.u32_at(OUT + 8)], [DATA, DATA + 4, DATA + 5]);
    assert_eq!(&guest.memory[DATA as usize..DATA as usize + 11], "app\0\0grün\0".as_bytes());
    errno(guest.process.environ_sizes_get(&mut guest.memory, OUT, OUT + 4)).unwrap();
    assert_eq!((guest.u32_at(OUT), guest.u32_at(OUT + 4)), (2, 7));
    errno(guest.process.environ_get(&mut guest.memory, OUT, DATA)).unwrap();
    assert_eq!(&guest.memory[DATA as usize..DATA as usize + 7], b"A=1\0B=\0");
    assert_eq!(errno(guest.process.args_get(&mut guest.memory, OUT, END - 10)), Err(Errno::Fault));
}

#[test]
fn streams_carry_bytes_both_ways() {
    let (out, err) = (MemoryOutputPipe::new(1 << 20), MemoryOutputPipe::new(4));
    let mut guest = guest(|ctx| ctx.stdin(MemoryInputPipe::new("some input")).stdout(out.clone()).stderr(err.clone()));
    assert_eq!(guest.readv(0, &[4, 2]).unwrap(), b"some i");
    assert_eq!(guest.read(0, 100).unwrap(), b"nput");
    assert_eq!(guest.read(0, 100).unwrap(), b"");
    assert_eq!(guest.read(0, 100).unwrap(), b"");

    let long = vec![b'x'; 200_000];
    assert_eq!(guest.write(1, &long).unwrap(), 200_000);
    guest.put(DATA, b"abcd");
    let count = guest.iovecs(&[1, 3]);
    errno(guest.process.fd_write(&mut guest.memory, 1, IOVS, count, OUT)).unwrap();
    assert_eq!(out.contents().len(), 200_004);
    // More than it takes: what fits, then an error.
    assert_eq!(guest.write(2, b"123456").unwrap(), 4);
    assert_eq!(guest.write(2, b"56"), Err(Errno::Pipe));
    assert_eq!(err.contents(), "1234");
}

#[test]
fn a_closed_pipe_is_an_error_and_no_panic() {
    let mut guest = guest(|ctx| ctx.stdout(ClosedOutputStream));
    assert_eq!(guest.write(1, b"x"), Err(Errno::Pipe));
    assert_eq!(guest.write(1, b"x"), Err(Errno::Pipe));
}

#[test]
fn a_seed_repeats() {
    let draw = || {
        let mut guest = guest(|ctx| ctx.secure_random(Deterministic::new(vec![7, 1, 9])));
        errno(guest.process.random_get(&mut guest.memory, DATA, 100_000)).unwrap();
        guest.memory[DATA as usize..DATA as usize + 100_000].to_vec()
    };
    let drawn = draw();
    assert_eq!(drawn, draw());
    assert!(drawn.iter().any(|&byte| byte != 0));
}

#[test]
fn clocks_answer_by_number() {
    let mut guest = guest(|ctx| ctx);
    let time = |guest: &mut Guest, id| {
        errno(guest.process.clock_time_get(&mut guest.memory, id, 0, OUT)).map(|()| guest.u64_at(OUT))
    };
    assert!(time(&mut guest, 0).unwrap() > 1_600_000_000_000_000_000);
    let earlier = time(&mut guest, 1).unwrap();
    assert!(time(&mut guest, 1).unwrap() >= earlier);
    assert_eq!(time(&mut guest, 2), Err(Errno::BadFd));
    assert_eq!(time(&mut guest, 4), Err(Errno::Invalid));
    errno(guest.process.clock_res_get(&mut guest.memory, 1, OUT)).unwrap();
    assert!(guest.u64_at(OUT) >= 1);
}

#[test]
fn there_are_no_sockets_and_no_signals() {
    let mut guest = guest(|ctx| ctx);
    assert_eq!(errno(guest.process.sock_shutdown(&mut guest.memory, 1, 0)), Err(Errno::NotSocket));
    assert_eq!(errno(guest.process.sock_accept(&mut guest.memory, 42, 0, OUT)), Err(Errno::BadFd));
    assert_eq!(errno(guest.process.proc_raise(&mut guest.memory, 6)), Err(Errno::NotSupported));
    assert_eq!(guest.process.proc_exit(&mut guest.memory, 300), Err(Fail::Stop(Stop::Exit(300))));
}

enum On {
    /// (clock, nanoseconds, absolute)
    Clock(u32, u64, bool),
    Read(u32),
    Write(u32),
}

#[derive(Debug, PartialEq, Eq)]
struct Event {
    /// The index of the subscription.
    of: u64,
    errno: u16,
    kind: u8,
    nbytes: u64,
    hangup: bool,
}

fn event(of: u64, errno: u16, kind: u8, nbytes: u64, hangup: bool) -> Event {
    Event { of, errno, kind, nbytes, hangup }
}

const EVENTS: Ptr = DATA + 0x1000;

fn poll(guest: &mut Guest, subscriptions: &[On]) -> Result<Vec<Event>, Fail> {
    for (index, on) in (0_u32..).zip(subscriptions) {
        let mut raw = [0; 48];
        raw[0..8].copy_from_slice(&u64::from(index).to_le_bytes());
        match *on {
            On::Clock(id, nanos, absolute) => {
                raw[16..20].copy_from_slice(&id.to_le_bytes());
                raw[24..32].copy_from_slice(&nanos.to_le_bytes());
                raw[40] = u8::from(absolute);
            }
            On::Read(fd) | On::Write(fd) => {
                raw[8] = if matches!(on, On::Read(_)) { 1 } else { 2 };
                raw[16..20].copy_from_slice(&fd.to_le_bytes());
            }
        }
        guest.put(DATA + 48 * index, &raw);
    }
    guest.process.poll_oneoff(&mut guest.memory, DATA, EVENTS, u32::try_from(subscriptions.len()).unwrap(), OUT)?;
    Ok((0..guest.u32_at(OUT))
        .map(|index| {
            let at = (EVENTS + 32 * index) as usize;
            event(
                guest.u64_at(EVENTS + 32 * index),
                u16::from_le_bytes([guest.memory[at + 8], guest.memory[at + 9]]),
                guest.memory[at + 10],
                guest.u64_at(EVENTS + 32 * index + 16),
                guest.memory[at + 24] == 1,
            )
        })
        .collect())
}

#[test]
fn the_earliest_clock_fires() {
    let mut guest = guest(|ctx| ctx);
    let start = Instant::now();
    let fired = poll(&mut guest, &[On::Clock(1, 60_000_000_000, false), On::Clock(0, 20_000_000, false)]).unwrap();
    assert_eq!(fired, [event(1, 0, 0, 0, false)]);
    assert!(start.elapsed() >= Duration::from_millis(20));
    // A point in the past needs no waiting, on either clock.
    let fired = poll(&mut guest, &[On::Clock(0, 1, true), On::Clock(1, 0, true), On::Clock(1, 9_999_999_999, false)]);
    assert_eq!(fired.unwrap(), [event(0, 0, 0, 0, false), event(1, 0, 0, 0, false)]);
    assert_eq!(poll(&mut guest, &[]), Err(Fail::Errno(Errno::Invalid)));
    assert_eq!(poll(&mut guest, &[On::Clock(7, 0, false)]), Err(Fail::Errno(Errno::Invalid)));
}

#[test]
fn files_are_ready_and_bad_descriptors_say_so() {
    let mut guest = guest(|ctx| ctx.stdin(MemoryInputPipe::new("x")));
    let fd = guest.create("f");
    guest.write(fd, b"12345").unwrap();
    guest.seek(fd, 2, 0).unwrap();
    let at_end = guest.open("f", 0, READ).unwrap();
    guest.seek(at_end, 0, 2).unwrap();
    let never = On::Clock(1, 60_000_000_000, false);
    let subscriptions = [never, On::Read(fd), On::Read(at_end), On::Write(fd), On::Read(99), On::Write(0), On::Read(0)];
    assert_eq!(
        poll(&mut guest, &subscriptions).unwrap(),
        [
            event(1, 0, 1, 3, false),
            event(2, 0, 1, 1, true),
            event(3, 0, 2, 1, false),
            event(4, 8, 1, 0, false),
            event(5, 8, 2, 0, false),
            event(6, 0, 1, 1, false),
        ]
    );
    assert_eq!(poll(&mut guest, &[On::Write(1), On::Write(2)]).unwrap().len(), 2);
}

/// Input that never comes.
fn silent() -> (tokio::io::DuplexStream, AsyncStdinStream) {
    let (ours, theirs) = tokio::io::duplex(16);
    (ours, AsyncStdinStream::new(theirs))
}

#[test]
fn waiting_ends_when_the_time_is_up() {
    let (_silent, stdin) = silent();
    let mut guest = guest(|ctx| ctx.stdin(stdin));
    let start = Instant::now();
    let within = |guest: &mut Guest| guest.process.set_deadline(Some(Instant::now() + Duration::from_millis(30)));
    within(&mut guest);
    assert_eq!(poll(&mut guest, &[On::Clock(1, u64::MAX, false)]), Err(Fail::Stop(Stop::TimedOut)));
    within(&mut guest);
    assert_eq!(poll(&mut guest, &[On::Read(0)]), Err(Fail::Stop(Stop::TimedOut)));
    within(&mut guest);
    let count = guest.iovecs(&[4]);
    assert_eq!(guest.process.fd_read(&mut guest.memory, 0, IOVS, count, OUT), Err(Fail::Stop(Stop::TimedOut)));
    assert!(start.elapsed() >= Duration::from_millis(90));
    assert!(start.elapsed() < Duration::from_secs(20));
    // Input that does not come does not hold up a clock.
    guest.process.set_deadline(None);
    let fired = poll(&mut guest, &[On::Read(0), On::Clock(1, 1_000_000, false)]).unwrap();
    assert_eq!(fired, [event(1, 0, 0, 0, false)]);
    // Non-blocking input says so.
    errno(guest.process.fd_fdstat_set_flags(&mut guest.memory, 0, 4)).unwrap();
    assert_eq!(guest.read(0, 4), Err(Errno::Again));
}

#[test]
fn input_from_another_thread_wakes_the_guest() {
    let (mut ours, stdin) = silent();
    let mut guest = guest(|ctx| ctx.stdin(stdin));
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(20));
        wasmtime_wasi::runtime::in_tokio(async move {
            std::future::poll_fn(|cx| Pin::new(&mut ours).poll_write(cx, b"late")).await.unwrap();
        });
    });
    assert_eq!(guest.read(0, 100).unwrap(), b"late");
    writer.join().unwrap();
    assert_eq!(guest.read(0, 100).unwrap(), b"", "the other end is gone");
}

/// Input that is read by a task, which is started when the guest first reads.
struct ByTask(std::sync::Mutex<Option<tokio::io::DuplexStream>>);

impl IsTerminal for ByTask {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdinStream for ByTask {
    fn async_stream(&self) -> Box<dyn AsyncRead + Send + Sync> {
        Box::new(self.0.lock().unwrap().take().unwrap())
    }
}

#[test]
fn works_on_the_thread_of_a_runtime() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let (mut ours, theirs) = tokio::io::duplex(16);
        std::future::poll_fn(|cx| Pin::new(&mut ours).poll_write(cx, b"early")).await.unwrap();
        let mut guest = guest(|ctx| ctx.stdin(ByTask(std::sync::Mutex::new(Some(theirs)))));
        assert_eq!(guest.read(0, 100).unwrap(), b"early");
        drop(ours);
        assert_eq!(guest.read(0, 100).unwrap(), b"");
        assert_eq!(poll(&mut guest, &[On::Clock(1, 1, false)]).unwrap().len(), 1);
    });
}

#[derive(Clone)]
struct Virtual(Arc<std::sync::atomic::AtomicU64>);

impl HostMonotonicClock for Virtual {
    fn resolution(&self) -> u64 {
        1
    }

    fn now(&self) -> u64 {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }
}

#[test]
fn a_virtual_clock_moves_instead_of_sleeping() {
    let clock = Virtual(Arc::default());
    let moved = clock.clone();
    let ctx = WasiCtx::builder().monotonic_clock(clock).build();
    let host = CtxHost::new(ctx).with_sleeper(move |time| {
        moved.0.fetch_add(u64::try_from(time.as_nanos()).unwrap(), std::sync::atomic::Ordering::Relaxed);
    });
    let namespace = Namespace::new(Arc::new(MemFs::new()));
    let mut guest = Guest { process: Process::new(namespace, Box::new(host)), memory: vec![0; MEMORY_LEN] };
    let start = Instant::now();
    let hour = 3_600_000_000_000;
    assert_eq!(poll(&mut guest, &[On::Clock(1, hour, false)]).unwrap().len(), 1);
    assert_eq!(poll(&mut guest, &[On::Clock(1, 3 * hour, true)]).unwrap().len(), 1);
    errno(guest.process.clock_time_get(&mut guest.memory, 1, 0, OUT)).unwrap();
    assert_eq!(guest.u64_at(OUT), 3 * hour);
    // What is due later has less left after the wait than was waited, and does not fire for that.
    let fired = poll(&mut guest, &[On::Clock(1, 4 * hour, true), On::Clock(1, 4 * hour + hour / 2, true)]).unwrap();
    assert_eq!(fired, [event(0, 0, 0, 0, false)]);
    assert!(start.elapsed() < Duration::from_secs(60));
}
