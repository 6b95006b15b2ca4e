//! Running programs: bytes in, an exit code out.
//!
//! A [`Runner`] owns what is shared by all runs: the engine, the compilation cache, the thread that ends runs whose time
//! is up. A [`Program`] is compiled and linked once. A run then costs a store and an instance; its files are those of the
//! namespace it is given, and the host's are never touched, except for the cache.

mod cache;
mod clocks;
mod component;
mod deterministic;
#[cfg(feature = "http")]
mod http;
mod invoke;
mod options;
mod program;
mod room;
mod timer;

#[cfg(feature = "p3")]
use std::sync::OnceLock;
use std::time::Instant;

use mountless::namespace::Namespace;
use wasmtime::{Config, Engine, Instance, Linker, Store, UpdateDeadline};
use wasmtime_wasi::I32Exit;

pub use self::cache::Cache;
use self::component::Task;
pub use self::deterministic::Deterministic;
pub use self::invoke::Invoked;
pub use self::options::{Output, Preopen, RunOptions, Stdin};
pub use self::program::Program;
use self::program::{Encoding, INITIALIZE, Kind};
use self::room::Room;
use self::timer::{Armed, Timer};
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
    /// It used up its fuel.
    OutOfFuel,
}

/// Why there was no run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// The bytes are something else.
    #[error("not a WebAssembly module or component: {found}")]
    NotWasm {
        /// What they seem to be.
        found: String,
    },
    /// Broken, or it uses proposals that the engine does not have.
    #[error("it does not compile: {0:#}")]
    Compile(wasmtime::Error),
    /// It imports what is not there.
    #[error("it does not link: {0:#}")]
    Link(wasmtime::Error),
    /// Nothing to run.
    #[error("it is no program: a module exports `_start` or `_initialize`, a component `wasi:cli/run`")]
    NoEntry,
    /// There is no such function to call.
    #[error("it exports no function {name:?}; it has {}", list(exports))]
    NoExport {
        /// What was to be called.
        name: String,
        /// What there is.
        exports: Vec<String>,
    },
    /// A function's arguments are not what it takes.
    #[error("{name:?} takes {takes}: {problem}")]
    Arguments {
        /// The function.
        name: String,
        /// Its parameters' types.
        takes: String,
        /// What is wrong.
        problem: String,
    },
    /// It imports `wasi:http`, which only a run with [`RunOptions::network`] has.
    #[error("it uses wasi:http, and has no network")]
    NoNetwork,
    /// No instance could be made, for want of memory for example.
    #[error("it cannot be instantiated: {0:#}")]
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
    /// The runner was made for runs without.
    #[error("fuel needs a runner that counts instructions")]
    Unmetered,
    /// The engine or its cache cannot be set up.
    #[error("the engine cannot be set up: {0:#}")]
    Engine(wasmtime::Error),
}

/// What a store holds.
struct Guest {
    wasi: WasiP1,
    room: Room,
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

/// By what a program can be stopped.
#[derive(Clone, Copy)]
struct Means {
    time: bool,
    fuel: bool,
}

/// An engine, and what ends its runs.
struct Machine {
    engine: Engine,
    /// None, if compiled code does not look at the epoch.
    timer: Option<Timer>,
}

impl Machine {
    fn new(config: &Config, means: Means) -> Result<Self, RunError> {
        let engine = Engine::new(config).map_err(RunError::Engine)?;
        let timer = means.time.then(|| Timer::new(engine.weak()));
        Ok(Self { engine, timer })
    }
}

/// Compiles and runs programs.
pub struct Runner {
    means: Means,
    /// For modules and components of preview 2.
    plain: Machine,
    modules: Linker<Guest>,
    /// For components that run tasks beside each other, made for the first of them: keeping account of tasks costs each
    /// call of a component, into it and out of it, as much as the call itself.
    #[cfg(feature = "p3")]
    concurrent: OnceLock<Machine>,
    /// What the engines are made by.
    #[cfg(feature = "p3")]
    config: Config,
}

impl core::fmt::Debug for Runner {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Runner").finish_non_exhaustive()
    }
}

/// Epoch ticks of a run without a time limit; far more than the timer will ever make.
const NEVER_TICKS: u64 = u64::MAX / 2;

