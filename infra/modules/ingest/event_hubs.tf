# Events: one hub per stream. Retention is what a replay can reach back to.
resource "azurerm_eventhub_namespace" "weir" {
  name                          = var.namespace_name
  resource_group_name           = var.resource_group_name
  location                      = var.location
  tags                          = var.tags
  sku                           = "Standard"
  capacity                      = var.throughput.minimum
  auto_inflate_enabled          = var.throughput.maximum > var.throughput.minimum
  maximum_throughput_units      = var.throughput.maximum > var.throughput.minimum ? var.throughput.maximum : null
  local_authentication_enabled  = false
  minimum_tls_version           = "1.2"
  public_network_access_enabled = true
}

resource "azurerm_eventhub" "stream" {
  for_each = toset(var.event_hubs)

  name            = each.key
  namespace_id    = azurerm_eventhub_namespace.weir.id
  partition_count = var.partitions

  retention_description {
    cleanup_policy          = "Delete"
    retention_time_in_hours = 168
  }
}

# Never $Default: two readers in one group would steal each other's partitions.
resource "azurerm_eventhub_consumer_group" "reader" {
  for_each = azurerm_eventhub.stream

  name                = var.reader_group
  resource_group_name = var.resource_group_name
  namespace_name      = azurerm_eventhub_namespace.weir.name
  eventhub_name       = each.value.name
}

# In which Weir itself reads: to heal gaps and to replay. The host is the only reader in its own group.
resource "azurerm_eventhub_consumer_group" "replay" {
  for_each = azurerm_eventhub.stream

  name                = var.replay_group
  resource_group_name = var.resource_group_name
  namespace_name      = azurerm_eventhub_namespace.weir.name
  eventhub_name       = each.value.name
}
