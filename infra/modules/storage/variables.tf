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

variable "package_account" {
  type     = string
  nullable = false
}

variable "package_container" {
  type     = string
  nullable = false
}

variable "host_account_name" {
  type     = string
  nullable = false
}

variable "lake_account_name" {
  type     = string
  nullable = false
}

variable "host_containers" {
  description = "Containers of the host account."
  type        = list(string)
  nullable    = false
}

variable "lake_containers" {
  description = "Containers of the lake account."
  type        = list(string)
  nullable    = false
}

variable "queues" {
  description = "Queues of the host account. All exist beforehand, so that nothing depends on the host creating them."
  type        = list(string)
  nullable    = false
}

variable "expiring_container" {
  description = "The one container of the host account whose blobs are deleted after 30 days."
  type        = string
  nullable    = false
}

variable "replication" {
  type     = string
  nullable = false
}

variable "soft_delete_days" {
  type     = number
  nullable = false
}

variable "protect_data" {
  type     = bool
  nullable = false
}