impl Runner {
    /// An engine with this compilation cache, whose runs may have a time limit.
    ///
    /// # Errors
    /// [`RunError::Engine`].
    pub fn new(cache: &Cache) -> Result<Self, RunError> {
        Self::with(cache, Means { time: true, fuel: false })
    }

    /// An engine with this compilation cache for runs without a time limit: what computes takes about a tenth less time,
    /// because compiled code need not ask whether its time is up.
    ///
    /// # Errors
    /// [`RunError::Engine`].
    pub fn uninterruptible(cache: &Cache) -> Result<Self, RunError> {
        Self::with(cache, Means { time: false, fuel: false })
    }

    /// The same, for programs whose instructions are counted ([`RunOptions::fuel`]): they run slower.
    ///
    /// # Errors
    /// [`RunError::Engine`].
    pub fn metered(cache: &Cache) -> Result<Self, RunError> {
        Self::with(cache, Means { time: true, fuel: true })
    }

    fn with(cache: &Cache, means: Means) -> Result<Self, RunError> {
        Self::with_opened(cache.open().map_err(RunError::Engine)?, means)
    }

    fn with_opened(cache: Option<wasmtime::Cache>, means: Means) -> Result<Self, RunError> {
        let mut config = Config::new();
        config.epoch_interruption(means.time);
        config.consume_fuel(means.fuel);
        config.concurrency_support(false);
        config.cache(cache);
        let plain = Machine::new(&config, means)?;
        let mut modules = Linker::new(&plain.engine);
        add_to_linker(&mut modules, |guest: &mut Guest| &mut guest.wasi).map_err(RunError::Engine)?;
        Ok(Self {
            means,
            plain,
            modules,
            #[cfg(feature = "p3")]
            concurrent: OnceLock::new(),
            #[cfg(feature = "p3")]
            config,
        })
    }

    #[cfg(feature = "p3")]
    fn concurrent(&self) -> Result<&Machine, RunError> {
        if let Some(machine) = self.concurrent.get() {
            return Ok(machine);
        }
        let mut config = self.config.clone();
        config.concurrency_support(true).wasm_component_model_async(true);
        let machine = Machine::new(&config, self.means)?;
        Ok(self.concurrent.get_or_init(|| machine))
    }

    /// The machine that a component was compiled for.
    fn machine(&self, engine: &Engine) -> &Machine {
        #[cfg(feature = "p3")]
        if let Some(machine) = self.concurrent.get().filter(|machine| Engine::same(&machine.engine, engine)) {
            return machine;
        }
        let _ = engine;
        &self.plain
    }

    /// Compiles and links the bytes of a module or component.
    ///
    /// # Errors
    /// Those about the program.
    pub fn compile(&self, wasm: &[u8]) -> Result<Program, RunError> {
        match Encoding::of(wasm)? {
            Encoding::Module => Program::module(&self.plain.engine, &self.modules, wasm),
            Encoding::Component => {
                let compiled = Program::component(&self.plain.engine, component::linker, wasm);
                // One with asynchronous functions is found out before any of its code is compiled.
                #[cfg(feature = "p3")]
                if let Err(RunError::Compile(_) | RunError::Link(_)) = compiled {
                    return Program::component(&self.concurrent()?.engine, component::concurrent_linker, wasm);
                }
                compiled
            }
        }
    }

    /// Runs a program on a namespace.
    ///
    /// # Errors
    /// [`RunError::NoEntry`], [`RunError::NoNetwork`], [`RunError::Preopen`], [`RunError::Uninterruptible`],
    /// [`RunError::Unmetered`] and [`RunError::Instantiate`]. What the guest does is an [`Outcome`].
    pub fn run(&self, program: &Program, namespace: &Namespace, options: RunOptions) -> Result<Outcome, RunError> {
        match program.kind() {
            Kind::Module { entry: None, .. } | Kind::Component { entry: None, .. } => Err(RunError::NoEntry),
            Kind::Module { linked, entry: Some(entry) } => {
                let ran = self.in_module(linked, namespace, options, |store, instance| {
                    let entry = instance.get_typed_func::<(), ()>(&mut *store, entry).map_err(RunError::Instantiate)?;
                    Ok(entry.call(store, ()))
                })?;
                Ok(ran.err().unwrap_or(Outcome::Exited(0)))
            }
            Kind::Component { linked, entry: Some(entry) } => {
                match self.in_component(linked, namespace, options, Task::Run(entry))? {
                    Invoked::Returned(_) => Ok(Outcome::Exited(0)),
                    Invoked::Ended(outcome) => Ok(outcome),
                }
            }
        }
    }

