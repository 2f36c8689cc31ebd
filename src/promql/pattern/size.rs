//! How much work a regular expression is for Prometheus.

use super::{Reader, is_special};

/// What the pattern costs to compile, roughly in characters: what is repeated a number of times is compiled as many
/// times, and Go takes 1 to 20 ms for a class that reaches far beyond ASCII, most of it with `(?i)`.
pub(in crate::promql) fn size(pattern: &[u8]) -> usize {
    // Prometheus compares an alternation of literals, such as the one of a restriction, without compiling it.
    if !pattern.iter().any(|byte| *byte != b'|' && is_special(byte)) {
        return 0;
    }
    if pattern.is_ascii() && !pattern.iter().any(|byte| b"{\\[".contains(byte)) {
        return pattern.len();
    }
    let any_case = has_flag(pattern, b'i');
    let mut reader = Reader::new(pattern);
    let mut outer = Vec::new();
    let (mut done, mut atom, mut classes) = (0_usize, 0_usize, 0_usize);
    while let Some(byte) = reader.next() {
        let next = match byte {
            b'(' => {
                outer.push(done.saturating_add(atom));
                (done, atom) = (0, 0);
                continue;
            }
            b')' => {
                atom = atom.saturating_add(done);
                done = outer.pop().unwrap_or(0);
                continue;
            }
            b'{' => match reader.repetition() {
                Some((_, copies)) => {
                    // A pattern with more than a thousand is invalid.
                    atom = atom.saturating_mul(copies.clamp(1, 1001) as usize);
                    continue;
                }
                None => 1,
            },
            b'[' => {
                let class = reader.rest();
                // Without its end the whole pattern is invalid, as with an invalid escape.
                if reader.class().is_none() {
                    break;
                }
                let class = &class[..class.len() - reader.rest().len()];
                let negated = [b'\\', b'D'];
                let is_negated = class.starts_with(b"^");
                let parts = class.windows(2).chain(is_negated.then_some(&negated[..]));
                let cost: usize = parts.map(|part| class_cost(part, any_case)).sum();
                let others = class.iter().filter(|byte| !byte.is_ascii()).count();
                classes += cost + others * class_cost(b"\\p", any_case);
                class.len() + cost.min(10)
            }
            b'\\' => match reader.next() {
                Some(b'Q') => reader.quoted(),
                Some(escape) => {
                    if reader.escape(escape).is_none() {
                        break;
                    }
                    let cost = class_cost(&[b'\\', escape], any_case);
                    classes += cost;
                    1 + cost.min(10)
                }
                None => break,
            },
            _ => 1,
        };
        done = done.saturating_add(atom);
        atom = next;
    }
    outer.into_iter().fold(
        done.saturating_add(atom).saturating_add(classes),
        usize::saturating_add,
    )
}

/// What a part of a class costs once, where it is written.
fn class_cost(part: &[u8], any_case: bool) -> usize {
    match part {
        [b'\\', b'p' | b'P' | b'x' | b'W' | b'D' | b'S'] | [b':', b'^'] if any_case => 2000,
        [b'\\', b'p' | b'P'] => 500,
        [b'\\', b'W' | b'D' | b'S'] | [b':', b'^'] => 125,
        _ => 0,
    }
}

/// Whether `(?...)` sets the flag somewhere.
fn has_flag(pattern: &[u8], flag: u8) -> bool {
    pattern.windows(2).enumerate().any(|(at, pair)| {
        let mut flags = pattern[at + 2..]
            .iter()
            .take_while(|byte| byte.is_ascii_alphabetic());
        pair == b"(?" && flags.any(|&byte| byte == flag)
    })
}
