# Storage: three accounts that take Entra tokens only, and nothing that deletes from the lake.
mock_provider "azurerm" {}

variables {
  resource_group_name = "rg"
  location            = "westeurope"
  tags                = {}
  host_account_name   = "hostaccount"
  package_account     = "stpackage"
  package_container   = "packages"
  lake_account_name   = "lakeaccount"
  host_containers     = ["dead-letters"]
  lake_containers     = ["landing", "lake"]
  queues              = ["blob-events", "blob-events-poison", "tasks", "tasks-poison"]
  expiring_container  = "dead-letters"
  replication         = "ZRS"
  soft_delete_days    = 7
  protect_data        = true
}

run "accounts" {
  module {
    source = "./modules/storage"
  }

  assert {
    condition = alltrue([for account in [azurerm_storage_account.host, azurerm_storage_account.lake, azurerm_storage_account.package] :
      alltrue([
        !account.shared_access_key_enabled, !account.local_user_enabled, !account.allow_nested_items_to_be_public,
        account.default_to_oauth_authentication, account.min_tls_version == "TLS1_2",
      ])
    ])
    error_message = "All accounts must refuse shared keys, local users and anonymous reads."
  }

  assert {
    condition     = azurerm_storage_account.lake.is_hns_enabled && azurerm_storage_account.host.is_hns_enabled != true
    error_message = "Only the lake has a hierarchical namespace: the Functions host does not support one."
  }

  assert {
    condition = alltrue([for container in merge(azurerm_storage_container.host, azurerm_storage_container.lake) :
      container.container_access_type == "private"
    ])
    error_message = "Containers must be private."
  }

  assert {
    condition     = keys(output.queue_ids) == ["blob-events", "blob-events-poison", "tasks", "tasks-poison"]
    error_message = "Every queue and its poison queue must exist beforehand."
  }

  assert {
    condition     = azurerm_storage_management_policy.host.storage_account_id == azurerm_storage_account.host.id
    error_message = "A lifecycle rule on the lake account would delete the tables' files."
  }

  assert {
    condition     = toset(flatten(azurerm_storage_management_policy.host.rule[*].filters[*].prefix_match)) == toset(["dead-letters/"])
    error_message = "Only dead letters may expire: the host's own blobs hold its checkpoints."
  }

  assert {
    condition     = azurerm_management_lock.lake[0].scope == azurerm_storage_account.lake.id
    error_message = "protect_data must lock the lake account."
  }
}

run "unprotected" {
  module {
    source = "./modules/storage"
  }

  variables {
    protect_data = false
  }

  assert {
    condition     = length(azurerm_management_lock.lake) == 0
    error_message = "Without protect_data the environment must be disposable."
  }
}
