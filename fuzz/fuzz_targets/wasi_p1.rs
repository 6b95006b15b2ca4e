#![no_main]

use libfuzzer_sys::fuzz_target;
use mountless_calls::{On, run};

fuzz_target!(|bytes: &[u8]| {
    let Some((&first, calls)) = bytes.split_first() else { return };
    run(On::ALL[usize::from(first) % On::ALL.len()], calls);
});
