//! How fields find their columns, and what becomes of those that find none.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use weir_contract::{Contract, MissingColumns, UnknownFields, is_column_name};

use crate::columns::Target;
use crate::error::{Result, TransformError};
use crate::paths::Place;

#[derive(Debug)]
pub(crate) struct Fields {
    /// Source field to column.
    exact: HashMap<String, usize>,
    /// The same in lower case, unless case counts.
    folded: Option<HashMap<String, usize>>,
    /// Columns that take what is within fields.
    pub(crate) paths: Place,
    /// The contract's columns, in lower case: no added column may have such a name.
    taken: HashSet<String>,
    pub(crate) unknown: UnknownFields,
    pub(crate) missing: MissingColumns,
    pub(crate) most_added: usize,
}

impl Fields {
    /// Of the targets, the first `of_body` are those that records give.
    pub(crate) fn new(contract: &Contract, targets: &[Target], of_body: usize) -> Result<Self> {
        let fold = |name: &str| if contract.drift.match_case { name.to_owned() } else { name.to_lowercase() };
        let (mut exact, mut folded) = (HashMap::new(), HashMap::new());
        let mut paths = Place::new(contract.drift.match_case);
        let paths_of = targets.iter().enumerate().filter_map(|(index, target)| Some((index, target.path.as_ref()?)));
        for (index, names) in paths_of {
            if !paths.insert(names, index) {
                let problem = "reads the same place as another column, without regard to case";
                return Err(TransformError::column(&targets[index].name, problem));
            }
        }
        for (index, target) in targets.iter().enumerate().take(of_body) {
            if let Some(other) = folded.insert(fold(&target.field), index) {
                let other: &Target = &targets[other];
                let problem = format!("reads the same field as column `{}`; give one of them another", other.name);
                return Err(TransformError::column(&target.name, problem));
            }
            exact.insert(target.field.clone(), index);
        }
        Ok(Self {
            exact,
            paths,
            folded: (!contract.drift.match_case).then_some(folded),
            taken: targets.iter().map(|target| target.name.to_lowercase()).collect(),
            unknown: match contract.drift.unknown_fields {
                UnknownFields::Add if contract.leaves_unknown_fields_out() => UnknownFields::Rescue,
                unknown => unknown,
            },
            missing: contract.drift.missing_columns,
            most_added: contract.drift.max_added_columns,
        })
    }

    pub(crate) fn match_case(&self) -> bool {
        self.folded.is_none()
    }

    /// The column whose field is spelt exactly so.
    pub(crate) fn exact(&self, name: &str) -> Option<usize> {
        self.exact.get(name).copied()
    }

    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        self.exact(name).or_else(|| {
            let folded = self.folded.as_ref()?;
            let is_folded = name.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase());
            if is_folded { folded.get(name) } else { folded.get(&name.to_lowercase()) }.copied()
        })
    }

    /// What equal names have in common.
    pub(crate) fn key<'n>(&self, name: &'n str) -> Cow<'n, str> {
        if self.match_case() { name.into() } else { name.to_lowercase().into() }
    }

    /// Whether two names are quickly seen to be the same.
    #[inline]
    pub(crate) fn are_same(&self, left: &str, right: &str) -> bool {
        left == right || (self.folded.is_some() && left.eq_ignore_ascii_case(right))
    }

    /// The columns of names that come together, in a header or a schema: who is spelt as the contract spells it comes
    /// first, then the first that differs by case.
    pub(crate) fn columns_of(&self, names: &[&str]) -> Vec<Option<usize>> {
        let mut columns = vec![None; names.len()];
        let mut given = HashSet::new();
        for exactly in [true, false] {
            for (column, name) in columns.iter_mut().zip(names).filter(|(column, _)| column.is_none()) {
                let found = if exactly { self.exact(name) } else { self.column(name) };
                *column = found.filter(|column| given.insert(*column));
            }
        }
        columns
    }

    /// Whether the table may get a column of this name.
    pub(crate) fn may_be_added(&self, name: &str) -> bool {
        self.unknown == UnknownFields::Add && is_column_name(name) && !self.taken.contains(&name.to_ascii_lowercase())
    }

    /// Whether a record without the column's field is refused.
    pub(crate) fn refuses_without(&self, target: &Target) -> bool {
        // Nobody misses what is dropped anyway.
        self.missing == MissingColumns::Fail && !target.dropped
    }
}
