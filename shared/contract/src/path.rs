//! Where a value is within a record: JSON Pointers (RFC 6901).

/// Segments of a pointer. Deeper data has no business in a table.
const MAX_SEGMENTS: usize = 16;

/// The names of a pointer, from the outside in: `/data/temp` is `data`, then `temp`.
///
/// # Errors
/// What is wrong with it.
pub fn pointer(text: &str) -> Result<Vec<String>, String> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err("is no JSON Pointer: it begins with `/`, as in `/data/temp`".to_owned());
    };
    let names = rest.split('/').map(unescaped).collect::<Option<Vec<_>>>();
    let names = names.ok_or("has a `~` that is not `~0` (a `~`) or `~1` (a `/`)")?;
    if names.len() > MAX_SEGMENTS {
        return Err(format!("goes {} levels deep: at most {MAX_SEGMENTS} are allowed", names.len()));
    }
    if names.iter().any(String::is_empty) {
        return Err("has an empty name between its slashes".to_owned());
    }
    Ok(names)
}

fn unescaped(segment: &str) -> Option<String> {
    let mut parts = segment.split('~');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        name.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        name.push_str(part.get(1..)?);
    }
    Some(name)
}

/// `names` with another one behind them, as a pointer.
pub fn pushed(pointer: &str, name: &str) -> String {
    format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1"))
}

/// A field as a contract's `from` names it, by the names from the outermost in: its own name, or a pointer.
pub fn field_of(names: &[impl AsRef<str>]) -> String {
    match names {
        [name] => name.as_ref().to_owned(),
        names => names.iter().fold(String::new(), |path, name| pushed(&path, name.as_ref())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pointers() {
        assert_eq!(pointer("/data/temp"), Ok(vec!["data".to_owned(), "temp".to_owned()]));
        assert_eq!(pointer("/a~1b/~0/0"), Ok(vec!["a/b".to_owned(), "~".to_owned(), "0".to_owned()]));
        for wrong in ["", "data", "/", "/a//b", "/a/", "/~", "/~2", "/a~"] {
            assert!(pointer(wrong).is_err(), "{wrong}");
        }
        assert!(pointer(&"/a".repeat(16)).is_ok() && pointer(&"/a".repeat(17)).is_err());
    }

    proptest! {
        #[test]
        fn there_and_back(names in prop::collection::vec("[a-c/~01]{1,6}", 1..8)) {
            let text = names.iter().fold(String::new(), |text, name| pushed(&text, name));
            prop_assert_eq!(pointer(&text), Ok(names));
        }
    }
}
