variable "environment" {
  description = "Short name of the environment; part of every resource name."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{3,4}$", var.environment))
    error_message = "environment must be 3 or 4 lower-case letters: storage account names leave no room for more."
  }
}

variable "location" {
  description = "Azure region, one that offers Flex Consumption (`az functionapp list-flexconsumption-locations`)."
  type        = string
  nullable    = false
}

variable "name_suffix" {
  description = "Makes the globally unique names (storage, vault, Event Hubs, app) yours."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]{3,8}$", var.name_suffix))
    error_message = "name_suffix must be 3 to 8 lower-case letters or digits."
  }
}

variable "tags" {
  description = "Tags added to every resource, besides `app` and `environment`."
  type        = map(string)
  nullable    = false
  default     = {}
}

variable "storage_replication" {
  description = "Replication of both storage accounts."
  type        = string
  nullable    = false
  default     = "ZRS"

  validation {
    condition     = contains(["LRS", "ZRS", "GRS", "GZRS"], var.storage_replication)
    error_message = "storage_replication must be LRS, ZRS, GRS or GZRS."
  }
}

variable "soft_delete_days" {
  description = "Days a deleted blob can be brought back. Erasure of personal data is complete only after them."
  type        = number
  nullable    = false
  default     = 7

  validation {
    condition     = var.soft_delete_days >= 1 && var.soft_delete_days <= 30
    error_message = "soft_delete_days must be 1 to 30: an erasure request must be done within a month."
  }
}

variable "protect_data" {
  description = "Put a CanNotDelete lock on the lake account and the key vault."
  type        = bool
  nullable    = false
}

variable "instance_memory_mb" {
  description = "Memory of one Flex Consumption instance. Weir may hold half of it in flight (WEIR_MEMORY_BUDGET_MB)."
  type        = number
  nullable    = false
  default     = 2048

  validation {
    condition     = contains([512, 2048, 4096], var.instance_memory_mb)
    error_message = "instance_memory_mb must be 512, 2048 or 4096."
  }
}

variable "maximum_instances" {
  description = "Upper bound of instances, and so of the bill."
  type        = number
  nullable    = false
  default     = 40

  validation {
    condition     = var.maximum_instances >= 40 && var.maximum_instances <= 1000
    error_message = "maximum_instances must be 40 to 1000: the plan knows no lower bound."
  }
}

variable "always_ready" {
  description = "Instances kept warm per scale group: `http` or `function:<name>` to a count."
  type        = map(number)
  nullable    = false
  default     = {}

  validation {
    condition     = alltrue([for group in keys(var.always_ready) : can(regex("^(http|blob|durable|function:[a-z_]+)$", group))])
    error_message = "always_ready keys must be http, blob, durable or function:<name>."
  }
}

variable "event_hubs" {
  description = "Hubs that contracts read; `weir package --terraform` writes them. Those of the shipped contracts by default."
  type        = set(string)
  default     = null
}

variable "blob_deletions" {
  description = "Announce deletions of blobs, too: for contracts with `on_delete = \"remove\"`; `weir package --terraform` writes it."
  type        = bool
  nullable    = false
  default     = false
}

variable "event_hub_partitions" {
  description = "Partitions of each hub: the number of instances that can read it at once. Cannot be changed later."
  type        = number
  nullable    = false
  default     = 4

  validation {
    condition     = var.event_hub_partitions >= 1 && var.event_hub_partitions <= 32
    error_message = "event_hub_partitions must be 1 to 32 (Standard tier)."
  }
}

variable "event_hub_throughput" {
  description = "Throughput units: `minimum` always paid, inflated up to `maximum` under load."
  type        = object({ minimum = number, maximum = number })
  nullable    = false
  default     = { minimum = 1, maximum = 4 }

  validation {
    condition = (var.event_hub_throughput.minimum >= 1 && var.event_hub_throughput.maximum <= 40
    && var.event_hub_throughput.minimum <= var.event_hub_throughput.maximum)
    error_message = "event_hub_throughput needs 1 <= minimum <= maximum <= 40."
  }
}

variable "log_retention_days" {
  description = "Retention of the Log Analytics workspace."
  type        = number
  nullable    = false
  default     = 30

  validation {
    condition     = var.log_retention_days >= 30 && var.log_retention_days <= 730
    error_message = "log_retention_days must be 30 to 730."
  }
}

variable "queue_backlog_threshold" {
  description = "Messages waiting in all queues, on average over an hour, that raise an alert."
  type        = number
  nullable    = false
  default     = 10000
}

variable "alert_emails" {
  description = "Who is told about alerts by e-mail: name to address. Without any, alerts still show in the portal."
  type        = map(string)
  nullable    = false
  default     = {}
}

variable "on_call" {
  description = "Who is woken by severity 1, beside the e-mails: name to a phone number for SMS, and name to the https URL of a webhook (PagerDuty, Opsgenie). An SMS costs about 0.06 USD."
  type = object({
    sms      = optional(map(object({ country_code = string, phone_number = string })), {})
    webhooks = optional(map(string), {})
  })
  nullable = false
  default  = {}

  validation {
    condition     = alltrue([for url in values(var.on_call.webhooks) : startswith(url, "https://")])
    error_message = "on_call.webhooks must be https URLs."
  }
}

variable "log_daily_quota_gb" {
  description = "Gigabytes of logs a day, after which Log Analytics takes no more until the next day: a bound on the bill. -1 is none. A gigabyte costs about 2.30 to 3 USD."
  type        = number
  nullable    = false
  default     = 5
}

variable "audit_reads" {
  description = "Log each read of a blob of the lake, too, not only writes and deletions. For small blobs these logs cost 3 to 4 times everything else."
  type        = bool
  nullable    = false
  default     = false
}

variable "monthly_budget" {
  description = "Tells the team when this much is spent in a month (80 %), or will be. `since` is the first day of a month, as 2026-12-01T00:00:00Z."
  type        = object({ amount = number, since = string })
  default     = null

  validation {
    condition     = var.monthly_budget == null || can(regex("^[0-9]{4}-[0-9]{2}-01T00:00:00Z$", var.monthly_budget.since))
    error_message = "monthly_budget.since must be the first of a month, as 2026-12-01T00:00:00Z."
  }
}

variable "app_settings" {
  description = "Further settings of the app (docs/settings.md), such as WEIR_WAREHOUSE_URL. They may not replace those that this module makes."
  type        = map(string)
  nullable    = false
  default     = {}
}
