//! Mounting, serving and unmounting.

use std::io;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use fuser::{Config, MountOption, SessionACL, SessionUnmounter};
use mountless::Namespace;
use rustix::mount::UnmountFlags;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::{SigId, flag};

use crate::adapter::{Adapter, Caching};

/// Time that the kernel may rely on names and attributes of a tree that others change too.
const SHARED_TIMEOUT: Duration = Duration::from_secs(1);

/// The same for a tree that nobody else changes: for ever, as far as a kernel counts.
const EXCLUSIVE_TIMEOUT: Duration = Duration::from_secs(1 << 30);

/// Signals that ask a program to end.
const ENDING: [i32; 3] = [SIGINT, SIGTERM, SIGHUP];

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    name: String,
    read_only: bool,
    shared: bool,
    cache_writes: bool,
    allow_other: bool,
    devices: bool,
    set_user_ids: bool,
    threads: Option<NonZeroUsize>,
    timeouts: Option<(Duration, Duration)>,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            name: "mountless".to_owned(),
            read_only: false,
            shared: false,
            cache_writes: true,
            allow_other: false,
            devices: false,
            set_user_ids: false,
            threads: None,
            timeouts: None,
        }
    }
}

impl MountOptions {
    /// For the user who mounts alone, writable if the tree is, and as fast as can be: see [`shared`](Self::shared).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The name shown in the list of mounts, for example an image's.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Every change through the mount answers `EROFS`. A tree that cannot be changed needs no telling.
    #[must_use]
    pub const fn read_only(mut self, yes: bool) -> Self {
        self.read_only = yes;
        self
    }

    /// Others change the tree while it is mounted: this process through its namespace, or a host directory's users.
    /// The kernel then keeps nothing for longer than a second and writes at once; without, it keeps everything.
    #[must_use]
    pub const fn shared(mut self, yes: bool) -> Self {
        self.shared = yes;
        self
    }

    /// Whether writes stay in the kernel for a while, so that many small ones become one request. No space left is then
    /// told by fsync(2) and close(2) alone, and lseek(2) finds no holes: the kernel would not see the data that it holds
    /// itself. The default is yes; for a [`shared`](Self::shared) tree it is always no.
    #[must_use]
    pub const fn cache_writes(mut self, yes: bool) -> Self {
        self.cache_writes = yes;
        self
    }

    /// Other users may enter, as far as modes and owners let them. Without root it needs `user_allow_other` in
    /// `/etc/fuse.conf`.
    #[must_use]
    pub const fn allow_other(mut self, yes: bool) -> Self {
        self.allow_other = yes;
        self
    }

    /// Device nodes in the tree are devices.
    #[must_use]
    pub const fn devices(mut self, yes: bool) -> Self {
        self.devices = yes;
        self
    }

    /// Set-user-id bits in the tree count.
    #[must_use]
    pub const fn set_user_ids(mut self, yes: bool) -> Self {
        self.set_user_ids = yes;
        self
    }

    /// Threads that answer requests; one for each processor, at most eight, unless told.
    #[must_use]
    pub const fn threads(mut self, count: NonZeroUsize) -> Self {
        self.threads = Some(count);
        self
    }

    /// How long the kernel may rely on names and on attributes.
    #[must_use]
    pub const fn timeouts(mut self, names: Duration, attributes: Duration) -> Self {
        self.timeouts = Some((names, attributes));
        self
    }

    fn caching(&self) -> Caching {
        let default = if self.shared { SHARED_TIMEOUT } else { EXCLUSIVE_TIMEOUT };
        let (names, attributes) = self.timeouts.unwrap_or((default, default));
        Caching { names, attributes, exclusive: !self.shared, writes: self.cache_writes && !self.shared }
    }

    fn config(&self, namespace: &Namespace) -> Config {
        // A tree of several filesystems may be writable in parts, whatever the root is.
        let read_only = self.read_only || (!namespace.has_mounts() && namespace.root().writable().is_err());
        let mut options = vec![
            MountOption::FSName(self.name.clone()),
            MountOption::Subtype("mountless".to_owned()),
            MountOption::DefaultPermissions,
            if read_only { MountOption::RO } else { MountOption::RW },
        ];
        if self.devices {
            options.push(MountOption::Dev);
        }
        if self.set_user_ids {
            options.push(MountOption::Suid);
        }
        let processors = std::thread::available_parallelism().map_or(1, NonZeroUsize::get).min(8);
        let mut config = Config::default();
        config.mount_options = options;
        config.acl = if self.allow_other { SessionACL::All } else { SessionACL::Owner };
        config.n_threads = Some(self.threads.map_or(processors, NonZeroUsize::get));
        // One queue of requests a thread, so that they do not wait for one another.
        config.clone_fd = true;
        config
    }
}

/// A mounted tree. Unmounts when dropped.
#[derive(Debug)]
pub struct Session {
    unmounter: Unmounter,
    serving: Option<JoinHandle<io::Result<()>>>,
}

/// Unmounts a [`Session`] from elsewhere.
#[derive(Clone, Debug)]
pub struct Unmounter {
    path: PathBuf,
    session: Arc<Mutex<Option<SessionUnmounter>>>,
}

