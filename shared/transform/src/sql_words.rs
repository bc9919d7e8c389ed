//! The words of a query, without a parser: enough to know which columns it cannot need, and that it opens no file. In
//! doubt a word counts.

/// Words in lower case, of names also what is in quotes; texts and comments are left out.
#[derive(Debug)]
pub(crate) struct Words {
    words: Vec<String>,
    /// A `*` that stands for columns.
    wildcard: bool,
}

/// Polars opens files by these names.
const FILES: [&str; 5] = ["read_csv", "read_parquet", "read_ipc", "read_json", "read_ndjson"];
/// What makes a query depend on columns that it does not name.
const ALL_COLUMNS: [&str; 2] = ["natural", "columns"];

impl Words {
    pub(crate) fn of(sql: &str) -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut wildcard = false;
        // The last thing that is no space: a word, or one character.
        let mut last = String::new();
        let mut rest = sql;
        while let Some(first) = rest.chars().next() {
            let length = length(rest, first);
            let (token, after) = rest.split_at(length);
            rest = after;
            if first.is_whitespace() || token.starts_with("--") || token.starts_with("/*") || first == '\'' {
                if first == '\'' {
                    last = token.to_owned();
                }
                continue;
            }
            let word = token.trim_matches(|quote| quote == '"' || quote == '`').to_lowercase();
            if first == '*' {
                // COUNT(*) counts rows, and between two values it multiplies.
                wildcard |= matches!(last.as_str(), "select" | "distinct" | "all" | "," | "." | "");
            } else if first.is_alphanumeric() || matches!(first, '_' | '"' | '`') {
                words.push(word.clone());
            }
            last = word;
        }
        Self { words, wildcard }
    }

    /// Whether this is one query over tables.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !matches!(self.words.first().map(String::as_str), Some("select" | "with")) {
            return Err("begins with neither SELECT nor WITH: it is a query, and nothing else".to_owned());
        }
        match self.words.iter().find(|word| FILES.contains(&word.as_str())) {
            Some(word) => Err(format!("opens a file with `{word}`: it reads the tables that the contract names")),
            None => Ok(()),
        }
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.words.iter().any(|word| word.eq_ignore_ascii_case(name))
    }

    pub(crate) fn takes_all_columns(&self) -> bool {
        self.wildcard || ALL_COLUMNS.iter().any(|word| self.has(word))
    }
}

/// Bytes of what begins here: a comment, a text, a name or a number, else one character.
fn length(rest: &str, first: char) -> usize {
    let to = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    match first {
        _ if rest.starts_with("--") => to("\n", 2),
        _ if rest.starts_with("/*") => to("*/", 2),
        // A doubled quote ends one text and begins the next, which is as good.
        '\'' => to("'", 1),
        '"' => to("\"", 1),
        '`' => to("`", 1),
        _ if first.is_alphanumeric() || first == '_' => {
            rest.find(|character: char| !character.is_alphanumeric() && character != '_').unwrap_or(rest.len())
        }
        _ => first.len_utf8(),
    }
}
