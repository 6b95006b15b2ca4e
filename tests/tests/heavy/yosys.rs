//! Yosys: a large module, with many files of data.

use std::path::Path;

use mountless_tests::compare::{Both, Job};
use mountless_tests::{copy_tree, put};

const COUNTER: &str = "
module counter(input clk, input reset, output reg [7:0] count);
    always @(posedge clk) if (reset) count <= 0; else count <= count + 3;
endmodule
";

pub(crate) fn with_its_data() {
    let root = xtask::guests::yosys().unwrap_or_else(|error| panic!("{error}"));
    let fill = |dir: &Path| {
        copy_tree(&root.join("share"), &dir.join("share"));
        put(dir, "counter.v", COUNTER);
        put(dir, "tmp/.keep", "");
    };
    let script = "read_verilog /counter.v; synth_ice40 -top counter -json /counter.json; tee -q -o /stat stat; write_verilog /out.v";
    let job = Job { arguments: &["yosys", "-q", "-p", script], ..Job::default() };
    let both = Both::of(&root.join("yosys.wasm"), job, fill);
    assert!(String::from_utf8_lossy(both.content("/out.v")).contains("SB_DFFSR"), "{both:?}");
    assert_eq!(both.same().code, 0);
}