    /// Calls a function that a program exports, instead of running it: of a library, or of a reactor, which is
    /// initialized first.
    ///
    /// A module's function takes and returns numbers. A component's takes and returns any values, written in WAVE, as
    /// in `"text"`, `[1, 2]` or `{name: "x"}`; one in an interface is named `INTERFACE#FUNCTION`.
    ///
    /// # Errors
    /// [`RunError::NoExport`], [`RunError::Arguments`], [`RunError::NoNetwork`], [`RunError::Preopen`] and
    /// [`RunError::Instantiate`].
    pub fn invoke(
        &self,
        program: &Program,
        namespace: &Namespace,
        options: RunOptions,
        name: &str,
        args: &[String],
    ) -> Result<Invoked, RunError> {
        match program.kind() {
            Kind::Module { linked, .. } => {
                let called = self.in_module(linked, namespace, options, |store, instance| {
                    invoke::in_module(store, instance, name, args)
                })?;
                Ok(called.map_or_else(Invoked::Ended, Invoked::Returned))
            }
            Kind::Component { linked, .. } => {
                self.in_component(linked, namespace, options, Task::Invoke { name, args })
            }
        }
    }

    /// Does `work` in a new instance; its own errors, and what ends the guest.
    fn in_module<R>(
        &self,
        linked: &wasmtime::InstancePre<Guest>,
        namespace: &Namespace,
        options: RunOptions,
        work: impl FnOnce(&mut Store<Guest>, &Instance) -> Result<wasmtime::Result<R>, RunError>,
    ) -> Result<Result<R, Outcome>, RunError> {
        let bounds = Bounds::of(&options);
        let mut wasi = options.into_wasi(namespace)?;
        wasi.process().set_deadline(bounds.deadline);
        let mut store = Store::new(&self.plain.engine, Guest { wasi, room: Room::new(bounds.memory_max) });
        store.limiter(|guest| &mut guest.room);
        let _armed = self.arm(bounds, &mut store, &self.plain)?;

        // A start function already runs the guest's code.
        let instance = match linked.instantiate(&mut store) {
            Ok(instance) => instance,
            Err(error) => return ended(&error).ok_or(RunError::Instantiate(error)).map(Err),
        };
        WasiP1::use_memory_of((&mut store).into(), &instance, |guest| &mut guest.wasi);
        Ok(work(&mut store, &instance)?.map_err(|error| stopped(&error)))
    }

    /// Ends what the store runs at the deadline, or when its fuel is used up.
    fn arm<'t, T>(
        &self,
        bounds: Bounds,
        store: &mut Store<T>,
        machine: &'t Machine,
    ) -> Result<Option<Armed<'t>>, RunError> {
        match (bounds.fuel, self.means.fuel) {
            (None, false) => {}
            (Some(_), false) => return Err(RunError::Unmetered),
            // OK: the engine counts.
            (fuel, true) => store.set_fuel(fuel.unwrap_or(u64::MAX)).map_err(RunError::Engine)?,
        }
        let mut armed = None;
        match (bounds.deadline, &machine.timer) {
            (None, None) => {}
            (Some(_), None) => return Err(RunError::Uninterruptible),
            (None, Some(_)) => store.set_epoch_deadline(NEVER_TICKS),
            (Some(deadline), Some(timer)) => {
                armed = Some(timer.arm(deadline));
                store.set_epoch_deadline(1);
                // The epoch moves whenever the time of some run is up.
                store.epoch_deadline_callback(move |_| {
                    if Instant::now() < deadline { Ok(UpdateDeadline::Continue(1)) } else { Err(TimedOut.into()) }
                });
            }
        }
        Ok(armed)
    }
}

/// What a run may use up.
#[derive(Clone, Copy)]
struct Bounds {
    deadline: Option<Instant>,
    memory_max: Option<usize>,
    fuel: Option<u64>,
}

