//! What one run is given.

use std::time::Duration;

use mountless::namespace::{Follow, Location, Namespace};
use wasmtime_wasi::cli::{StdinStream, StdoutStream};
use wasmtime_wasi::p2::pipe::MemoryInputPipe;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

use super::clocks::Sleepers;
use super::{Deterministic, RunError};
use crate::files::Files;
use crate::host::{CtxHost, Limits};
use crate::p1::{Process, WasiP1};

/// Standard input.
#[derive(Default)]
pub enum Stdin {
    /// At its end.
    #[default]
    Empty,
    /// The process's own.
    Inherit,
    /// These bytes.
    Bytes(Vec<u8>),
    /// Anything that wasmtime-wasi takes.
    Stream(Box<dyn StdinStream + Sync>),
}

/// Standard output or error.
#[derive(Default)]
pub enum Output {
    /// Swallowed.
    #[default]
    Discard,
    /// The process's own.
    Inherit,
    /// Anything that wasmtime-wasi takes, for example a clone of a `MemoryOutputPipe`.
    Stream(Box<dyn StdoutStream + Sync>),
}

/// A directory for the guest.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Preopen {
    /// The guest's name for it.
    pub name: String,
    /// Where it is in the namespace.
    pub path: String,
    /// Nothing there can be changed through it, whatever other directories the guest has.
    pub read_only: bool,
}

impl Preopen {
    /// The directory `path`, under the name `name`, to be read and written.
    #[must_use]
    pub fn new(name: &str, path: &str) -> Self {
        Self { name: name.to_owned(), path: path.to_owned(), read_only: false }
    }

    fn find(&self, namespace: &Namespace) -> Result<Location, RunError> {
        match namespace.locate(&self.path, Follow::Yes) {
            Ok(dir) => Ok(if self.read_only { dir.read_only() } else { dir }),
            Err(source) => Err(self.failed(source)),
        }
    }

    fn failed(&self, source: mountless::error::Error) -> RunError {
        RunError::Preopen { name: self.name.clone(), path: self.path.clone(), source }
    }
}

/// What one run is given.
///
/// # The working directory
/// Preview 1 has none. Guests start where they believe to be: at `/` with wasi-libc, in `$PWD` with Go. With a
/// [`workdir`](Self::workdir), `PWD` is set and the directory is also the first preopen, under the name `.`, for guests
/// that resolve relative paths against the first preopen or one of that name. wasi-libc takes `.` and `/` for one name
/// and the later preopen for the better, so that absolute paths stay right, and relative ones start at `/`.
pub struct RunOptions {
    /// Arguments, the program's name first.
    pub args: Vec<String>,
    /// Environment: names and values.
    pub env: Vec<(String, String)>,
    /// Directories, from descriptor 3 on; `/` as itself, if nothing is said.
    pub preopens: Vec<Preopen>,
    /// Where the guest should be: an absolute path.
    pub workdir: Option<String>,
    /// The run ends after this time, computing or waiting.
    pub timeout: Option<Duration>,
    /// Most bytes that the guest's memories may have together; its tables may have as many again.
    pub memory_max: Option<usize>,
    /// How many instructions the guest may execute, roughly; only with [`Runner::metered`](super::Runner::metered).
    pub fuel: Option<u64>,
    /// Descriptors and sizes of files.
    pub limits: Limits,
    /// Clocks and random bytes that repeat.
    pub deterministic: Option<Deterministic>,
    /// Whether components have the host's network: they may connect to any address, listen on any, look up names and,
    /// with the feature `http`, make requests. Modules never have it, as preview 1 cannot make a socket. Without it, a
    /// component that imports `wasi:http` does not run.
    pub network: bool,
    /// Standard input.
    pub stdin: Stdin,
    /// Standard output.
    pub stdout: Output,
    /// Standard error.
    pub stderr: Output,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            args: Vec::new(),
            env: Vec::new(),
            preopens: vec![Preopen::new("/", "/")],
            workdir: None,
            timeout: None,
            memory_max: None,
            fuel: None,
            limits: Limits::default(),
            deterministic: None,
            network: false,
            stdin: Stdin::default(),
            stdout: Output::default(),
            stderr: Output::default(),
        }
    }
}

impl core::fmt::Debug for RunOptions {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("RunOptions")
            .field("args", &self.args)
            .field("env", &self.env)
            .field("preopens", &self.preopens)
            .field("workdir", &self.workdir)
            .field("timeout", &self.timeout)
            .field("memory_max", &self.memory_max)
            .field("fuel", &self.fuel)
            .field("limits", &self.limits)
            .field("deterministic", &self.deterministic)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

impl RunOptions {
    /// For a module.
    pub(super) fn into_wasi(self, namespace: &Namespace) -> Result<WasiP1, RunError> {
        let (deterministic, limits) = (self.deterministic.clone(), self.limits);
        let (ctx, preopens) = self.into_ctx();
        let mut host = CtxHost::new(ctx);
        if let Some(deterministic) = deterministic {
            host = host.with_sleeper(deterministic.sleeper());
        }
        let mut process = Process::new(namespace.clone(), Box::new(host));
        process.set_limits(limits);
        for preopen in preopens {
            let dir = preopen.find(namespace)?;
            process.preopen(&preopen.name, &dir).map_err(|source| preopen.failed(source))?;
        }
        Ok(process.into())
    }

    /// For a component.
    pub(super) fn into_files(self, namespace: &Namespace) -> Result<(WasiCtx, Files, Option<Sleepers>), RunError> {
        let sleepers = self.deterministic.as_ref().map(|deterministic| Sleepers::new(deterministic.virtual_clock()));
        let limits = self.limits;
        let (ctx, preopens) = self.into_ctx();
        let mut files = Files::new(namespace.clone());
        files.set_limits(limits);
        for preopen in preopens {
            let dir = preopen.find(namespace)?;
            files.preopen_at(&preopen.name, &dir).map_err(|source| preopen.failed(source))?;
        }
        Ok((ctx, files, sleepers))
    }

    fn into_ctx(self) -> (WasiCtx, Vec<Preopen>) {
        let mut ctx = WasiCtxBuilder::new();
        ctx.args(&self.args);
        ctx.envs(&self.env);
        match self.stdin {
            Stdin::Empty => &mut ctx,
            Stdin::Inherit => ctx.inherit_stdin(),
            Stdin::Bytes(bytes) => ctx.stdin(MemoryInputPipe::new(bytes)),
            Stdin::Stream(stream) => ctx.stdin(stream),
        };
        match self.stdout {
            Output::Discard => &mut ctx,
            Output::Inherit => ctx.inherit_stdout(),
            Output::Stream(stream) => ctx.stdout(stream),
        };
        match self.stderr {
            Output::Discard => &mut ctx,
            Output::Inherit => ctx.inherit_stderr(),
            Output::Stream(stream) => ctx.stderr(stream),
        };
        let workdir = self.workdir.filter(|dir| dir.bytes().any(|byte| byte != b'/'));
        if let Some(dir) = &workdir
            && !self.env.iter().any(|(name, _)| name == "PWD")
        {
            ctx.env("PWD", dir);
        }
        if let Some(dir) = &workdir {
            ctx.initial_cwd(dir);
        }
        if self.network {
            ctx.inherit_network().allow_ip_name_lookup(true).allow_tcp(true).allow_udp(true);
        }
        if let Some(deterministic) = self.deterministic {
            deterministic.configure(&mut ctx);
        }
        let workdir = workdir.map(|path| Preopen::new(".", &path));
        (ctx.build(), workdir.into_iter().chain(self.preopens).collect())
    }
}
