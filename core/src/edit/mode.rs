//! Permission bits as chmod(1) takes them.

use alloc::string::String;
use alloc::vec::Vec;
use core::str::FromStr;

/// A change of permission bits: octal (`0644`) or symbolic (`u+x,go-w`, `a=rX`).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ModeChange(Vec<Step>);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    All(u16),
    Some {
        /// The bits that may change.
        who: u16,
        action: Action,
        /// What is set or taken away, for everybody.
        bits: u16,
        /// `x` if it is a directory or anybody has it.
        conditional: bool,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Add,
    Remove,
    Set,
}

const USER: u16 = 0o4700;
const GROUP: u16 = 0o2070;
const OTHER: u16 = 0o1007;

impl FromStr for ModeChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let not_a_mode = || format!("{text:?} is not a mode; write it like 0644 or u+x,go-w");
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            let mode = u16::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
            return mode.map(|mode| Self(Vec::from([Step::All(mode)]))).ok_or_else(not_a_mode);
        }
        let mut steps = Vec::new();
        for clause in text.split(',') {
            let at = clause.find(['+', '-', '=']).ok_or_else(not_a_mode)?;
            let (who, mut actions) = clause.split_at(at);
            let mut mask = 0;
            for letter in who.chars() {
                mask |= match letter {
                    'u' => USER,
                    'g' => GROUP,
                    'o' => OTHER,
                    'a' => 0o7777,
                    _ => return Err(not_a_mode()),
                };
            }
            // Everybody; the umask is no part of an image.
            let mask = if who.is_empty() { 0o7777 } else { mask };
            while let Some(sign) = actions.chars().next() {
                let action = match sign {
                    '+' => Action::Add,
                    '-' => Action::Remove,
                    _ => Action::Set,
                };
                let rest = actions.get(1..).unwrap_or_default();
                let end = rest.find(['+', '-', '=']).unwrap_or(rest.len());
                let (letters, next) = rest.split_at(end);
                let (mut bits, mut conditional) = (0, false);
                for letter in letters.chars() {
                    match letter {
                        'r' => bits |= 0o444,
                        'w' => bits |= 0o222,
                        'x' => bits |= 0o111,
                        'X' => conditional = true,
                        's' => bits |= 0o6000,
                        't' => bits |= 0o1000,
                        _ => return Err(not_a_mode()),
                    }
                }
                // The sticky bit is nobody's own.
                let who = if bits & 0o1000 != 0 && mask != OTHER { mask | 0o1000 } else { mask };
                steps.push(Step::Some { who, action, bits, conditional });
                actions = next;
            }
        }
        Ok(Self(steps))
    }
}

impl ModeChange {
    /// The bits after the change.
    #[must_use]
    pub fn apply(&self, mode: u16, is_dir: bool) -> u16 {
        self.0.iter().fold(mode, |mode, step| match *step {
            Step::All(mode) => mode,
            Step::Some { who, action, bits, conditional } => {
                let executable = conditional && (is_dir || mode & 0o111 != 0);
                let bits = (bits | if executable { 0o111 } else { 0 }) & who;
                match action {
                    Action::Add => mode | bits,
                    Action::Remove => mode & !bits,
                    // Special bits of directories stay unless they are named.
                    Action::Set if is_dir => (mode & !(who & 0o777)) | bits,
                    Action::Set => (mode & !who) | bits,
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_change_as_with_chmod() {
        for (text, before, is_dir, after) in [
            ("0644", 0o4755, false, 0o644),
            ("755", 0, true, 0o755),
            ("u+x", 0o644, false, 0o744),
            ("+x", 0o644, false, 0o755),
            ("go-rwx", 0o755, false, 0o700),
            ("a=rX", 0o700, false, 0o555),
            ("a=rX", 0o600, false, 0o444),
            ("a=rX", 0o600, true, 0o555),
            ("u+s,o-x", 0o755, false, 0o4754),
            ("g=", 0o2775, false, 0o705),
            ("+t", 0o777, true, 0o1777),
            ("u=rw,g=r,o=", 0o777, false, 0o640),
            ("u+r-w", 0o200, false, 0o400),
        ] {
            let change: ModeChange = text.parse().unwrap();
            assert_eq!(change.apply(before, is_dir), after, "{text} on {before:o}");
        }
    }

    #[test]
    fn what_is_no_mode_is_refused() {
        for text in ["", "9", "10000", "u", "x+u", "u+q", "u+x,", "0644x"] {
            assert!(text.parse::<ModeChange>().is_err(), "{text}");
        }
    }
}
