# Least privilege: the complete list of who may do what where. A new grant fails here until it is added on purpose.
mock_provider "time" {}
mock_provider "azurerm" {}
mock_provider "azapi" {}

override_resource {
  target = module.storage.azurerm_storage_account.host
  values = { id = "host" }
}
override_resource {
  target = module.storage.azurerm_storage_account.lake
  values = { id = "lake-account" }
}
override_resource {
  target = module.storage.azurerm_storage_account.package
  values = { id = "package-account" }
}
override_resource {
  target = module.storage.azurerm_storage_container.host["dead-letters"]
  values = { id = "host/dead-letters" }
}
override_resource {
  target = module.storage.azurerm_storage_container.lake["landing"]
  values = { id = "lake-account/landing" }
}
override_resource {
  target = module.storage.azurerm_storage_container.lake["lake"]
  values = { id = "lake-account/lake" }
}
override_resource {
  target = module.storage.azurerm_storage_queue.host["blob-events"]
  values = { id = "host/blob-events" }
}
override_resource {
  target = module.storage.azurerm_storage_queue.host["blob-events-poison"]
  values = { id = "host/blob-events-poison" }
}
override_resource {
  target = module.storage.azurerm_storage_queue.host["tasks"]
  values = { id = "host/tasks" }
}
override_resource {
  target = module.storage.azurerm_storage_queue.host["tasks-poison"]
  values = { id = "host/tasks-poison" }
}
override_resource {
  target = module.ingest.azurerm_eventhub.stream["clickstream"]
  values = { id = "hubs/clickstream" }
}
override_resource {
  target = module.ingest.azurerm_eventhub.stream["sensors"]
  values = { id = "hubs/sensors" }
}
override_resource {
  target = module.identity.azurerm_key_vault.weir
  values = { id = "vault" }
}
override_resource {
  target = module.observability.azurerm_application_insights.weir
  values = { id = "insights", connection_string = "InstrumentationKey=0" }
}

variables {
  environment  = "test"
  location     = "westeurope"
  name_suffix  = "abc"
  protect_data = false
}

run "allow_list" {
  assert {
    condition = toset([for grant in output.role_assignments : "${grant.who}: ${grant.role} on ${grant.scope}"]) == toset([
      "functions: Storage Blob Data Owner on host",
      "functions: Storage Table Data Contributor on host",
      "functions: Storage Queue Data Contributor on host/blob-events",
      "functions: Storage Queue Data Contributor on host/blob-events-poison",
      "functions: Storage Queue Data Contributor on host/tasks",
      "functions: Storage Queue Data Contributor on host/tasks-poison",
      "functions: Storage Blob Data Reader on lake-account/landing",
      "functions: Storage Blob Data Contributor on lake-account/lake",
      "functions: Azure Event Hubs Data Receiver on hubs/clickstream",
      "functions: Azure Event Hubs Data Receiver on hubs/sensors",
      "functions: Key Vault Secrets User on vault/secrets/pseudonym-key",
      "functions: Key Vault Secrets User on vault/secrets/task-key",
      "package: Storage Blob Data Reader on package-account",
      "functions: Monitoring Metrics Publisher on insights",
      "event_grid: Storage Queue Data Message Sender on host/blob-events",
      "event_grid: Storage Blob Data Contributor on host/dead-letters",
    ])
    error_message = "Grants differ from the allow-list:\n${join("\n", [for grant in output.role_assignments : "${grant.who}: ${grant.role} on ${grant.scope}"])}"
  }

  assert {
    condition     = alltrue([for grant in azurerm_role_assignment.functions : grant.principal_type == "ServicePrincipal"])
    error_message = "principal_type avoids the race with the directory's replication."
  }
}
