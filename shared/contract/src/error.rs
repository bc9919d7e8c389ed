//! What is wrong with a contract, told so that its author can mend it without asking anybody.

use std::fmt;

/// One fault. Displays as ``sales.toml:12:8: columns[3].type: unknown type `strng`; did you mean `string`?``
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ContractError {
    pub kind: ErrorKind,
    /// As the caller named it.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// Dotted path of the key, entries of a list counted from 0 (`columns[3].type`). Empty when it is the whole file.
    pub key: String,
    pub message: String,
    /// The nearest valid spelling.
    pub suggestion: Option<String>,
}

/// What to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Not TOML.
    Syntax,
    /// The file, a list or a text is larger than its limit.
    TooLarge,
    UnknownKey,
    MissingKey,
    /// A string where a number belongs, and the like.
    WrongType,
    /// The right TOML type, but no value that means something.
    InvalidValue,
    /// Two settings, or two contracts, that cannot both be.
    Conflict,
}

impl ContractError {
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for ContractError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

/// Every fault of one contract, or of a set of them, in the order of files and lines. Never empty. Displays one a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ContractErrors {
    errors: Vec<ContractError>,
    omitted: usize,
}

impl ContractErrors {
    /// `omitted`: how many more there were than a person would read.
    pub(crate) fn new(errors: Vec<ContractError>, omitted: usize) -> Self {
        debug_assert!(!errors.is_empty());
        Self { errors, omitted }
    }

    pub fn iter(&self) -> std::slice::Iter<'_, ContractError> {
        self.errors.iter()
    }

    /// How many faults there are, those left out of the list included.
    pub fn count(&self) -> usize {
        self.errors.len() + self.omitted
    }

    /// The kind of the first fault.
    pub fn kind(&self) -> ErrorKind {
        self.errors.first().map_or(ErrorKind::Syntax, ContractError::kind)
    }

    pub(crate) fn append(&mut self, mut other: Self) {
        self.errors.append(&mut other.errors);
        self.omitted += other.omitted;
    }
}

impl<'a> IntoIterator for &'a ContractErrors {
    type Item = &'a ContractError;
    type IntoIter = std::slice::Iter<'a, ContractError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ContractErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        match self.omitted {
            0 => Ok(()),
            omitted => write!(f, "\nand {omitted} more"),
        }
    }
}
