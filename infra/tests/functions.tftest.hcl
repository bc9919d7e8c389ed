# The function app: what it runs, and that nothing in it is a shared secret.
mock_provider "time" {}
mock_provider "azurerm" {
  mock_resource "azurerm_key_vault" {
    defaults = { vault_uri = "https://kv-weir-test-abc.vault.azure.net/" }
  }
  mock_resource "azurerm_user_assigned_identity" {
    defaults = { id = "identity", client_id = "client", principal_id = "principal" }
  }
  mock_resource "azurerm_application_insights" {
    defaults = { connection_string = "InstrumentationKey=00000000-0000-0000-0000-000000000000" }
  }
}
mock_provider "azapi" {}

variables {
  environment  = "test"
  location     = "westeurope"
  name_suffix  = "abc"
  protect_data = false
}

run "settings" {
  assert {
    condition = jsonencode(output.app_settings) == jsonencode({
      APPLICATIONINSIGHTS_AUTHENTICATION_STRING = "ClientId=client;Authorization=AAD"
      APPLICATIONINSIGHTS_CONNECTION_STRING     = "InstrumentationKey=00000000-0000-0000-0000-000000000000"
      AZURE_CLIENT_ID                           = "client"
      AzureWebJobsStorage__accountName          = "stweirhosttestabc"
      AzureWebJobsStorage__clientId             = "client"
      AzureWebJobsStorage__credential           = "managedidentity"
      BlobEvents__clientId                      = "client"
      BlobEvents__credential                    = "managedidentity"
      BlobEvents__queueServiceUri               = "https://stweirhosttestabc.queue.core.windows.net/"
      EventHub__clientId                        = "client"
      EventHub__credential                      = "managedidentity"
      EventHub__fullyQualifiedNamespace         = "evhns-weir-test-abc.servicebus.windows.net"
      WEIR_LAKE_URL                             = "abfss://lake@stweirlaketestabc.dfs.core.windows.net/tables"
      WEIR_LANDING_URL                          = "https://stweirlaketestabc.blob.core.windows.net/"
      WEIR_MEMORY_BUDGET_MB                     = "1024"
      WEIR_PSEUDONYM_KEY                        = "@Microsoft.KeyVault(SecretUri=https://kv-weir-test-abc.vault.azure.net/secrets/pseudonym-key)"
      WEIR_REPLAY_GROUP                         = "weir-replay"
      WEIR_TASK_KEY                             = "@Microsoft.KeyVault(SecretUri=https://kv-weir-test-abc.vault.azure.net/secrets/task-key)"
    })
    error_message = "The app settings differ from the design's: ${jsonencode(output.app_settings)}"
  }

  assert {
    condition     = !contains(keys(output.app_settings), "AzureWebJobsStorage")
    error_message = "AzureWebJobsStorage must not be set: the host prefers a connection string to the identity."
  }

  assert {
    condition = alltrue([
      for value in values(output.app_settings) : !can(regex("(?i)AccountKey=|SharedAccessKey=|SharedAccessSignature=|[?&]sig=", value))
    ])
    error_message = "An app setting carries a shared key or a signature."
  }
}

run "site" {
  module {
    source = "./modules/functions"
  }

  variables {
    resource_group_id   = "/resourceGroups/rg"
    resource_group_name = "rg"
    tags                = {}
    plan_name           = "plan"
    app_name            = "func"
    identity_id         = "identity"
    package_identity_id = "package-identity"
    package_url         = "https://host.blob.core.windows.net/packages"
    app_settings        = run.settings.app_settings
    instance_memory_mb  = 4096
    maximum_instances   = 47
    always_ready        = { "function:ingest_blob" = 2 }
  }

  assert {
    condition     = azurerm_service_plan.flex.sku_name == "FC1" && azurerm_service_plan.flex.os_type == "Linux"
    error_message = "The plan must be Flex Consumption on Linux."
  }

  assert {
    condition     = output.site.functionAppConfig.runtime.name == "custom" && output.site.functionAppConfig.runtime.version == "1.0"
    error_message = "The runtime must be custom 1.0: the app is a custom handler."
  }

  assert {
    condition = output.site.functionAppConfig.deployment.storage.authentication == {
      type                           = "UserAssignedIdentity"
      userAssignedIdentityResourceId = "package-identity"
    }
    error_message = "The package must be read with an identity that the app is not."
  }

  assert {
    condition     = output.site.keyVaultReferenceIdentity == "identity"
    error_message = "Key Vault references must be resolved with the user-assigned identity; the default is a system-assigned one the app has not."
  }

  assert {
    condition = output.site.functionAppConfig.scaleAndConcurrency == {
      instanceMemoryMB     = 4096
      maximumInstanceCount = 47
      alwaysReady          = [{ name = "function:ingest_blob", instanceCount = 2 }]
    }
    error_message = "Memory, instance limit and warm instances must reach the app."
  }

  assert {
    condition     = { for setting in output.site.siteConfig.appSettings : setting.name => setting.value } == run.settings.app_settings
    error_message = "Every app setting must reach the site, and none besides."
  }

  assert {
    condition     = toset([for policy in azapi_resource.no_password : policy.name]) == toset(["scm", "ftp"]) && alltrue([for policy in azapi_resource.no_password : !policy.body.properties.allow])
    error_message = "No password may deploy."
  }

  assert {
    condition     = output.site.httpsOnly
    error_message = "Plain HTTP must be refused."
  }
}

run "refuses_a_connection_string" {
  command = plan

  module {
    source = "./modules/functions"
  }

  variables {
    resource_group_id   = "/resourceGroups/rg"
    resource_group_name = "rg"
    tags                = {}
    plan_name           = "plan"
    app_name            = "func"
    identity_id         = "identity"
    package_identity_id = "package-identity"
    package_url         = "https://host.blob.core.windows.net/packages"
    app_settings        = { AzureWebJobsStorage = "" }
    instance_memory_mb  = 2048
    maximum_instances   = 40
    always_ready        = {}
  }

  expect_failures = [var.app_settings]
}

run "refuses_what_azure_would_refuse" {
  command = plan

  variables {
    instance_memory_mb = 1024
    maximum_instances  = 1001
    always_ready       = { queue = 1 }
    name_suffix        = "Not-Valid"
  }

  expect_failures = [var.instance_memory_mb, var.maximum_instances, var.always_ready, var.name_suffix]
}
