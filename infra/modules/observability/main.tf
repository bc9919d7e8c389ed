# Where logs and metrics go. Ingestion takes Entra tokens only.
resource "azurerm_log_analytics_workspace" "weir" {
  name                         = var.log_analytics_name
  resource_group_name          = var.resource_group_name
  location                     = var.location
  tags                         = var.tags
  sku                          = "PerGB2018"
  retention_in_days            = var.log_retention_days
  local_authentication_enabled = false
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

# The audit trail of everything that holds data or keys.
resource "azurerm_monitor_diagnostic_setting" "audit" {
  for_each = {
    key_vault  = { target = var.key_vault_id, logs = "audit" }
    lake_blobs = { target = "${var.lake_account_id}/blobServices/default", logs = "audit" }
    queues     = { target = "${var.host_account_id}/queueServices/default", logs = "audit" }
    event_hubs = { target = var.event_hub_namespace_id, logs = "allLogs" }
  }

  name                       = "weir-${each.key}"
  target_resource_id         = each.value.target
  log_analytics_workspace_id = azurerm_log_analytics_workspace.weir.id

  enabled_log {
    category_group = each.value.logs
  }
}
