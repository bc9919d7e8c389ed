variable "location" {
  description = "Azure region."
  type        = string
  nullable    = false
  default     = "westeurope"
}

variable "name_suffix" {
  description = "3 to 8 lower-case letters or digits that make the global names yours."
  type        = string
  nullable    = false
}

variable "alert_emails" {
  description = "Who is told about alerts: name to address."
  type        = map(string)
  nullable    = false

  validation {
    condition     = length(var.alert_emails) > 0
    error_message = "alert_emails must name somebody: an alert that nobody gets is none."
  }
}

variable "on_call" {
  description = "Who is woken by severity 1: SMS numbers and webhooks (see ../../variables.tf)."
  type = object({
    sms      = optional(map(object({ country_code = string, phone_number = string })), {})
    webhooks = optional(map(string), {})
  })
  nullable = false
  default  = {}
}

variable "monthly_budget" {
  description = "Tells the team when this much is spent in a month: `amount`, and `since`, the first day of a month."
  type        = object({ amount = number, since = string })
  default     = null
}

variable "app_settings" {
  description = "Further settings of the app (docs/settings.md)."
  type        = map(string)
  nullable    = false
  default     = {}
}

# What contracts need; `weir package --terraform` writes them, `make deploy-…` passes them.
variable "event_hubs" {
  description = "Hubs that contracts read. Those of the shipped contracts by default."
  type        = set(string)
  default     = null
}

variable "blob_deletions" {
  description = "Announce deletions of blobs, too."
  type        = bool
  nullable    = false
  default     = false
}
