# Small and disposable: one zone, few instances, no lock.
module "weir" {
  source = "../.."

  environment          = "dev"
  location             = var.location
  name_suffix          = var.name_suffix
  event_hubs           = var.event_hubs
  blob_deletions       = var.blob_deletions
  alert_emails         = var.alert_emails
  on_call              = var.on_call
  monthly_budget       = var.monthly_budget
  app_settings         = var.app_settings
  storage_replication  = "LRS"
  protect_data         = false
  maximum_instances    = 40 # the plan knows no lower bound
  event_hub_partitions = 2
  event_hub_throughput = { minimum = 1, maximum = 1 }
}
