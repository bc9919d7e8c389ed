# Weir on Azure: one module, instantiated once per environment under environments/.
data "azurerm_client_config" "current" {}

resource "azurerm_resource_group" "weir" {
  name     = local.names.resource_group
  location = var.location
  tags     = local.tags
}

module "identity" {
  source = "./modules/identity"

  resource_group_name = azurerm_resource_group.weir.name
  location            = azurerm_resource_group.weir.location
  tags                = local.tags
  tenant_id           = data.azurerm_client_config.current.tenant_id
  identity_name       = local.names.identity
  package_identity    = local.names.package_identity
  key_vault_name      = local.names.key_vault
  protect_data        = var.protect_data
}

module "storage" {
  source = "./modules/storage"

  resource_group_name = azurerm_resource_group.weir.name
  location            = azurerm_resource_group.weir.location
  tags                = local.tags
  host_account_name   = local.names.host_account
  lake_account_name   = local.names.lake_account
  package_account     = local.names.package_account
  package_container   = local.package_container
  host_containers     = [local.dead_letter_container]
  lake_containers     = [local.landing_container, local.lake_container]
  queues              = local.queues
  expiring_container  = local.dead_letter_container
  replication         = var.storage_replication
  soft_delete_days    = var.soft_delete_days
  protect_data        = var.protect_data
}

module "ingest" {
  source = "./modules/ingest"

  resource_group_name   = azurerm_resource_group.weir.name
  location              = azurerm_resource_group.weir.location
  tags                  = local.tags
  system_topic_name     = local.names.system_topic
  lake_account_id       = module.storage.lake_account.id
  landing_container     = local.landing_container
  host_account_id       = module.storage.host_account.id
  blob_event_queue      = { name = local.blob_event_queue, id = module.storage.queue_ids[local.blob_event_queue] }
  dead_letter_container = { name = local.dead_letter_container, id = module.storage.container_ids[local.dead_letter_container] }
  namespace_name        = local.names.event_hub_namespace
  event_hubs            = local.hubs
  blob_deletions        = var.blob_deletions
  reader_group          = local.event_hub_reader_group
  replay_group          = local.event_hub_replay_group
  partitions            = var.event_hub_partitions
  throughput            = var.event_hub_throughput
}

module "functions" {
  source = "./modules/functions"

  resource_group_id   = azurerm_resource_group.weir.id
  resource_group_name = azurerm_resource_group.weir.name
  location            = azurerm_resource_group.weir.location
  tags                = local.tags
  plan_name           = local.names.plan
  app_name            = local.names.function_app
  identity_id         = module.identity.functions.id
  package_identity_id = module.identity.package.id
  package_url         = "${module.storage.package_account.blob_endpoint}${local.package_container}"
  app_settings        = local.app_settings
  instance_memory_mb  = var.instance_memory_mb
  maximum_instances   = var.maximum_instances
  always_ready        = var.always_ready

  # The host reads its storage, the package and the vault the moment it starts.
  depends_on = [azurerm_role_assignment.functions, azurerm_role_assignment.package]
}

module "observability" {
  source = "./modules/observability"

  resource_group_name     = azurerm_resource_group.weir.name
  location                = azurerm_resource_group.weir.location
  tags                    = local.tags
  log_analytics_name      = local.names.log_analytics
  app_insights_name       = local.names.app_insights
  action_group_names      = local.names.action_groups
  workbook_name           = local.names.workbook
  alert_prefix            = local.name
  alert_emails            = var.alert_emails
  on_call                 = var.on_call
  log_retention_days      = var.log_retention_days
  log_daily_quota_gb      = var.log_daily_quota_gb
  audit_reads             = var.audit_reads
  instance_memory_mb      = var.instance_memory_mb
  queue_backlog_threshold = var.queue_backlog_threshold
  function_app_id         = module.functions.app_id
  lake_account_id         = module.storage.lake_account.id
  host_account_id         = module.storage.host_account.id
  package_account_id      = module.storage.package_account.id
  event_hub_namespace_id  = module.ingest.namespace.id
  system_topic_id         = module.ingest.system_topic_id
  key_vault_id            = module.identity.key_vault.id
}

# A budget stops nothing: it tells. The amount is of the subscription's currency.
resource "azurerm_consumption_budget_resource_group" "weir" {
  count = var.monthly_budget == null ? 0 : 1

  name              = local.names.budget
  resource_group_id = azurerm_resource_group.weir.id
  amount            = var.monthly_budget.amount
  time_grain        = "Monthly"

  time_period {
    start_date = var.monthly_budget.since
  }

  dynamic "notification" {
    for_each = { Actual = 80, Forecasted = 100 }

    content {
      operator       = "GreaterThan"
      threshold      = notification.value
      threshold_type = notification.key
      contact_groups = [module.observability.action_group_ids.team]
    }
  }
}
