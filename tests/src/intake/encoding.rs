//! Text that is not UTF-8 becomes it, and what is no text at all is not lost.

use weir_contract::ENCODINGS;
use weir_intake::{ChunkOptions, Framing, Piece};

use super::{joined, options, read};

const RANGES: [u64; 3] = [2, 7, 1 << 20];

async fn text(content: &[u8], encoding: &'static str, range: u64) -> Vec<u8> {
    let pieces = read(content, ChunkOptions { framing: Framing::Lines, encoding, ..options(range) }).await;
    let mut text = Vec::new();
    for piece in pieces {
        match piece {
            Piece::Records(bytes) => text.extend_from_slice(&bytes),
            Piece::Refused { reason, .. } => panic!("{reason}"),
        }
    }
    text
}

fn utf16(text: &str, mark: bool, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    mark.then_some(0xfeff).into_iter().chain(text.encode_utf16()).flat_map(bytes).collect()
}

#[tokio::test]
async fn the_contract_or_the_mark_says_which() {
    const PLAIN: &str = "größe,名\n1,😀\n";
    let (le, be) = (u16::to_le_bytes, u16::to_be_bytes);
    let latin = "größe\n1,€\n";
    let latin_bytes = b"gr\xf6\xdfe\n1,\x80\n".to_vec();
    let cases: [(Vec<u8>, &str, &str); 12] = [
        (PLAIN.as_bytes().to_vec(), "utf-8", PLAIN),
        (utf16(PLAIN, false, le), "utf-16", PLAIN),
        (utf16(PLAIN, true, le), "utf-16", PLAIN),
        (utf16(PLAIN, true, be), "utf-16", PLAIN),
        (utf16(PLAIN, false, be), "utf-16be", PLAIN),
        // The mark is believed, whatever the contract says.
        (utf16(PLAIN, true, le), "utf-8", PLAIN),
        (utf16(PLAIN, true, be), "windows-1252", PLAIN),
        ([b"\xef\xbb\xbf", PLAIN.as_bytes()].concat(), "windows-1252", PLAIN),
        (latin_bytes.clone(), "windows-1252", latin),
        (latin_bytes, "iso-8859-1", latin),
        (b"\x93\xfa\x96{\n".to_vec(), "shift_jis", "日本\n"),
        (b"\xd0\xf2\n".to_vec(), "koi8-r", "пР\n"),
    ];
    for (content, encoding, expected) in cases {
        for range in RANGES {
            let found = text(&content, encoding, range).await;
            assert_eq!(String::from_utf8_lossy(&found), expected, "{encoding} by {range}");
        }
    }
}

/// A byte that UTF-8 lacks stands for what was malformed, in its own record only.
#[tokio::test]
async fn what_is_malformed_stays_a_fault() {
    let lone = [b"a\0\n\0", &b"\x00\xd8"[..], b"b\0\n\0c\0\n\0"].concat();
    let cases: [(Vec<u8>, &str, &[u8]); 4] = [
        (lone, "utf-16", b"a\n\xffb\nc\n"),
        (b"a\0\n\0b".to_vec(), "utf-16", b"a\n\xff"),
        (b"a\n\x93\nb\n".to_vec(), "shift_jis", b"a\n\xff\nb\n"),
        (b"a\n\xff\n".to_vec(), "utf-8", b"a\n\xff\n"),
    ];
    for (content, encoding, expected) in cases {
        for range in RANGES {
            assert_eq!(text(&content, encoding, range).await, expected, "{encoding} by {range}");
        }
    }
}

#[tokio::test]
async fn every_encoding_of_the_contract_is_known() {
    for encoding in ENCODINGS {
        assert!(encoding_rs::Encoding::for_label(encoding.as_bytes()).is_some(), "{encoding}");
        let ascii = if encoding.starts_with("utf-16") {
            let bytes = if encoding == "utf-16be" { u16::to_be_bytes } else { u16::to_le_bytes };
            utf16("a,1\n", false, bytes)
        } else {
            b"a,1\n".to_vec()
        };
        assert_eq!(text(&ascii, encoding, 64).await, b"a,1\n", "{encoding}");
    }
    // Every byte of a single-byte encoding is one character, or a fault: none vanishes.
    let all: Vec<u8> = (1..=255).filter(|byte| *byte != b'\n').collect();
    for encoding in ENCODINGS.iter().filter(|name| name.starts_with("windows") || name.starts_with("iso")) {
        let found = text(&all, encoding, 64).await;
        let valid: usize = found.utf8_chunks().map(|part| part.valid().chars().count() + part.invalid().len()).sum();
        assert_eq!(valid, all.len(), "{encoding}");
    }
    assert_eq!(joined(read(b"", options(64)).await), []);
}
