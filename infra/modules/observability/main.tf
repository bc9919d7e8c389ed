# Where logs and metrics go. Ingestion takes Entra tokens only.
resource "azurerm_log_analytics_workspace" "weir" {
  name                         = var.log_analytics_name
  resource_group_name          = var.resource_group_name
  location                     = var.location
  tags                         = var.tags
  sku                          = "PerGB2018"
  retention_in_days            = var.log_retention_days
  local_authentication_enabled = false
  daily_quota_gb               = var.log_daily_quota_gb
}

resource "azurerm_application_insights" "weir" {
  name                         = var.app_insights_name
  resource_group_name          = var.resource_group_name
  location                     = var.location
  tags                         = var.tags
  workspace_id                 = azurerm_log_analytics_workspace.weir.id
  application_type             = "other"
  local_authentication_enabled = false
}

# The audit trail of everything that holds data or keys. What a blob costs to log is more than what it costs to store, so
# reads of the lake are logged only where somebody asks for them, and the host's own queue traffic never.
locals {
  audited = {
    key_vault      = { target = var.key_vault_id, categories = ["AuditEvent"] }
    lake_blobs     = { target = "${var.lake_account_id}/blobServices/default", categories = concat(["StorageWrite", "StorageDelete"], var.audit_reads ? ["StorageRead"] : []) }
    package_blobs  = { target = "${var.package_account_id}/blobServices/default", categories = ["StorageRead", "StorageWrite", "StorageDelete"] }
    event_hubs     = { target = var.event_hub_namespace_id, categories = ["RuntimeAuditLogs", "OperationalLogs"] }
    event_delivery = { target = var.system_topic_id, categories = ["DeliveryFailures"] }
    function_app   = { target = var.function_app_id, categories = ["FunctionAppLogs"] }
  }
}

resource "azurerm_monitor_diagnostic_setting" "audit" {
  for_each = local.audited

  name                           = "weir-${each.key}"
  target_resource_id             = each.value.target
  log_analytics_workspace_id     = azurerm_log_analytics_workspace.weir.id
  log_analytics_destination_type = "Dedicated"

  dynamic "enabled_log" {
    for_each = each.value.categories

    content {
      category = enabled_log.value
    }
  }
}

# Read seldom, written often: the plan that costs a quarter.
resource "azurerm_log_analytics_workspace_table" "audit" {
  for_each = toset(["StorageBlobLogs", "FunctionAppLogs"])

  workspace_id            = azurerm_log_analytics_workspace.weir.id
  name                    = each.key
  plan                    = "Basic"
  total_retention_in_days = max(var.log_retention_days, 90)

  depends_on = [azurerm_monitor_diagnostic_setting.audit]
}
