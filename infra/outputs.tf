output "resource_group_name" {
  description = "Where everything stands."
  value       = azurerm_resource_group.weir.name
}

output "function_app_name" {
  description = "Target of the deployment."
  value       = local.names.function_app
}

output "key_vault_name" {
  description = "Where the pseudonym key belongs, as the secret `pseudonym-key`."
  value       = local.names.key_vault
}

output "lake_account_name" {
  description = "The account of the landing and lake containers."
  value       = local.names.lake_account
}

output "package_account_name" {
  description = "Account of the deployed package."
  value       = local.names.package_account
}

output "event_hub_namespace" {
  description = "Host name producers send to."
  value       = module.ingest.namespace.host
}

output "app_settings" {
  description = "The app settings, none of them secret: the vault reference is a reference."
  value       = local.app_settings
}

output "role_assignments" {
  description = "Every role this module grants, as `who`, `role` and `scope`."
  value = concat(
    [for grant in azurerm_role_assignment.functions : {
      who = "functions", role = grant.role_definition_name, scope = grant.scope
    }],
    [{
      who   = "package", role = azurerm_role_assignment.package.role_definition_name,
      scope = azurerm_role_assignment.package.scope
    }],
    module.ingest.role_assignments,
  )
}
