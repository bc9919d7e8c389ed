output "functions" {
  description = "The identity the function app runs under."
  value = {
    id           = azurerm_user_assigned_identity.functions.id
    client_id    = azurerm_user_assigned_identity.functions.client_id
    principal_id = azurerm_user_assigned_identity.functions.principal_id
  }
}

output "package" {
  description = "The identity that fetches the deployed package."
  value = {
    id           = azurerm_user_assigned_identity.package.id
    principal_id = azurerm_user_assigned_identity.package.principal_id
  }
}

output "key_vault" {
  description = "The vault; `uri` ends in a slash."
  value = {
    id  = azurerm_key_vault.weir.id
    uri = azurerm_key_vault.weir.vault_uri
  }
}
