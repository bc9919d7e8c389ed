//! Text in other encodings, turned into UTF-8 while it is read.
//!
//! Nothing is lost silently: what is no text in its encoding becomes a byte that UTF-8 does not have, so that whoever
//! decodes the record refuses it, and its neighbours do not suffer.

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Stands for a malformed sequence.
const MALFORMED: u8 = 0xff;

pub(crate) struct Transcoder {
    decoder: Decoder,
}

impl std::fmt::Debug for Transcoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transcoder").field("from", &self.decoder.encoding().name()).finish_non_exhaustive()
    }
}

impl Transcoder {
    /// For text that is said to be `label` and begins with `head`: a byte order mark says it better. `None` for UTF-8.
    pub(crate) fn new(label: &str, head: &[u8]) -> Option<Self> {
        let encoding = match head {
            [0xff, 0xfe, ..] => UTF_16LE,
            [0xfe, 0xff, ..] => UTF_16BE,
            [0xef, 0xbb, 0xbf, ..] => UTF_8,
            _ => Encoding::for_label(label.as_bytes()).unwrap_or(UTF_8),
        };
        (encoding != UTF_8).then(|| Self { decoder: encoding.new_decoder_with_bom_removal() })
    }

    /// `last`: nothing follows; not to be called again.
    pub(crate) fn transcode(&mut self, mut bytes: &[u8], last: bool) -> Vec<u8> {
        let mut out = vec![0; bytes.len() + bytes.len() / 2 + 16];
        let mut filled = 0;
        loop {
            let (result, read, written) =
                self.decoder.decode_to_utf8_without_replacement(bytes, &mut out[filled..], last);
            bytes = &bytes[read..];
            filled += written;
            match result {
                DecoderResult::InputEmpty => break,
                DecoderResult::OutputFull => out.resize(out.len() + bytes.len() + 16, 0),
                DecoderResult::Malformed(..) => {
                    if filled == out.len() {
                        out.resize(out.len() + bytes.len() + 16, 0);
                    }
                    out[filled] = MALFORMED;
                    filled += 1;
                }
            }
        }
        out.truncate(filled);
        out
    }
}

/// Whether a blob in this encoding and with this beginning is UTF-8 already.
pub(crate) fn is_utf8(label: &str, head: &[u8]) -> bool {
    Transcoder::new(label, head).is_none()
}
