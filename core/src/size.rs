//! Sizes as people write them: on command lines, in fault specifications and in test cases.

use alloc::string::String;
use core::str::FromStr;

/// A count of bytes: `4096`, `64K`, `1.5 GiB`. Units are powers of 1024, whatever their spelling.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size(pub u64);

const UNITS: [&str; 5] = ["", "K", "M", "G", "T"];

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let not_a_size = || format!("{text:?} is not a size; write it like 4096, 64K or 2GiB");
        let digits = text.trim().trim_end_matches(|c: char| !c.is_ascii_digit()).len();
        let (number, unit) = text.trim().split_at(digits);
        let unit = unit.trim().to_ascii_uppercase();
        let unit = unit.strip_suffix("IB").or_else(|| unit.strip_suffix('B')).unwrap_or(&unit);
        let power = UNITS.iter().position(|known| *known == unit).ok_or_else(not_a_size)?;
        let shift = u32::try_from(power).map_err(|_| not_a_size())?.saturating_mul(10);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole: u64 = whole.parse().map_err(|_| not_a_size())?;
        let too_large = || format!("{text} is more than 64 bits can count");
        let whole = whole.checked_mul(1 << shift).ok_or_else(too_large)?;
        // At most three digits, so that nothing overflows.
        let fraction = fraction.get(..fraction.len().min(3)).unwrap_or_default();
        let scale = 10_u64.pow(u32::try_from(fraction.len()).unwrap_or_default());
        let fraction: u64 = if fraction.is_empty() { 0 } else { fraction.parse().map_err(|_| not_a_size())? };
        whole.checked_add((fraction << shift) / scale).map(Self).ok_or_else(too_large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_all_spellings() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64K", 64 << 10),
            ("64kb", 64 << 10),
            ("2 GiB", 2 << 30),
            ("1.5M", 3 << 19),
            ("1T", 1 << 40),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
        }
        for text in ["", "K", "-1", "1X", "1.x", "99999999999999999999", "99999999T"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
    }
}
