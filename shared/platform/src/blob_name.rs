//! The name of a blob, and the one way from it to what a store is asked with.

use std::fmt;
use std::ops::Deref;

use object_store::path::Path;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// Azure's limit.
const MAX_CHARS: usize = 1_024;
/// First segment of a key that stands for a name which object_store cannot say.
const RAW: &str = "raw:";
/// What stays as it is in an address.
pub(crate) const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// A blob's name within its container: exactly the characters that the uploader gave it. Nothing is normalised, decoded
/// or trimmed: `a%20b` and `a b` are two blobs, and so are the two Unicode forms of `ü`.
///
/// Made by [`BlobName::new`] and turned into a store's path by [`BlobName::key`]; nothing else may do either.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobName(String);

/// Why a name cannot be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    #[error("a blob's name is empty")]
    Empty,
    #[error("a blob's name has more than 1,024 characters")]
    TooLong,
    #[error("the blob's name has a folder `.` or `..`, which no address can hold: rename the blob")]
    Dots,
}

impl BlobName {
    /// # Errors
    /// For the few names that no request can carry. Addresses are normalised on the way: `a/../b` arrives as `b`, which
    /// is another blob.
    pub fn new(name: impl Into<String>) -> Result<Self, BadName> {
        let name = name.into();
        if name.is_empty() {
            return Err(BadName::Empty);
        }
        if name.chars().count() > MAX_CHARS {
            return Err(BadName::TooLong);
        }
        if name.split('/').any(|segment| segment == "." || segment == "..") {
            return Err(BadName::Dots);
        }
        Ok(Self(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What a landing container is asked with. A name that object_store would change or refuse (`//`, a slash at either
    /// end, control characters) is percent-encoded into one segment below `raw:`; [`crate::Container`] knows it again.
    pub fn key(&self) -> Path {
        match Path::parse(&self.0) {
            Ok(path) if path.as_ref() == self.0 && !self.begins_as_raw() => path,
            _ => {
                // Always sound: the text is one segment of ASCII, and a name that is dots alone is not made.
                let encoded = utf8_percent_encode(&self.0, UNRESERVED);
                Path::parse(format!("{RAW}/{encoded}")).unwrap_or_default()
            }
        }
    }

    /// The name that a key of [`BlobName::key`] stands for; `None` when it is the key itself.
    pub(crate) fn raw(key: &Path) -> Option<Self> {
        let encoded = key.as_ref().strip_prefix(RAW)?.strip_prefix('/')?;
        let name = percent_encoding::percent_decode_str(encoded).decode_utf8().ok()?;
        Some(Self(name.into_owned()))
    }

    fn begins_as_raw(&self) -> bool {
        self.0.split('/').next() == Some(RAW)
    }
}

impl Deref for BlobName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BlobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_names_are_their_own_keys_and_odd_ones_are_found_again() {
        let own = [
            "a",
            "a/b.csv",
            "über/z%20 #~{}[]^`|.csv",
            "a.",
            "a./b",
            "...",
            "a\\b",
            "u\u{308}",
            " a ",
            "a+b",
            "💎",
            "x/data#1",
        ];
        for name in own {
            let key = BlobName::new(name).unwrap().key();
            assert_eq!(key.as_ref(), name);
            assert_eq!(BlobName::raw(&key), None);
        }
        let odd = ["a//b", "/a", "a/", "/", "//", "a\nb", "a\u{7f}", "raw:/a", "raw:", "raw:/a%2F%2Fb", "\u{1}"];
        for name in odd {
            let key = BlobName::new(name).unwrap().key();
            assert_eq!(Path::parse(key.as_ref()).unwrap(), key, "{name:?}");
            assert_eq!(BlobName::raw(&key).unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_no_address_can_hold_is_refused() {
        for (name, why) in
            [("", BadName::Empty), ("a/../b", BadName::Dots), (".", BadName::Dots), ("a/.", BadName::Dots)]
        {
            assert_eq!(BlobName::new(name), Err(why));
        }
        assert!(BlobName::new("ü".repeat(1_024)).is_ok());
        assert_eq!(BlobName::new("a".repeat(1_025)), Err(BadName::TooLong));
    }

    proptest! {
        #[test]
        fn no_two_names_have_one_key(left in "[a/.%#:r\u{1}ü]{1,6}", right in "[a/.%#:r\u{1}ü]{1,6}") {
            if let (Ok(left), Ok(right)) = (BlobName::new(left), BlobName::new(right)) {
                prop_assert_eq!(left.key() == right.key(), left == right);
                let found = BlobName::raw(&left.key()).map_or_else(|| left.key().to_string(), |name| name.0);
                prop_assert_eq!(found, left.as_str());
            }
        }
    }
}
