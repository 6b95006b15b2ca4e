//! Arguments, environment, clocks, random bytes, exit, and the sockets that nobody has.

use mountless::errno::Errno;

use super::abi::{self, Ptr};
use super::table::Handle;
use super::{CallResult, Process};
use crate::host::{Clock, Fail, Stop, StringList};

fn put_sizes(memory: &mut [u8], list: &StringList, count: Ptr, len: Ptr) -> CallResult {
    abi::range(memory, count, 4)?;
    abi::range(memory, len, 4)?;
    abi::put_u32(memory, count, u32::try_from(list.starts().len()).map_err(|_| Errno::Overflow)?)?;
    Ok(abi::put_u32(memory, len, u32::try_from(list.bytes().len()).map_err(|_| Errno::Overflow)?)?)
}

fn put_strings(memory: &mut [u8], list: &StringList, pointers: Ptr, strings: Ptr) -> CallResult {
    let count = u32::try_from(list.starts().len()).map_err(|_| Errno::Overflow)?;
    let pointers = abi::array(memory, pointers, count, 4)?;
    let len = u32::try_from(list.bytes().len()).map_err(|_| Errno::Overflow)?;
    abi::bytes_mut(memory, strings, len)?.copy_from_slice(list.bytes());
    let (slots, _) = memory.get_mut(pointers).ok_or(Errno::Fault)?.as_chunks_mut::<4>();
    for (slot, &start) in slots.iter_mut().zip(list.starts()) {
        // OK: within `strings .. strings + len`, which was proven.
        let start = u32::try_from(start).map_err(|_| Errno::Overflow)?;
        *slot = strings.checked_add(start).ok_or(Errno::Fault)?.to_le_bytes();
    }
    Ok(())
}

/// # Errors
/// `EBADF` for the processor time clocks, which nobody may see here; `EINVAL` for others.
pub(super) const fn clock(id: u32) -> Result<Clock, Errno> {
    match id {
        0 => Ok(Clock::Realtime),
        1 => Ok(Clock::Monotonic),
        2 | 3 => Err(Errno::BadFd),
        _ => Err(Errno::Invalid),
    }
}

#[expect(clippy::missing_errors_doc, reason = "the errors of all calls are listed in the module")]
impl Process {
    /// Writes the arguments and pointers to them.
    pub fn args_get(&mut self, memory: &mut [u8], argv: Ptr, argv_buf: Ptr) -> CallResult {
        put_strings(memory, self.host.args(), argv, argv_buf)
    }

    /// Count of arguments, and bytes of all.
    pub fn args_sizes_get(&mut self, memory: &mut [u8], count: Ptr, len: Ptr) -> CallResult {
        put_sizes(memory, self.host.args(), count, len)
    }

    /// Writes the environment and pointers to its strings.
    pub fn environ_get(&mut self, memory: &mut [u8], environ: Ptr, environ_buf: Ptr) -> CallResult {
        put_strings(memory, self.host.env(), environ, environ_buf)
    }

    /// Count of environment strings, and bytes of all.
    pub fn environ_sizes_get(&mut self, memory: &mut [u8], count: Ptr, len: Ptr) -> CallResult {
        put_sizes(memory, self.host.env(), count, len)
    }

    /// The smallest step of a clock.
    pub fn clock_res_get(&mut self, memory: &mut [u8], id: u32, resolution: Ptr) -> CallResult {
        abi::range(memory, resolution, 8)?;
        Ok(abi::put_u64(memory, resolution, self.host.resolution(clock(id)?))?)
    }

    /// The time.
    pub fn clock_time_get(&mut self, memory: &mut [u8], id: u32, _precision: u64, time: Ptr) -> CallResult {
        abi::range(memory, time, 8)?;
        Ok(abi::put_u64(memory, time, self.host.now(clock(id)?))?)
    }

    /// Random bytes.
    pub fn random_get(&mut self, memory: &mut [u8], buf: Ptr, len: u32) -> CallResult {
        self.host.fill_random(abi::bytes_mut(memory, buf, len)?)
    }

    /// Ends the guest.
    pub fn proc_exit(&mut self, _memory: &mut [u8], code: u32) -> CallResult {
        Err(Fail::Stop(Stop::Exit(code)))
    }

    /// There are no signals: `ENOTSUP`.
    pub fn proc_raise(&mut self, _memory: &mut [u8], _signal: u32) -> CallResult {
        Err(Errno::NotSupported.into())
    }

    /// Lets others run.
    pub fn sched_yield(&mut self, _memory: &mut [u8]) -> CallResult {
        std::thread::yield_now();
        Ok(())
    }

    /// There are no sockets: `ENOTSOCK`.
    pub fn sock_accept(&mut self, _memory: &mut [u8], fd: u32, _flags: u32, _opened: Ptr) -> CallResult {
        self.not_a_socket(fd)
    }

    /// There are no sockets: `ENOTSOCK`.
    #[expect(clippy::too_many_arguments, reason = "the ABI has as many")]
    pub fn sock_recv(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        _iovs: Ptr,
        _iovs_len: u32,
        _flags: u32,
        _count: Ptr,
        _out_flags: Ptr,
    ) -> CallResult {
        self.not_a_socket(fd)
    }

    /// There are no sockets: `ENOTSOCK`.
    pub fn sock_send(
        &mut self,
        _memory: &mut [u8],
        fd: u32,
        _iovs: Ptr,
        _iovs_len: u32,
        _flags: u32,
        _count: Ptr,
    ) -> CallResult {
        self.not_a_socket(fd)
    }

    /// There are no sockets: `ENOTSOCK`.
    pub fn sock_shutdown(&mut self, _memory: &mut [u8], fd: u32, _how: u32) -> CallResult {
        self.not_a_socket(fd)
    }

    fn not_a_socket(&self, fd: u32) -> CallResult {
        match self.table.get(fd)?.handle {
            Handle::Stdio(_) | Handle::File(_) | Handle::Dir(_) => Err(Errno::NotSocket.into()),
        }
    }
}
