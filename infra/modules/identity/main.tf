# Who the app is, and the vault that keeps the one secret it needs.
resource "azurerm_user_assigned_identity" "functions" {
  name                = var.identity_name
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

# The platform fetches the code under this one. The app's own identity cannot reach it, so a handler that was taken over
# cannot replace what is started next.
resource "azurerm_user_assigned_identity" "package" {
  name                = var.package_identity
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
}

# Terraform never sees a secret's value: README.md says how the key gets here.
resource "azurerm_key_vault" "weir" {
  name                          = var.key_vault_name
  resource_group_name           = var.resource_group_name
  location                      = var.location
  tags                          = var.tags
  tenant_id                     = var.tenant_id
  sku_name                      = "standard"
  rbac_authorization_enabled    = true
  purge_protection_enabled      = true
  soft_delete_retention_days    = 90
  public_network_access_enabled = true
}

resource "azurerm_management_lock" "key_vault" {
  count = var.protect_data ? 1 : 0

  name       = "keep-pseudonym-key"
  scope      = azurerm_key_vault.weir.id
  lock_level = "CanNotDelete"
  notes      = "Without its key, pseudonyms already in the lake can never be matched again."
}
