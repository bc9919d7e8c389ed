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

variable "action_group_name" {
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
