use std::path::PathBuf;

use azure_functions_custom_handler::HandlerError;

/// Whether delivering the same input again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Retryable,
    /// Somebody has to change a contract, a setting or a request.
    Configuration,
}

/// Errors of the function app: those of its crates, and its own.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppError {
    #[error("read contracts from {}: {source}; set WEIR_DATASETS to their folder", folder.display())]
    Datasets { folder: PathBuf, source: std::io::Error },
    #[error("read {}: {source}", file.display())]
    File { file: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Contracts(#[from] weir_contract::ContractErrors),
    #[error("{file}: {source}")]
    Contract { file: String, source: weir_transform::TransformError },
    #[error("no dataset `{name}`; `weir check` lists them")]
    UnknownDataset { name: String },
    #[error("WEIR_LANDING_URL is needed to read blobs")]
    NoLanding,
    #[error("dataset `{name}` takes {takes}, not {given}")]
    WrongSource { name: String, takes: &'static str, given: &'static str },
    #[error("task message: {message}")]
    Task { message: String },
    /// What is asked for cannot be done.
    #[error("{message}")]
    Request { message: String },
    #[error("a note about work in progress is {message}; it goes after a day, and the work begins anew")]
    Note { message: String },
    #[error("`{source_}` was overwritten 16 million times; move the dataset to a new table")]
    Overwritten { source_: String },
    #[error("EventHub or EventHub__fullyQualifiedNamespace is needed to read events from their hub")]
    NoHub,
    #[error(
        "the table has events of a hub `{hub}` of more than one namespace; name the namespace with \
         EventHub__fullyQualifiedNamespace"
    )]
    SeveralNamespaces { hub: String },
    #[error(
        "events of the namespace {given} cannot be read: the setting `EventHub` is for {own}; let it name the one that the \
         trigger listens to"
    )]
    OtherNamespace { own: String, given: String },
    #[error(
        "partition {partition} of the hub `{hub}` ends at event {end}, and later ones were delivered: the setting \
         `EventHub` is for another hub of that name, or the hub was made anew"
    )]
    ShortHub { hub: String, partition: u32, end: u64 },
    #[error(
        "event {sequence} of partition {partition} of the hub `{hub}` is committed, and came again as one that is younger: the \
         hub was deleted and made again, or its namespace failed over, and counts from 0. Set `epoch = {next_epoch}` in \
         `[source]` of its contract, which tells the new events from the old"
    )]
    HubMadeAnew { hub: String, partition: String, sequence: i64, next_epoch: u32 },
    #[error(
        "event {sequence} of partition {partition} of the hub `{hub}` is committed of an earlier epoch, so the hub is the \
         one that it was: take `epoch = {epoch}` back out of `[source]`; to read events again there is `weir replay`"
    )]
    SameHub { hub: String, partition: String, sequence: i64, epoch: u32 },
    #[error(
        "`{table}` has {rows} rows more (fewer, if negative) than its books say, and its log tells of others who do not \
         account for that: nothing is acknowledged. Keep the table's folder and report it"
    )]
    NotOthers { table: String, rows: i64 },
    #[error("nothing to replay: {why}")]
    NothingToReplay { why: String },
    #[error(
        "the tables of `{dataset}` hold nothing of what is asked for; without `--source` and bounds all is verified"
    )]
    NothingToVerify { dataset: String },
    #[error("no blob of the dataset begins with this prefix")]
    NoBlobs,
    #[error("the hub `{hub}` has a partition whose id is no number; events that the host passed over cannot be read")]
    PartitionId { hub: String },
    #[error("WEIR_TASK_KEY {problem}")]
    TaskKey { problem: &'static str },
    #[error("the task {problem}: it is not carried out (WEIR_TASK_KEY)")]
    Unsigned { problem: &'static str },
    #[error("the task is refused: {problem}")]
    Refused { problem: &'static str },
    #[error("the task is refused: {what} is no id")]
    RefusedId { what: &'static str },
    #[error(
        "the parts of `{source_}` do not cover it: {covered} of {size} bytes. They are read anew in a day, or when \
         `reprocess` asks for it"
    )]
    NotWhole { source_: String, covered: u64, size: u64 },
    #[error(
        "partition {partition} of the hub `{hub}` cannot have an event {sequence}: {after} were committed. Was it sent by \
         somebody else than the Functions host?"
    )]
    ImpossibleSequence { hub: String, partition: String, sequence: i64, after: i64 },
    #[error("{blob}: {why}")]
    Name { blob: String, why: weir_platform::BadName },
    #[error("blob event: {message}")]
    BlobEvent { message: String },
    #[error(
        "the producer `{producer}` moved {attempts} times while its records were being written; deliver them again"
    )]
    Moved { producer: String, attempts: u32 },
    #[error(
        "{committed} events of this delivery are committed and {left} are not: they take longer than an invocation may; the \
         next delivery goes on with them"
    )]
    Unfinished { committed: usize, left: usize },
    #[error(
        "two releases with different contracts for `{dataset}` are running, and each put its own in force while the other \
         was at work; deliver again, and end one of them"
    )]
    SeveralContracts { dataset: String },
    #[error(
        "{limit} messages are parked, and no more are taken: find out why (`weir parked`), try them again or discard them. \
         Until then this one lies in its poison queue"
    )]
    ParkedFull { limit: usize },
    #[error(
        "the pseudonyms of the table `{table}` were made with another key of the same version (`{id}`), and nothing was \
         written: equal values would no longer be equal. Set WEIR_PSEUDONYM_KEY to the key that they were made with, such as \
         an earlier version of the secret, and deliver again; if that key is lost or must go, give the dataset a new name"
    )]
    OtherKey { table: String, id: String },
    #[error("a worker thread was stopped")]
    Stopped,
    #[error(transparent)]
    Platform(#[from] weir_platform::PlatformError),
    #[error("{0}; is the consumer group of WEIR_REPLAY_GROUP there, and may the app read it?")]
    Hub(#[from] weir_intake::hub::HubError),
    #[error(transparent)]
    Intake(#[from] weir_intake::IntakeError),
    #[error(transparent)]
    Transform(#[from] weir_transform::TransformError),
    #[error(transparent)]
    Lake(#[from] weir_lake::LakeError),
    #[error(transparent)]
    Derived(#[from] weir_derived::DerivedError),
    #[error(transparent)]
    Warehouse(#[from] weir_warehouse::Error),
    #[error("list blobs: {0}")]
    List(#[from] object_store::Error),
    #[error("temporary file: {0}")]
    TemporaryFile(std::io::Error),
}

impl AppError {
    pub(crate) fn kind(&self) -> ErrorKind {
        match self {
            Self::Datasets { .. }
            | Self::Contracts(_)
            | Self::File { .. }
            | Self::Contract { .. }
            | Self::UnknownDataset { .. }
            | Self::NoLanding
            | Self::WrongSource { .. }
            | Self::Task { .. }
            | Self::Request { .. }
            | Self::BlobEvent { .. }
            | Self::Name { .. }
            | Self::TaskKey { .. }
            | Self::Unsigned { .. }
            | Self::Refused { .. }
            | Self::RefusedId { .. }
            | Self::ImpossibleSequence { .. }
            | Self::Overwritten { .. }
            | Self::NoHub
            | Self::SeveralNamespaces { .. }
            | Self::OtherNamespace { .. }
            | Self::ShortHub { .. }
            | Self::HubMadeAnew { .. }
            | Self::SameHub { .. }
            | Self::NothingToReplay { .. }
            | Self::NothingToVerify { .. }
            | Self::NoBlobs
            | Self::NotOthers { .. }
            | Self::PartitionId { .. }
            | Self::OtherKey { .. }
            | Self::Transform(_) => ErrorKind::Configuration,
            Self::Platform(error) => match error.kind() {
                weir_platform::ErrorKind::Configuration => ErrorKind::Configuration,
                weir_platform::ErrorKind::Retryable => ErrorKind::Retryable,
            },
            Self::Lake(error) => match error.kind() {
                weir_lake::ErrorKind::Retryable | weir_lake::ErrorKind::Conflict => ErrorKind::Retryable,
                weir_lake::ErrorKind::Unsupported | weir_lake::ErrorKind::Invalid | weir_lake::ErrorKind::Corrupt => {
                    ErrorKind::Configuration
                }
            },
            Self::Derived(error) if error.kind() == weir_derived::ErrorKind::Configuration => ErrorKind::Configuration,
            Self::Hub(error) if error.kind() != weir_intake::hub::HubErrorKind::Retryable => ErrorKind::Configuration,
            Self::Warehouse(error) if !error.is_retryable() => ErrorKind::Configuration,
            Self::Note { .. }
            | Self::NotWhole { .. }
            | Self::Moved { .. }
            | Self::Unfinished { .. }
            | Self::SeveralContracts { .. }
            | Self::ParkedFull { .. }
            | Self::Stopped
            | Self::Hub(_)
            | Self::Intake(_)
            | Self::Derived(_)
            | Self::Warehouse(_)
            | Self::List(_)
            | Self::TemporaryFile(_) => ErrorKind::Retryable,
        }
    }
}

/// Every error fails the invocation: the queue's `maxDequeueCount` and then its poison queue, or the Event Hub's
/// endless retry, keep the input until the cause is gone.
impl From<AppError> for HandlerError {
    fn from(error: AppError) -> Self {
        tracing::error!(kind = ?error.kind(), %error, "invocation failed");
        // The message only, not its causes: those of Polars may hold values.
        Self::new(error.to_string())
    }
}
