output "app_id" {
  description = "Resource id of the function app."
  value       = azapi_resource.app.id
}

output "site" {
  description = "The site's properties as sent to Azure."
  value       = azapi_resource.app.body.properties
}
