//! Inputs that are nearly sound: bits, lengths and blocks, which a parser believes.

use rand::Rng;
use rand::rngs::StdRng;

use crate::MAX_BYTES;

/// The same bytes with a few places changed, taken out or repeated; at most [`MAX_BYTES`].
pub fn damaged(bytes: &[u8], random: &mut StdRng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..random.random_range(1..6) {
        if bytes.is_empty() {
            break;
        }
        // The ends are where headers and footers are.
        let at = match random.random_range(0..4) {
            0 => random.random_range(0..bytes.len().min(200)),
            1 => bytes.len() - 1 - random.random_range(0..bytes.len().min(600)),
            _ => random.random_range(0..bytes.len()),
        };
        change(&mut bytes, at, random);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, at: usize, random: &mut StdRng) {
    let until = (at + random.random_range(1..64)).min(bytes.len());
    match random.random_range(0..9) {
        0 => bytes[at..until].fill(0xff),
        1 => bytes[at..until].fill(0x7f),
        2 => bytes[at..until].fill(0),
        3 => bytes.truncate(at.max(1)),
        4 => {
            let block = bytes[at..until].repeat(random.random_range(1..200));
            bytes.splice(at..at, block);
        }
        5 => drop(bytes.drain(at..until)),
        6 => {
            // A number that others count on, one more or one less.
            bytes[at] = bytes[at].wrapping_add([1, 2, 0xff, 0xfe][random.random_range(0..4)]);
        }
        7 => bytes[at] = random.random(),
        _ => bytes[at] ^= 1 << random.random_range(0..8),
    }
}
