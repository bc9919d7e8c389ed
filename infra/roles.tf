# What the app may do: each role on the narrowest scope that works. tests/roles.tftest.hcl holds the allow-list.
locals {
  function_roles = merge(
    {
      # The host keeps leases, checkpoints, keys and diagnostics in its own account and makes those containers itself.
      host_blobs  = { role = "Storage Blob Data Owner", scope = module.storage.host_account.id }
      host_tables = { role = "Storage Table Data Contributor", scope = module.storage.host_account.id }

      landing = { role = "Storage Blob Data Reader", scope = module.storage.container_ids[local.landing_container] }
      lake    = { role = "Storage Blob Data Contributor", scope = module.storage.container_ids[local.lake_container] }

      telemetry = { role = "Monitoring Metrics Publisher", scope = module.observability.app_insights.id }
    },
    # Reader + Message Processor, as the documentation has it, is not enough: the host releases a failed message by
    # Update Message, which neither holds (MicrosoftDocs/azure-docs#120932). Contributor, but per queue.
    { for queue in local.queues : "queue_${queue}" => {
      role = "Storage Queue Data Contributor", scope = module.storage.queue_ids[queue]
    } },
    # Two secrets, and none that somebody else puts into the vault.
    { for secret in [local.pseudonym_secret, local.task_secret] : "secret_${secret}" => {
      role = "Key Vault Secrets User", scope = "${module.identity.key_vault.id}/secrets/${secret}"
    } },
    { for hub in local.hubs : "hub_${hub}" => {
      role = "Azure Event Hubs Data Receiver", scope = module.ingest.event_hub_ids[hub]
    } },
  )
}

resource "azurerm_role_assignment" "functions" {
  for_each = local.function_roles

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = module.identity.functions.principal_id
  principal_type       = "ServicePrincipal"
}

resource "azurerm_role_assignment" "package" {
  scope                = module.storage.package_account.id
  role_definition_name = "Storage Blob Data Reader"
  principal_id         = module.identity.package.principal_id
  principal_type       = "ServicePrincipal"
}
