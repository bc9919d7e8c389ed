//! Columns that take what is within a field: a tree of the names that lead to them.

use std::collections::HashMap;

/// What is known of a place in a record.
#[derive(Debug, Default)]
pub(crate) struct Place {
    /// The column that takes what stands here.
    pub(crate) column: Option<usize>,
    within: HashMap<String, Place>,
    /// Names in lower case and as they are spelt, unless case counts.
    folded: Option<HashMap<String, String>>,
}

impl Place {
    pub(crate) fn new(match_case: bool) -> Self {
        Self { folded: (!match_case).then(HashMap::new), ..Self::default() }
    }

    /// Nothing is taken from within.
    #[inline]
    pub(crate) fn is_leaf(&self) -> bool {
        self.within.is_empty()
    }

    #[inline]
    pub(crate) fn get(&self, name: &str) -> Option<&Place> {
        if self.within.is_empty() {
            return None;
        }
        self.within.get(name).or_else(|| self.within.get(self.folded.as_ref()?.get(&name.to_lowercase())?))
    }

    /// Makes a column take what the names lead to. False if another one does.
    pub(crate) fn insert(&mut self, names: &[String], column: usize) -> bool {
        let Some((first, rest)) = names.split_first() else {
            return self.column.replace(column).is_none();
        };
        let match_case = self.folded.is_none();
        let folded =
            self.folded.as_mut().map(|folded| folded.entry(first.to_lowercase()).or_insert_with(|| first.clone()));
        let first = folded.map_or_else(|| first.clone(), |first| first.clone());
        self.within.entry(first).or_insert_with(|| Self::new(match_case)).insert(rest, column)
    }
}
