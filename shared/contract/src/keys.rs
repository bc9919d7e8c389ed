//! Every key a contract may hold, and the search for the one that was meant. The reference page (`docs/contracts.md`)
//! is tested against these tables.

/// One TOML table of the contract.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// As a contract writes it; empty for the top level.
    pub(crate) header: &'static str,
    pub(crate) keys: &'static [&'static str],
}

pub(crate) const TOP: Section = Section {
    header: "",
    keys: &[
        "name",
        "description",
        "source",
        "derived",
        "format",
        "columns",
        "rules",
        "drift",
        "quality",
        "dedupe",
        "table",
        "warehouse",
    ],
};
pub(crate) const SOURCE: Section = Section {
    header: "[source]",
    keys: &[
        "kind",
        "container",
        "path",
        "ignore",
        "on_overwrite",
        "on_delete",
        "hub",
        "consumer_group",
        "gap",
        "epoch",
    ],
};
pub(crate) const DERIVED: Section =
    Section { header: "[derived]", keys: &["follows", "by", "of", "every", "lookups", "on_lookup_change", "sql"] };
pub(crate) const FORMAT: Section = Section {
    header: "[format]",
    keys: &[
        "type",
        "compression",
        "encoding",
        "delimiter",
        "quote",
        "quoted_newlines",
        "header",
        "null_values",
        "decimal_comma",
        "skip_lines",
        "comment",
        "trailing_delimiter",
        "escape",
        "records",
        "payload",
        "max_record_bytes",
        "split_bytes",
    ],
};
pub(crate) const COLUMNS: Section =
    Section { header: "[[columns]]", keys: &["name", "type", "nullable", "from", "format", "personal", "description"] };
pub(crate) const RULES: Section = Section { header: "[[rules]]", keys: &["name", "expr", "action"] };
pub(crate) const DRIFT: Section = Section {
    header: "[drift]",
    keys: &["unknown_fields", "max_added_columns", "missing_columns", "match_case", "personal_unknown_fields"],
};
pub(crate) const QUALITY: Section = Section { header: "[quality]", keys: &["max_faulty", "min_records"] };
pub(crate) const DEDUPE: Section = Section { header: "[dedupe]", keys: &["key", "within"] };
pub(crate) const TABLE: Section =
    Section { header: "[table]", keys: &["partition_by", "cluster_by", "new_columns", "properties"] };
pub(crate) const WAREHOUSE: Section =
    Section { header: "[warehouse]", keys: &["table", "distribution", "index", "long_text", "text_lengths"] };

pub(crate) const SECTIONS: [&Section; 11] =
    [&TOP, &SOURCE, &DERIVED, &FORMAT, &COLUMNS, &RULES, &DRIFT, &QUALITY, &DEDUPE, &TABLE, &WAREHOUSE];

impl Section {
    /// The key that `unknown` was meant to be: one that is spelt nearly so here, or exactly so in another table.
    pub(crate) fn meant(&self, unknown: &str) -> Option<String> {
        if let Some(ours) = self.foreign(unknown) {
            return Some(ours.to_owned());
        }
        if let Some(key) = nearest(unknown, self.keys.iter().copied()) {
            return Some(key.to_owned());
        }
        let mut elsewhere = SECTIONS.iter().filter(|section| section.keys.contains(&unknown));
        match (elsewhere.next(), elsewhere.next()) {
            (Some(section), None) => Some(match section.header {
                "" => unknown.to_owned(),
                header => format!("{header} {unknown}"),
            }),
            _ => None, // nowhere, or in several tables: a guess would mislead
        }
    }
}

/// What others (dlt, Spark, pandas, DuckDB, dbt) call our keys: the table, their words, and ours.
const FOREIGN: [(&str, &str, &str); 21] = [
    ("", "table_name dataset", "name"),
    ("", "schema fields", "[[columns]]"),
    ("", "checks constraints expectations", "[[rules]]"),
    ("", "partition_by partitions", "[table] partition_by"),
    ("", "primary_key unique_key", "[dedupe] key"),
    ("[source]", "type", "kind"),
    ("[source]", "bucket filesystem", "container"),
    ("[source]", "glob pattern file_glob prefix files", "path"),
    ("[source]", "topic eventhub event_hub", "hub"),
    ("[format]", "sep separator delim field_delimiter", "delimiter"),
    ("[format]", "na_values null_value nullvalue nullstr null_marker", "null_values"),
    ("[format]", "skiprows skip_rows skip skip_header", "skip_lines"),
    ("[format]", "decimal_separator decimal", "decimal_comma"),
    ("[format]", "quotechar quote_char", "quote"),
    ("[format]", "escapechar escape_char", "escape"),
    ("[[columns]]", "required not_null", "nullable = false"),
    ("[[columns]]", "null optional", "nullable"),
    ("[[columns]]", "dtype data_type datatype", "type"),
    ("[[columns]]", "source field path alias rename source_name", "from"),
    ("[[columns]]", "date_format timestamp_format", "format"),
    ("[quality]", "max_bad max_errors bad_records allowed_errors", "max_faulty"),
];

impl Section {
    fn foreign(&self, unknown: &str) -> Option<&'static str> {
        let word = unknown.to_lowercase();
        let of_here = FOREIGN.iter().filter(|(header, ..)| *header == self.header);
        of_here.filter(|(_, words, _)| words.split(' ').any(|theirs| theirs == word)).map(|(.., ours)| *ours).next()
    }
}

/// The candidate nearest to `word`, if it is near enough to be worth naming. Case does not count.
pub fn nearest<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    const NEAR_ENOUGH: f64 = 0.55;
    const LONGEST_WORD: usize = 128; // the distance takes quadratic time
    if word.len() > LONGEST_WORD {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::normalized_damerau_levenshtein(&word, &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity >= NEAR_ENOUGH)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
