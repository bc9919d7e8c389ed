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

variable "system_topic_name" {
  type     = string
  nullable = false
}

variable "lake_account_id" {
  description = "Source of the blob events."
  type        = string
  nullable    = false
}

variable "landing_container" {
  description = "The container of that account whose blobs are ingested."
  type        = string
  nullable    = false
}

variable "host_account_id" {
  description = "The account of the queue and of the dead letters."
  type        = string
  nullable    = false
}

variable "blob_event_queue" {
  type     = object({ name = string, id = string })
  nullable = false
}

variable "dead_letter_container" {
  type     = object({ name = string, id = string })
  nullable = false
}

variable "namespace_name" {
  type     = string
  nullable = false
}

variable "blob_deletions" {
  description = "Announce deletions of blobs, too."
  type        = bool
  nullable    = false
}

variable "event_hubs" {
  type     = list(string)
  nullable = false
}

variable "reader_group" {
  description = "Weir's consumer group on every hub."
  type        = string
  nullable    = false
}

variable "replay_group" {
  description = "The consumer group on every hub in which Weir itself reads."
  type        = string
  nullable    = false
}

variable "partitions" {
  type     = number
  nullable = false
}

variable "throughput" {
  type     = object({ minimum = number, maximum = number })
  nullable = false
}
