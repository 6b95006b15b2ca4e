//! `mountless run --net`: the network is there only if it was asked for.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mountless_tests::component::{Preview, of_preview3, of_world};

use crate::sandbox::{Done, Sandbox};

/// Ends well if it may connect to the address: what becomes of it is another matter.
fn connects(port: u16) -> Vec<u8> {
    let module = format!(
        r#"(module
            (import "wasi:sockets/instance-network@0.2.12" "instance-network" (func $network (result i32)))
            (import "wasi:sockets/tcp-create-socket@0.2.12" "create-tcp-socket" (func $create (param i32 i32)))
            (import "wasi:sockets/tcp@0.2.12" "[method]tcp-socket.start-connect" (func $connect
                (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
            (memory (export "memory") 1)
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) unreachable)
            (func (export "wasi:cli/run@0.2.12#run") (result i32)
                (call $create (i32.const 0) (i32.const 0))
                (if (i32.load8_u (i32.const 0)) (then (return (i32.const 1))))
                (call $connect (i32.load (i32.const 4)) (call $network) (i32.const 0) (i32.const {port})
                    (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
                    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)
                    (i32.const 16))
                (i32.load8_u (i32.const 16))))"#
    );
    let world = "package mountless:guest;
        world connects {
            import wasi:sockets/instance-network@0.2.12;
            import wasi:sockets/tcp-create-socket@0.2.12;
            import wasi:sockets/tcp@0.2.12;
            export wasi:cli/run@0.2.12;
        }";
    of_world(Preview::Two, wat::parse_str(module).unwrap(), world)
}

#[test]
fn sockets_are_there_only_if_asked_for() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let sandbox = Sandbox::new();
    let component = sandbox.file("connects.wasm", connects(listener.local_addr().unwrap().port()));
    let without = sandbox.run(["run", &component]);
    assert_eq!(without.code, 1, "{}", without.shown());
    let with = sandbox.run(["run", "--net", &component]);
    assert_eq!(with.code, 0, "{}", with.shown());
}

/// Answers one request; what it was.
fn answered(listener: &TcpListener) -> String {
    let (mut client, _) = listener.accept().unwrap();
    let (mut request, mut piece) = (String::new(), [0; 1000]);
    let is_whole = |request: &str| match request.split_once("\r\n\r\n") {
        Some((head, body)) => head.starts_with("GET ") || body.contains("question"),
        None => false,
    };
    while !is_whole(&request) {
        let count = client.read(&mut piece).unwrap();
        assert!(count > 0, "cut off: {request}");
        request.push_str(core::str::from_utf8(&piece[..count]).unwrap());
    }
    let answer = "HTTP/1.1 207 Multi-Status\r\ncontent-type: text/plain\r\ncontent-length: 9\r\n\r\nan answer";
    client.write_all(answer.as_bytes()).unwrap();
    request
}

/// Runs a component that asks a server once: with the network; without; and where the server is silent. What the first
/// did, and its request.
fn asking(run: impl Fn(&[&str], SocketAddr) -> Done) -> (Done, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, request) = mpsc::channel();
    let server = listener.try_clone().unwrap();
    thread::spawn(move || sender.send(answered(&server)));
    let with = run(&["--net", "--timeout", "200s"], address);
    // It may never have asked.
    let request =
        request.recv_timeout(Duration::from_secs(10)).unwrap_or_else(|error| panic!("{error}: {}", with.shown()));
    let without = run(&[], address);
    let next = "it uses wasi:http, and has no network\n  next: --net gives it the host's\n";
    assert_eq!((without.code, without.stderr.ends_with(next)), (125, true), "{}", without.shown());
    let silent = run(&["--net", "--timeout", "1s"], address);
    assert_eq!(silent.code, 124, "{}", silent.shown());
    (with, request)
}

#[test]
fn a_javascript_program_fetches_if_it_has_the_network() {
    let component = xtask::guests::javascript_component("fetch").unwrap_or_else(|error| panic!("{error}"));
    let component = component.to_str().unwrap();
    let sandbox = Sandbox::new();
    let (with, request) = asking(|options, address| {
        let url = format!("http://{address}/path?query");
        sandbox.run(["run"].iter().chain(options).chain([&component, &&*url]))
    });
    assert_eq!((with.code, &*with.stdout), (0, "207 text/plain an answer\n"), "{}", with.shown());
    assert!(request.starts_with("POST /path?query HTTP/1.1\r\n") && request.contains("a question"), "{request}");
}

#[test]
fn a_program_of_preview_3_has_http_if_it_has_the_network() {
    let component = of_preview3("fetch");
    let component = component.to_str().unwrap();
    let sandbox = Sandbox::new();
    let (with, request) = asking(|options, address| {
        let address = address.to_string();
        sandbox.run(["run"].iter().chain(options).chain([&component, &&*address]))
    });
    assert_eq!(with.code, 7, "{}", with.shown());
    assert!(request.starts_with("GET / HTTP/1.1\r\n"), "{request}");
}
