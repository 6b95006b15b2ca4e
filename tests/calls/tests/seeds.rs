//! Many runs from seeded bytes. libFuzzer finds more; this says every time that nothing is wrong.

#![allow(clippy::unwrap_used, reason = "tests")]

use mountless_calls::{On, run};

/// xorshift64*.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

fn many(on: On) {
    let runs = std::env::var("MOUNTLESS_CALLS_RUNS").map_or(250, |runs| runs.parse().unwrap());
    let (mut calls, mut successes) = (0, 0);
    for seed in 0..runs {
        let (made, succeeded) = run(on, &noise(seed, 2000));
        calls += made;
        successes += succeeded;
    }
    // Most of what the bytes say is wrong somehow, but not all.
    let least = if on == On::ReadOnly { 6 } else { 4 };
    assert!(calls > 50 * usize::try_from(runs).unwrap(), "{calls} calls");
    assert!(successes * least > calls, "{successes} of {calls} calls succeeded");
}

#[test]
fn calls_on_memory_answer_as_the_model() {
    many(On::Memory);
}

#[test]
fn calls_on_an_overlay_answer_as_the_model() {
    many(On::Overlay);
}

#[test]
fn calls_on_a_read_only_tree_answer_as_the_model() {
    many(On::ReadOnly);
}
