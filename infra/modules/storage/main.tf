# Three accounts, because they have different owners: the Functions host writes what it likes into `host`; `lake` holds
# only data; `package` holds the code, which the app itself cannot reach. All take Entra tokens only.
resource "azurerm_storage_account" "host" {
  name                              = var.host_account_name
  resource_group_name               = var.resource_group_name
  location                          = var.location
  tags                              = var.tags
  account_kind                      = "StorageV2"
  account_tier                      = "Standard"
  account_replication_type          = var.replication
  shared_access_key_enabled         = false
  default_to_oauth_authentication   = true
  allow_nested_items_to_be_public   = false
  cross_tenant_replication_enabled  = false
  infrastructure_encryption_enabled = true
  local_user_enabled                = false
  min_tls_version                   = "TLS1_2"

  blob_properties {
    delete_retention_policy {
      days = var.soft_delete_days
    }
    container_delete_retention_policy {
      days = var.soft_delete_days
    }
  }

  sas_policy {
    expiration_period = "00.01:00:00"
    expiration_action = "Block"
  }
}

resource "azurerm_storage_account" "package" {
  name                              = var.package_account
  resource_group_name               = var.resource_group_name
  location                          = var.location
  tags                              = var.tags
  account_kind                      = "StorageV2"
  account_tier                      = "Standard"
  account_replication_type          = var.replication
  shared_access_key_enabled         = false
  default_to_oauth_authentication   = true
  allow_nested_items_to_be_public   = false
  cross_tenant_replication_enabled  = false
  infrastructure_encryption_enabled = true
  local_user_enabled                = false
  min_tls_version                   = "TLS1_2"

  blob_properties {
    delete_retention_policy {
      days = var.soft_delete_days
    }
    container_delete_retention_policy {
      days = var.soft_delete_days
    }
  }

  sas_policy {
    expiration_period = "00.01:00:00"
    expiration_action = "Block"
  }
}

resource "azurerm_storage_account" "lake" {
  name                              = var.lake_account_name
  resource_group_name               = var.resource_group_name
  location                          = var.location
  tags                              = var.tags
  account_kind                      = "StorageV2"
  account_tier                      = "Standard"
  account_replication_type          = var.replication
  is_hns_enabled                    = true
  shared_access_key_enabled         = false
  default_to_oauth_authentication   = true
  allow_nested_items_to_be_public   = false
  cross_tenant_replication_enabled  = false
  infrastructure_encryption_enabled = true
  local_user_enabled                = false
  min_tls_version                   = "TLS1_2"

  blob_properties {
    delete_retention_policy {
      days = var.soft_delete_days
    }
    container_delete_retention_policy {
      days = var.soft_delete_days
    }
  }

  sas_policy {
    expiration_period = "00.01:00:00"
    expiration_action = "Block"
  }
}

resource "azurerm_storage_container" "host" {
  for_each = toset(var.host_containers)

  name                  = each.key
  storage_account_id    = azurerm_storage_account.host.id
  container_access_type = "private"
}

resource "azurerm_storage_container" "package" {
  name                  = var.package_container
  storage_account_id    = azurerm_storage_account.package.id
  container_access_type = "private"
}

resource "azurerm_storage_container" "lake" {
  for_each = toset(var.lake_containers)

  name                  = each.key
  storage_account_id    = azurerm_storage_account.lake.id
  container_access_type = "private"
}

resource "azurerm_storage_queue" "host" {
  for_each = toset(var.queues)

  name               = each.key
  storage_account_id = azurerm_storage_account.host.id
}

# Only what Event Grid gave up on expires. The lake account has no lifecycle policy at all: a delete or archive rule
# that reached a Delta prefix would destroy the table, and landing is what `reprocess` reads.
resource "azurerm_storage_management_policy" "host" {
  storage_account_id = azurerm_storage_account.host.id

  rule {
    name    = "expire-dead-letters"
    enabled = true

    filters {
      blob_types   = ["blockBlob", "appendBlob"]
      prefix_match = ["${var.expiring_container}/"]
    }

    actions {
      base_blob {
        delete_after_days_since_modification_greater_than = 30
      }
    }
  }
}

resource "azurerm_management_lock" "lake" {
  count = var.protect_data ? 1 : 0

  name       = "keep-lake"
  scope      = azurerm_storage_account.lake.id
  lock_level = "CanNotDelete"
  notes      = "The account holds the tables. Remove the lock on purpose before removing the account."
}
