//! `wasi:http`: wasmtime-wasi's, for runs that have the host's network.
//!
//! A component that imports it runs only there: what requests consist of is the host's memory, which nothing counts.

use wasmtime::component::{Component, ResourceTable};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, default_hooks};

/// What a run's requests share.
#[derive(Default)]
pub(super) struct Http(WasiHttpCtx);

impl Http {
    pub(super) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        WasiHttpCtxView { hooks: default_hooks(), table, ctx: &mut self.0 }
    }
}

/// Whether a component imports any of it.
pub(super) fn is_imported(component: &Component) -> bool {
    component.component_type().imports(component.engine()).any(|(name, _)| name.starts_with("wasi:http/"))
}
