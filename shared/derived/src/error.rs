//! Why a derived table could not be refreshed. No error holds a value.

/// What to branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The next run may do it.
    Retryable,
    /// Somebody has to change a contract, a setting or a table.
    Configuration,
}

#[derive(Debug, thiserror::Error)]
pub enum DerivedError {
    #[error(transparent)]
    Lake(#[from] weir_lake::LakeError),
    #[error("derived table `{table}`: {source}")]
    Query { table: String, source: weir_transform::TransformError },
    #[error(
        "derived table `{table}`: {what} has {rows} rows, about {megabytes} MB of the columns that the query names, and \
         {most} MB may be read at once; choose a smaller unit, or raise WEIR_MEMORY_BUDGET_MB"
    )]
    TooLarge { table: String, what: String, rows: u64, megabytes: u64, most: u64 },
    #[error(
        "derived table `{table}`: the table `{source_table}` is at version {latest}, behind {noted}, which was read before: \
         it was set back; delete the folder of `{table}`, and it is made anew"
    )]
    WentBack { table: String, source_table: String, latest: i64, noted: i64 },
    #[error("derived table `{table}`: others refreshed it {attempts} times meanwhile; the next run goes on")]
    Contended { table: String, attempts: u32 },
    #[error("derived table `{table}`: it was made anew 16 million times; move it to a new name")]
    Generations { table: String },
    #[error("derived table `{table}`: a worker thread was stopped")]
    Stopped { table: String },
}

impl DerivedError {
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Lake(error) => match error.kind() {
                weir_lake::ErrorKind::Retryable | weir_lake::ErrorKind::Conflict => ErrorKind::Retryable,
                weir_lake::ErrorKind::Unsupported | weir_lake::ErrorKind::Invalid | weir_lake::ErrorKind::Corrupt => {
                    ErrorKind::Configuration
                }
            },
            Self::Contended { .. } | Self::Stopped { .. } => ErrorKind::Retryable,
            Self::Query { .. } | Self::TooLarge { .. } | Self::WentBack { .. } | Self::Generations { .. } => {
                ErrorKind::Configuration
            }
        }
    }
}
