//! What every function needs and no dataset knows: settings, identity, stores, telemetry.
//!
//! - Only [`Settings::from_env`] reads the environment; everything else takes values.
//! - A secret never shows in `Debug`, in an error or in a log line.
//! - Credentials go to the configured account only: a store is opened by the configured root, never by an address that
//!   came with an event. Plain http reaches the storage emulator on this machine and nothing else.
//! - A blob's name becomes a store's path in one place, [`BlobName::key`].

mod azure;
mod blob_name;
mod container;
mod error;
mod folder;
mod identity;
mod listing;
mod private;
mod root;
mod settings;
mod stores;
pub mod telemetry;

pub use blob_name::{BadName, BlobName};
pub use container::Container;
pub use error::{ErrorKind, PlatformError};
pub use identity::{DatabaseIdentity, identity};
pub use listing::{Listed, Page, Unusable};
pub use private::create_folder;
pub use settings::{LogFormat, Secret, Settings};
pub use stores::{LakeRoot, Landing};

/// Installs the one crypto provider of the process. First thing in `main` and in every test binary: with both of
/// rustls' providers in the build, whoever asks for the default would panic.
pub fn install_crypto_provider() {
    // An error says that one is installed already.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