impl Unmounter {
    /// Writes out what the kernel holds and unmounts. Where files are still in use the tree disappears from its place
    /// at once, and the session goes on for those files until they are closed.
    ///
    /// # Errors
    /// Those of umount(2). Nothing happens if it is unmounted already.
    pub fn unmount(&self) -> io::Result<()> {
        let session = self.session.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut session) = session else { return Ok(()) };
        match session.unmount() {
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::BUSY.raw_os_error()) => {
                // Detaching writes nothing out by itself; whoever looks at the store next shall find everything.
                if let Ok(root) = std::fs::File::open(&self.path) {
                    rustix::fs::syncfs(&root)?;
                }
                Ok(rustix::mount::unmount(&self.path, UnmountFlags::DETACH)?)
            }
            other => other,
        }
    }
}

/// Mounts the tree at the directory `path` and serves it until somebody unmounts it, or SIGINT, SIGTERM or SIGHUP
/// arrives: then unmounts cleanly. A second signal ends the process as it would have without us.
///
/// # Errors
/// As [`Session::mount`] and [`Session::unmount`].
pub fn mount(namespace: Namespace, path: impl AsRef<Path>, options: &MountOptions) -> io::Result<()> {
    mount_and_say(namespace, path, options, || Ok(()))
}

/// The same, and calls `mounted` when the tree can be seen.
///
/// # Errors
/// As [`mount`]; an error of `mounted` unmounts.
pub fn mount_and_say(
    namespace: Namespace,
    path: impl AsRef<Path>,
    options: &MountOptions,
    mounted: impl FnOnce() -> io::Result<()>,
) -> io::Result<()> {
    // Before anybody can see the mount, and so before anybody can think of ending us.
    let mut signals = Signals::new(ENDING)?;
    let _second = SecondSignal::ends_at_once()?;
    let session = Session::mount(namespace, path, options)?;
    mounted()?;
    let (handle, unmounter) = (signals.handle(), session.unmounter());
    let watching = std::thread::Builder::new()
        .name("mountless-signals".to_owned())
        .spawn(move || signals.forever().next().map_or(Ok(()), |_| unmounter.unmount()))?;
    let served = session.wait();
    handle.close();
    let unmounted = watching.join().unwrap_or_else(|_| Err(io::Error::other("the signals' thread failed")));
    served.and(unmounted)
}

/// Lets a second signal do what it would do without us, also while the first is still being answered.
struct SecondSignal(Vec<SigId>);

impl SecondSignal {
    fn ends_at_once() -> io::Result<Self> {
        let seen = Arc::new(AtomicBool::new(false));
        let mut registered = Self(Vec::new());
        for signal in ENDING {
            // In this order: the first signal finds the flag unset, and sets it.
            registered.0.push(flag::register_conditional_default(signal, Arc::clone(&seen))?);
            registered.0.push(flag::register(signal, Arc::clone(&seen))?);
        }
        Ok(registered)
    }
}

impl Drop for SecondSignal {
    fn drop(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

impl Session {
    /// Mounts the tree at the directory `path` and serves it on threads of its own. As root the kernel is asked
    /// directly, otherwise `fusermount3` must be installed.
    ///
    /// # Errors
    /// Those of mount(2): no such directory, no `/dev/fuse`, not permitted.
    pub fn mount(namespace: Namespace, path: impl AsRef<Path>, options: &MountOptions) -> io::Result<Self> {
        let config = options.config(&namespace);
        let path = path.as_ref().canonicalize()?;
        let adapter = Adapter::new(namespace, options.caching());
        let mut session = fuser::Session::new(adapter, &path, &config)?;
        let unmounter = Unmounter { path, session: Arc::new(Mutex::new(Some(session.unmount_callable()))) };
        let serving = std::thread::Builder::new().name("mountless-fuse".to_owned()).spawn(move || session.run())?;
        Ok(Self { unmounter, serving: Some(serving) })
    }

    /// Something to unmount with while the session is waited for.
    #[must_use]
    pub fn unmounter(&self) -> Unmounter {
        self.unmounter.clone()
    }

    /// Unmounts and waits until the last user is gone and everything is written.
    ///
    /// # Errors
    /// As [`Unmounter::unmount`], and what ended the session.
    pub fn unmount(mut self) -> io::Result<()> {
        self.unmounter.unmount()?;
        self.join()
    }

    /// Waits until somebody unmounts.
    ///
    /// # Errors
    /// What ended the session.
    pub fn wait(mut self) -> io::Result<()> {
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        match self.serving.take().map(JoinHandle::join) {
            Some(Ok(ended)) => ended,
            Some(Err(_)) => Err(io::Error::other("a thread of the session failed")),
            None => Ok(()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if self.serving.is_some() {
            if let Err(error) = self.unmounter.unmount() {
                tracing::warn!(%error, path = %self.unmounter.path.display(), "cannot unmount");
                return;
            }
            if let Err(error) = self.join() {
                tracing::warn!(%error, "the session ended badly");
            }
        }
    }
}
