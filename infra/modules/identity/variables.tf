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

variable "tenant_id" {
  type     = string
  nullable = false
}

variable "identity_name" {
  type     = string
  nullable = false
}

variable "package_identity" {
  description = "Name of the identity that fetches the deployed package, and does nothing else."
  type        = string
  nullable    = false
}

variable "key_vault_name" {
  type     = string
  nullable = false
}

variable "protect_data" {
  type     = bool
  nullable = false
}
