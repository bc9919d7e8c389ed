//! Who the app is: its managed identity in Azure, the developer's `az login` elsewhere.

use std::sync::Arc;

use async_trait::async_trait;
use azure_core::credentials::TokenCredential;
use azure_identity::{
    DeveloperToolsCredential, ManagedIdentityCredential, ManagedIdentityCredentialOptions, UserAssignedId,
};
use object_store::CredentialProvider;
use object_store::azure::AzureCredential;

use crate::error::PlatformError;
use crate::settings::Settings;

const STORAGE_SCOPE: &str = "https://storage.azure.com/.default";

const DATABASE_SCOPE: &str = "https://database.windows.net/.default";

/// Tokens for Synapse and Fabric.
#[derive(Debug)]
pub struct DatabaseIdentity {
    credential: Arc<dyn TokenCredential>,
}

impl DatabaseIdentity {
    pub fn new(settings: &Settings) -> Result<Self, PlatformError> {
        Ok(Self { credential: identity(settings)? })
    }

    pub async fn token(&self) -> Result<String, PlatformError> {
        let token = self.credential.get_token(&[DATABASE_SCOPE], None).await;
        let failed = |error: azure_core::Error| PlatformError::Store { what: "identity", message: error.to_string() };
        Ok(token.map_err(failed)?.token.secret().to_owned())
    }
}

/// Tokens for storage, from azure_identity, which caches and renews them.
#[derive(Debug)]
pub(crate) struct StorageIdentity {
    credential: Arc<dyn TokenCredential>,
}

impl StorageIdentity {
    pub(crate) fn new(settings: &Settings) -> Result<Self, PlatformError> {
        Ok(Self { credential: identity(settings)? })
    }
}

/// Whom Azure sees: the managed identity where the platform hands out tokens, else whoever is signed in with `az` or
/// `azd`. It caches and renews its tokens.
pub fn identity(settings: &Settings) -> Result<Arc<dyn TokenCredential>, PlatformError> {
    let failed = |error: azure_core::Error| PlatformError::Store { what: "identity", message: error.to_string() };
    // azure_identity has no chain: where the platform hands out tokens the app is a managed identity.
    if settings.identity_endpoint.is_some() {
        let user_assigned_id = settings.client_id.clone().map(UserAssignedId::ClientId);
        let options = ManagedIdentityCredentialOptions { user_assigned_id, ..Default::default() };
        return Ok(ManagedIdentityCredential::new(Some(options)).map_err(failed)?);
    }
    Ok(DeveloperToolsCredential::new(None).map_err(failed)?)
}

#[async_trait]
impl CredentialProvider for StorageIdentity {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        let token = self.credential.get_token(&[STORAGE_SCOPE], None).await;
        let token = token.map_err(|source| object_store::Error::Generic { store: "azure", source: source.into() })?;
        Ok(Arc::new(AzureCredential::BearerToken(token.token.secret().to_owned())))
    }
}
