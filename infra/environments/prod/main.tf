# Zone-redundant storage, locks on data and keys, a warm instance for the blob path, logs kept a quarter.
module "weir" {
  source = "../.."

  environment          = "prod"
  location             = var.location
  name_suffix          = var.name_suffix
  event_hubs           = var.event_hubs
  blob_deletions       = var.blob_deletions
  alert_emails         = var.alert_emails
  on_call              = var.on_call
  monthly_budget       = var.monthly_budget
  app_settings         = var.app_settings
  storage_replication  = "ZRS"
  protect_data         = true
  instance_memory_mb   = 2048
  maximum_instances    = 100
  always_ready         = { "function:ingest_blob" = 1 }
  event_hub_partitions = 16
  event_hub_throughput = { minimum = 2, maximum = 10 }
  log_retention_days   = 90
}
