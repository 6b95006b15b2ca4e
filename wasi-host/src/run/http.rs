//! `wasi:http`: wasmtime-wasi's, for runs that have the host's network. Others are told that a request is denied.

use wasmtime::component::ResourceTable;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpCtxView, WasiHttpHooks, default_hooks};

/// What a run may request.
pub(super) struct Http {
    ctx: WasiHttpCtx,
    network: bool,
    denied: Denied,
}

impl Http {
    pub(super) fn new(network: bool) -> Self {
        Self { ctx: WasiHttpCtx::new(), network, denied: Denied }
    }

    pub(super) fn view<'a>(&'a mut self, table: &'a mut ResourceTable) -> WasiHttpCtxView<'a> {
        let hooks = if self.network { default_hooks() } else { &mut self.denied };
        WasiHttpCtxView { hooks, table, ctx: &mut self.ctx }
    }
}

struct Denied;

type Io = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl WasiHttpHooks for Denied {
    fn send_request(
        &mut self,
        _: http::Request<WasiBody>,
        _: Option<RequestOptions>,
        _: Io,
    ) -> Box<dyn Future<Output = Result<(http::Response<WasiBody>, Io), Error>> + Send> {
        Box::new(core::future::ready(Err(Error::HttpRequestDenied)))
    }
}
