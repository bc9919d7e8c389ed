//! Names by which others mark files that are no data: unfinished ones, and those that a tool keeps for itself.
//!
//! They are Spark's and Hive's (`_SUCCESS`, `_temporary`, `.part-0.crc`), and of whoever copies under another name first
//! and renames afterwards. A folder `_column=value` is a partition, as it is to Spark.

/// Ends of names, without regard to case.
const ENDINGS: [&str; 5] = [".crc", ".tmp", ".part", ".filepart", "._copying_"];
/// Owner files of Office.
const OWNER: &str = "~$";

/// For each character of a path whether it marks its segment as no data.
pub(crate) fn marks(path: &str) -> Vec<bool> {
    let mut marks = Vec::with_capacity(path.len());
    for segment in path.split('/') {
        let begins = marks.len();
        marks.extend(segment.chars().map(|_| false));
        let is_partition = segment.starts_with('_') && segment.contains('=');
        let first = match segment.chars().next() {
            Some('_') if is_partition => 0,
            // No names of files: a blob that has them is to be told of.
            Some('.') if segment == "." || segment == ".." => 0,
            Some('_' | '.') => 1,
            _ if segment.starts_with(OWNER) => OWNER.len(),
            _ => 0,
        };
        marks[begins..begins + first].fill(true);
        // The slash behind it.
        marks.push(false);
    }
    let file = path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    if let Some(ending) = ENDINGS.iter().find(|ending| file.ends_with(**ending)) {
        let end = marks.len() - 1;
        marks[end - ending.len()..end].fill(true);
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::marks;

    #[test]
    fn marks_are_of_characters() {
        let shown = |path: &str| marks(path).iter().map(|mark| if *mark { '^' } else { ' ' }).collect::<String>();
        assert_eq!(shown("ü/_a/.b/_c=1"), "  ^  ^      ".to_owned() + " ");
        assert_eq!(shown("ü~$/~$é.TMP"), "    ^^ ^^^^ ");
        assert_eq!(shown(""), " ");
    }
}
