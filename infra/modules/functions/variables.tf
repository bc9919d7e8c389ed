variable "resource_group_id" {
  type     = string
  nullable = false
}

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

variable "plan_name" {
  type     = string
  nullable = false
}

variable "app_name" {
  type     = string
  nullable = false
}

variable "identity_id" {
  description = "The user-assigned identity of the app and of its vault references."
  type        = string
  nullable    = false
}

variable "package_identity_id" {
  description = "The user-assigned identity that fetches the package."
  type        = string
  nullable    = false
}

variable "package_url" {
  description = "URL of the container the deployed package is kept in."
  type        = string
  nullable    = false
}

variable "app_settings" {
  description = "Environment of the process."
  type        = map(string)
  nullable    = false

  validation {
    condition     = !contains(keys(var.app_settings), "AzureWebJobsStorage")
    error_message = "AzureWebJobsStorage as a connection string would take precedence over the identity: use AzureWebJobsStorage__accountName."
  }

  # Flex Consumption refuses them: the runtime is part of functionAppConfig.
  validation {
    condition = length(setintersection(keys(var.app_settings), [
      "FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_EXTENSION_VERSION", "WEBSITE_RUN_FROM_PACKAGE",
    ])) == 0
    error_message = "FUNCTIONS_WORKER_RUNTIME, FUNCTIONS_EXTENSION_VERSION and WEBSITE_RUN_FROM_PACKAGE do not exist on Flex Consumption."
  }
}

variable "instance_memory_mb" {
  type     = number
  nullable = false
}

variable "maximum_instances" {
  type     = number
  nullable = false
}

variable "always_ready" {
  type     = map(number)
  nullable = false
}
