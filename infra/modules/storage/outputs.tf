output "host_account" {
  description = "Host storage; endpoints end in a slash."
  value = {
    id             = azurerm_storage_account.host.id
    name           = azurerm_storage_account.host.name
    blob_endpoint  = "https://${azurerm_storage_account.host.name}.blob.core.windows.net/"
    queue_endpoint = "https://${azurerm_storage_account.host.name}.queue.core.windows.net/"
  }
}

output "package_account" {
  description = "The account of the deployed package; the endpoint ends in a slash."
  value = {
    id            = azurerm_storage_account.package.id
    blob_endpoint = "https://${azurerm_storage_account.package.name}.blob.core.windows.net/"
  }
}

output "lake_account" {
  description = "The account of landing and lake."
  value = {
    id   = azurerm_storage_account.lake.id
    name = azurerm_storage_account.lake.name
  }
}

output "container_ids" {
  description = "Container name to resource id, over both accounts."
  value = {
    for name, container in merge(azurerm_storage_container.host, azurerm_storage_container.lake) : name => container.id
  }
}

output "queue_ids" {
  description = "Queue name to resource id."
  value       = { for name, queue in azurerm_storage_queue.host : name => queue.id }
}
