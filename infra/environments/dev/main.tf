# Small and disposable: one zone, few instances, no lock.
module "weir" {
  source = "../.."

  environment          = "dev"
  location             = var.location
  name_suffix          = var.name_suffix
  alert_emails         = var.alert_emails
  storage_replication  = "LRS"
  protect_data         = false
  maximum_instances    = 10
  event_hub_partitions = 2
  event_hub_throughput = { minimum = 1, maximum = 1 }
}
