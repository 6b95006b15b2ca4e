//! Running programs: bytes in, an exit code out.
//!
//! A [`Runner`] owns what is shared by all runs: the engine, the compilation cache, the thread that ends runs whose time
//! is up. A [`Program`] is compiled and linked once. A run then costs a store and an instance; its files are those of the
//! namespace it is given, and the host's are never touched, except for the cache.

mod cache;
mod options;
mod program;
mod timer;

use std::time::Instant;

use mountless::namespace::Namespace;
use wasmtime::{Config, Engine, Linker, Store, StoreLimits, StoreLimitsBuilder, UpdateDeadline};
use wasmtime_wasi::I32Exit;

pub use self::cache::Cache;
pub use self::options::{Output, Preopen, RunOptions, Stdin};
pub use self::program::Program;
use self::timer::Timer;
use crate::p1::{TimedOut, WasiP1, add_to_linker};

/// How a run ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The program returned (0) or asked to exit with this code.
    Exited(i32),
    /// It did what WebAssembly does not allow; the message has the guest's stack.
    Trapped(String),
    /// Its time was up.
    TimedOut,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The bytes are something else.
    #[error("not a WebAssembly module: {found}")]
    NotWasm {
        /// What they seem to be.
        found: String,
    },
    /// A component, for preview 2 or 3.
    #[error("this is a WebAssembly component; preview 2 components are not supported yet, only preview 1 modules")]
    Component,
    /// Broken, or it uses proposals that the engine does not have.
    #[error("the module does not compile: {0:#}")]
    Compile(wasmtime::Error),
    /// It imports what is not there.
    #[error("the module does not link: {0:#}")]
    Link(wasmtime::Error),
    /// Nothing to call.
    #[error("the module exports neither `_start` nor `_initialize`: it is not a WASI program")]
    NoEntry,
    /// No instance could be made, for want of memory for example.
    #[error("the module cannot be instantiated: {0:#}")]
    Instantiate(wasmtime::Error),
    /// A directory to be given to the guest is not there.
    #[error("preopen {name:?}: {path}: {source}")]
    Preopen {
        /// The guest's name for it.
        name: String,
        /// Where it should be in the namespace.
        path: String,
        /// What is wrong.
        source: mountless::error::Error,
    },
    /// The runner was made for runs without one.
    #[error("a time limit needs a runner that can interrupt programs")]
    Uninterruptible,
    /// The engine or its cache cannot be set up.
    #[error("the engine cannot be set up: {0:#}")]
    Engine(wasmtime::Error),
}

/// What a store holds.
struct Guest {
    wasi: WasiP1,
    limits: StoreLimits,
}

/// Compiles and runs programs.
pub struct Runner {
    engine: Engine,
    linker: Linker<Guest>,
    /// None, if compiled code does not look at the epoch.
    timer: Option<Timer>,
}

impl core::fmt::Debug for Runner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

/// Elements that a guest's tables may have; CPython has some ten thousand. They are the host's memory.
const TABLE_ELEMENTS_MAX: usize = 10_000_000;

/// Epoch ticks of a run without a time limit; far more than the timer will ever make.
const NEVER_TICKS: u64 = u64::MAX / 2;

impl Runner {
    /// An engine with this compilation cache, whose runs may have a time limit.
    ///
    /// # Errors
    /// [`RunError::Engine`].
    pub fn new(cache: &Cache) -> Result<Self, RunError> {
        Self::with(cache, true)
    }

    /// An engine with this compilation cache for runs without a time limit: what computes takes about a tenth less time,
    /// because compiled code need not ask whether its time is up.
    ///
    /// # Errors
    /// [`RunError::Engine`].
    pub fn uninterruptible(cache: &Cache) -> Result<Self, RunError> {
        Self::with(cache, false)
    }

    fn with(cache: &Cache, is_interruptible: bool) -> Result<Self, RunError> {
        let mut config = Config::new();
        config.epoch_interruption(is_interruptible);
        config.cache(cache.open().map_err(RunError::Engine)?);
        let engine = Engine::new(&config).map_err(RunError::Engine)?;
        let mut linker = Linker::new(&engine);
        add_to_linker(&mut linker, |guest: &mut Guest| &mut guest.wasi).map_err(RunError::Engine)?;
        let timer = is_interruptible.then(|| Timer::new(engine.weak()));
        Ok(Self { engine, linker, timer })
    }

    /// Compiles and links the bytes of a module.
    ///
    /// # Errors
    /// Those about the module.
    pub fn compile(&self, wasm: &[u8]) -> Result<Program, RunError> {
        Program::compile(&self.engine, &self.linker, wasm)
    }

    /// Runs a program on a namespace.
    ///
    /// # Errors
    /// [`RunError::Preopen`], [`RunError::Uninterruptible`] and [`RunError::Instantiate`]. What the guest does is an [`Outcome`].
    pub fn run(&self, program: &Program, namespace: &Namespace, options: RunOptions) -> Result<Outcome, RunError> {
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let memory_max = options.memory_max;
        let mut wasi = options.into_wasi(namespace)?;
        wasi.process().set_deadline(deadline);

        let mut limits = StoreLimitsBuilder::new().table_elements(TABLE_ELEMENTS_MAX);
        if let Some(memory_max) = memory_max {
            limits = limits.memory_size(memory_max);
        }
        let mut store = Store::new(&self.engine, Guest { wasi, limits: limits.build() });
        store.limiter(|guest| &mut guest.limits);

        let mut _armed = None;
        match (deadline, &self.timer) {
            (None, None) => {}
            (Some(_), None) => return Err(RunError::Uninterruptible),
            (None, Some(_)) => store.set_epoch_deadline(NEVER_TICKS),
            (Some(deadline), Some(timer)) => {
                _armed = Some(timer.arm(deadline));
                store.set_epoch_deadline(1);
                // The epoch moves whenever the time of some run is up.
                store.epoch_deadline_callback(move |_| {
                    if Instant::now() < deadline { Ok(UpdateDeadline::Continue(1)) } else { Err(TimedOut.into()) }
                });
            }
        }

        // A start function already runs the guest's code.
        let instance = match program.linked().instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => return ended(&error).ok_or(RunError::Instantiate(error)),
        };
        WasiP1::use_memory_of((&mut store).into(), &instance, |guest| &mut guest.wasi);
        let entry = instance.get_typed_func::<(), ()>(&mut store, program.entry()).map_err(RunError::Instantiate)?;
        Ok(match entry.call(&mut store, ()) {
            Ok(()) => Outcome::Exited(0),
            Err(error) => ended(&error).unwrap_or_else(|| Outcome::Trapped(format!("{error:?}"))),
        })
    }
}

/// Ends that are no fault of the guest's, and traps.
fn ended(error: &wasmtime::Error) -> Option<Outcome> {
    if let Some(&I32Exit(code)) = error.downcast_ref() {
        Some(Outcome::Exited(code))
    } else if error.is::<TimedOut>() {
        Some(Outcome::TimedOut)
    } else if error.is::<wasmtime::Trap>() {
        Some(Outcome::Trapped(format!("{error:?}")))
    } else {
        None
    }
}
