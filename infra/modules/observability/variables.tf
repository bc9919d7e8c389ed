variable "resource_group_name" {
  type     = string
  nullable = false
}

variable "location" {
  type     = string
  nullable = false
}

variable "tags" {
  type     = map(string)
  nullable = false
}

variable "log_analytics_name" {
  type     = string
  nullable = false
}

variable "app_insights_name" {
  type     = string
  nullable = false
}

variable "action_group_names" {
  type     = object({ on_call = string, team = string })
  nullable = false
}

variable "workbook_name" {
  description = "Shown in the portal."
  type        = string
  nullable    = false
}

variable "on_call" {
  description = "Who is woken by severity 1."
  type        = object({ sms = map(object({ country_code = string, phone_number = string })), webhooks = map(string) })
  nullable    = false
}

variable "log_daily_quota_gb" {
  type     = number
  nullable = false
}

variable "audit_reads" {
  description = "Log reads of the lake's blobs, too."
  type        = bool
  nullable    = false
}

variable "package_account_id" {
  type     = string
  nullable = false
}

variable "alert_prefix" {
  description = "First part of every alert's name."
  type        = string
  nullable    = false
}

variable "alert_emails" {
  description = "Receiver name to address."
  type        = map(string)
  nullable    = false
}

variable "log_retention_days" {
  type     = number
  nullable = false
}

variable "instance_memory_mb" {
  type     = number
  nullable = false
}

variable "queue_backlog_threshold" {
  type     = number
  nullable = false
}

variable "function_app_id" {
  type     = string
  nullable = false
}

variable "lake_account_id" {
  type     = string
  nullable = false
}

variable "host_account_id" {
  type     = string
  nullable = false
}

variable "event_hub_namespace_id" {
  type     = string
  nullable = false
}

variable "system_topic_id" {
  type     = string
  nullable = false
}

variable "key_vault_id" {
  type     = string
  nullable = false
}
