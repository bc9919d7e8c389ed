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
  default     = {}
}