impl Bounds {
    fn of(options: &RunOptions) -> Self {
        let deadline = options.timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Self { deadline, memory_max: options.memory_max, fuel: options.fuel }
    }
}

/// How a guest ended that did not return.
fn stopped(error: &wasmtime::Error) -> Outcome {
    ended(error).unwrap_or_else(|| Outcome::Trapped(format!("{error:?}")))
}

/// Ends that are no fault of the guest's, and traps.
fn ended(error: &wasmtime::Error) -> Option<Outcome> {
    if let Some(&I32Exit(code)) = error.downcast_ref() {
        Some(Outcome::Exited(code))
    } else if error.is::<TimedOut>() {
        Some(Outcome::TimedOut)
    } else if error.downcast_ref() == Some(&wasmtime::Trap::OutOfFuel) {
        Some(Outcome::OutOfFuel)
    } else if error.is::<wasmtime::Trap>() {
        Some(Outcome::Trapped(format!("{error:?}")))
    } else {
        None
    }
}

#[cfg(all(test, feature = "p3"))]
mod tests {
    use core::time::Duration;
    use std::sync::Arc;

    use mountless::backend::mem::MemFs;

    use super::*;

    /// A component with a function that never returns, and this before it.
    fn endless(before: &str) -> Vec<u8> {
        wat::parse_str(format!(
            r#"(component
                {before}
                (core module $code (func (export "forever") (loop $again (br $again))))
                (core instance $instance (instantiate $code))
                (func (export "forever") (canon lift (core func $instance "forever"))))"#
        ))
        .unwrap()
    }

    #[test]
    fn tasks_are_accounted_for_only_where_a_component_has_them_and_time_ends_on_both_engines() {
        let runner = Runner::new(&Cache::Off).unwrap();
        for (before, has_tasks) in [("", false), ("(type (stream u8))", true), ("", true)] {
            let program = runner.compile(&endless(before)).unwrap();
            assert_eq!(runner.concurrent.get().is_some(), has_tasks, "after {before:?}");
            let options = RunOptions { timeout: Some(Duration::from_millis(20)), ..RunOptions::default() };
            let namespace = Namespace::new(Arc::new(MemFs::new()));
            let ended = runner.invoke(&program, &namespace, options, "forever", &[]).unwrap();
            assert!(matches!(ended, Invoked::Ended(Outcome::TimedOut)), "{ended:?} after {before:?}");
        }
    }

    #[test]
    fn code_in_the_cache_is_that_of_one_engine_and_found_by_the_same_again() {
        let dir = tempfile::tempdir().unwrap();
        let endless = [endless(""), endless("(type (stream u8))")];
        let means = Means { time: true, fuel: false };
        let mut counts = Vec::new();
        for _ in 0..2 {
            let cache = cache::open(dir.path()).unwrap();
            let runner = Runner::with_opened(Some(cache.clone()), means).unwrap();
            let [plain, concurrent] = [0, 1].map(|index| runner.compile(&endless[index]).unwrap());
            // What fits both, for the engine that it is not run on else.
            let other = &runner.concurrent().unwrap().engine;
            let other = Program::component(other, component::concurrent_linker, &endless[0]).unwrap();
            for program in [plain, concurrent, other] {
                let options = RunOptions { timeout: Some(Duration::from_millis(5)), ..RunOptions::default() };
                let namespace = Namespace::new(Arc::new(MemFs::new()));
                let ended = runner.invoke(&program, &namespace, options, "forever", &[]).unwrap();
                assert!(matches!(ended, Invoked::Ended(Outcome::TimedOut)), "{ended:?}");
            }
            counts.push((cache.cache_hits(), cache.cache_misses()));
        }
        assert_eq!(counts, [(0, 3), (3, 0)], "found and not found, in a new cache and in the same again");
    }

    #[test]
    fn a_component_that_fits_neither_engine_is_told_what_it_lacks() {
        let runner = Runner::new(&Cache::Off).unwrap();
        let wasm = wat::parse_str(r#"(component (import "nobody:has/this" (func)))"#).unwrap();
        let error = runner.compile(&wasm).unwrap_err().to_string();
        assert!(error.contains("does not link") && error.contains("nobody:has/this"), "{error}");
    }
}
