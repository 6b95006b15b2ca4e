//! Components: previews 2 and 3 on a store of their own.
//!
//! They run asynchronously, on the calling thread, so that waiting in any of wasmtime-wasi's functions ends with the
//! run's time as well. The files never wait.

use core::time::Duration;

use mountless::namespace::Namespace;
use wasmtime::component::{InstancePre, Linker, ResourceTable};
use wasmtime::{Engine, Store};
use wasmtime_wasi::clocks::WasiClocksCtxView;
use wasmtime_wasi::p2::bindings::CommandPre;
use wasmtime_wasi::runtime::in_tokio;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};

use super::clocks::{self, Sleepers};
#[cfg(feature = "http")]
use super::http::{self, Http};
use super::invoke::{self, Invoked};
use super::room::Room;
use super::{Bounds, Outcome, RunError, RunOptions, Runner, ended, stopped};
use crate::files::{Files, View};
use crate::host::outside_of_runtimes;

/// What a store holds.
pub(super) struct Parts {
    ctx: WasiCtx,
    table: ResourceTable,
    files: Files,
    sleepers: Option<Sleepers>,
    room: Room,
    #[cfg(feature = "http")]
    http: Http,
}

#[cfg(feature = "http")]
impl wasmtime_wasi_http::WasiHttpView for Parts {
    fn http(&mut self) -> wasmtime_wasi_http::WasiHttpCtxView<'_> {
        self.http.view(&mut self.table)
    }
}

impl WasiView for Parts {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.ctx, table: &mut self.table }
    }
}

impl Parts {
    fn view(&mut self) -> View<'_> {
        View { files: &mut self.files, table: &mut self.table }
    }

    fn clocks(&mut self) -> clocks::View<'_> {
        let ctx = WasiClocksCtxView { ctx: self.ctx.clocks(), table: &mut self.table };
        clocks::View { ctx, sleepers: self.sleepers.as_ref() }
    }
}

/// Everything of preview 2, with our files.
pub(super) fn linker(engine: &Engine) -> wasmtime::Result<Linker<Parts>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    #[cfg(feature = "http")]
    wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker)?;
    crate::p2::add_to_linker(&mut linker, Parts::view)?;
    clocks::add_to_linker(&mut linker, Parts::clocks)?;
    Ok(linker)
}

/// Everything of both previews, for an engine that runs tasks beside each other.
#[cfg(feature = "p3")]
pub(super) fn concurrent_linker(engine: &Engine) -> wasmtime::Result<Linker<Parts>> {
    let mut linker = linker(engine)?;
    wasmtime_wasi::p3::add_to_linker(&mut linker)?;
    #[cfg(feature = "http")]
    wasmtime_wasi_http::p3::add_to_linker(&mut linker)?;
    crate::p3::add_to_linker(&mut linker, Parts::view)?;
    clocks::add_p3_to_linker(&mut linker, Parts::clocks)?;
    Ok(linker)
}

/// `wasi:cli/run`, which says the preview.
#[derive(Clone)]
pub(super) enum Entry {
    P2(CommandPre<Parts>),
    #[cfg(feature = "p3")]
    P3(wasmtime_wasi::p3::bindings::CommandPre<Parts>),
}

impl Entry {
    pub(super) fn find(linked: &InstancePre<Parts>) -> Option<Self> {
        let p2 = CommandPre::new(linked.clone()).ok().map(Self::P2);
        #[cfg(feature = "p3")]
        let p2 = p2.or_else(|| wasmtime_wasi::p3::bindings::CommandPre::new(linked.clone()).ok().map(Self::P3));
        p2
    }

    async fn run(&self, store: &mut Store<Parts>) -> Result<wasmtime::Result<Result<(), ()>>, RunError> {
        match self {
            Self::P2(command) => match command.instantiate_async(&mut *store).await {
                Ok(command) => Ok(command.wasi_cli_run().call_run(store).await),
                Err(error) => not_instantiated(error),
            },
            #[cfg(feature = "p3")]
            Self::P3(command) => match command.instantiate_async(&mut *store).await {
                Ok(command) => {
                    let ran = store.run_concurrent(async |store| command.wasi_cli_run().call_run(store).await).await;
                    Ok(ran.flatten())
                }
                Err(error) => not_instantiated(error),
            },
        }
    }
}

/// The guest's own code may run already when an instance is made.
pub(super) fn not_instantiated<R>(error: wasmtime::Error) -> Result<wasmtime::Result<R>, RunError> {
    if ended(&error).is_some() { Ok(Err(error)) } else { Err(RunError::Instantiate(error)) }
}

/// What to do with an instance.
#[derive(Clone, Copy)]
pub(super) enum Task<'a> {
    Run(&'a Entry),
    Invoke { name: &'a str, args: &'a [String] },
}

impl Runner {
    pub(super) fn in_component(
        &self,
        linked: &InstancePre<Parts>,
        namespace: &Namespace,
        options: RunOptions,
        task: Task<'_>,
    ) -> Result<Invoked, RunError> {
        #[cfg(feature = "http")]
        if !options.network && http::is_imported(linked.component()) {
            return Err(RunError::NoNetwork);
        }
        let bounds = Bounds::of(&options);
        let resources_max = options.limits.descriptors.saturating_add(RESOURCES_MIN);
        let (ctx, files, sleepers) = options.into_files(namespace)?;
        let room = Room::new(bounds.memory_max);
        let mut table = ResourceTable::new();
        table.set_max_capacity(resources_max);
        let parts = Parts {
            ctx,
            table,
            files,
            sleepers,
            room,
            #[cfg(feature = "http")]
            http: Http::default(),
        };
        let machine = self.machine(linked.engine());
        let mut store = Store::new(&machine.engine, parts);
        store.limiter(|parts| &mut parts.room);
        let _armed = self.arm(bounds, &mut store, machine)?;

        let work = async move {
            match task {
                Task::Run(entry) => Ok(match entry.run(&mut store).await? {
                    Ok(Ok(())) => Invoked::Ended(Outcome::Exited(0)),
                    Ok(Err(())) => Invoked::Ended(Outcome::Exited(1)),
                    Err(error) => Invoked::Ended(stopped(&error)),
                }),
                Task::Invoke { name, args } => {
                    let called = match linked.instantiate_async(&mut store).await {
                        Ok(instance) => invoke::in_component(&mut store, linked, &instance, name, args).await?,
                        Err(error) => not_instantiated(error)?,
                    };
                    Ok(called.map_or_else(|error| Invoked::Ended(stopped(&error)), Invoked::Returned))
                }
            }
        };
        outside_of_runtimes(|| {
            in_tokio(async {
                match bounds.deadline {
                    None => work.await,
                    // Computing is ended by the epoch; this ends waiting, a little later so that they do not race.
                    Some(deadline) => {
                        let deadline = deadline.checked_add(GRACE).unwrap_or(deadline);
                        tokio::time::timeout_at(deadline.into(), work)
                            .await
                            .unwrap_or(Ok(Invoked::Ended(Outcome::TimedOut)))
                    }
                }
            })
        })
    }
}

/// Resources that a component may have beyond one for each descriptor: streams, listings, what can be waited for. Each is
/// the host's memory.
const RESOURCES_MIN: usize = 1 << 10;

/// What a guest that computes may need to notice that its time is up.
const GRACE: Duration = Duration::from_millis(5);
