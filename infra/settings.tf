# What the process finds in its environment. An unknown WEIR_ key stops the app at start, so this is the whole list.
# There is no AzureWebJobsStorage connection string: the host would prefer it to the identity.
locals {
  managed_identity = {
    credential = "managedidentity"
    clientId   = module.identity.functions.client_id
  }

  # Connections as function.json names them: `<name>__<property>`.
  connections = {
    AzureWebJobsStorage = merge(local.managed_identity, { accountName = module.storage.host_account.name })
    BlobEvents          = merge(local.managed_identity, { queueServiceUri = module.storage.host_account.queue_endpoint })
    EventHub            = merge(local.managed_identity, { fullyQualifiedNamespace = module.ingest.namespace.host })
  }

  app_settings = merge(
    var.app_settings,
    merge([for name, properties in local.connections : { for key, value in properties : "${name}__${key}" => value }]...),
    {
      AZURE_CLIENT_ID                           = module.identity.functions.client_id
      APPLICATIONINSIGHTS_CONNECTION_STRING     = module.observability.app_insights.connection_string
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "ClientId=${module.identity.functions.client_id};Authorization=AAD"

      WEIR_LAKE_URL         = "abfss://${local.lake_container}@${local.names.lake_account}.dfs.core.windows.net/tables"
      WEIR_LANDING_URL      = "https://${local.names.lake_account}.blob.core.windows.net/"
      WEIR_REPLAY_GROUP     = local.event_hub_replay_group
      WEIR_MEMORY_BUDGET_MB = tostring(var.instance_memory_mb / 2)
      # No version in the reference: a rotated key arrives within a day, or at the next restart.
      WEIR_TASK_KEY      = "@Microsoft.KeyVault(SecretUri=${module.identity.key_vault.uri}secrets/${local.task_secret})"
      WEIR_PSEUDONYM_KEY = "@Microsoft.KeyVault(SecretUri=${module.identity.key_vault.uri}secrets/${local.pseudonym_secret})"
    },
  )
}
