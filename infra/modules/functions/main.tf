# The app is an azapi resource on purpose: azurerm's writes an AzureWebJobsStorage connection string with an empty key
# even under identity authentication, and the host prefers it (hashicorp/terraform-provider-azurerm#29149, #29693); it
# also cannot name the identity that resolves Key Vault references (#28928).
# What it costs: nothing at rest; about 0.000026 USD a GB-second while it works (billed by the second at least), and 0.40 USD
# a million executions. An instance that is always ready: about 0.000004 USD a GB-second, 21 USD a month for 2 GB.
resource "azurerm_service_plan" "flex" {
  name                = var.plan_name
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
  os_type             = "Linux"
  sku_name            = "FC1"
}

resource "azapi_resource" "app" {
  type      = "Microsoft.Web/sites@2024-04-01"
  name      = var.app_name
  parent_id = var.resource_group_id
  location  = var.location
  tags      = var.tags

  identity {
    type         = "UserAssigned"
    identity_ids = [var.identity_id, var.package_identity_id]
  }

  body = {
    kind = "functionapp,linux"
    properties = {
      serverFarmId              = azurerm_service_plan.flex.id
      httpsOnly                 = true
      clientAffinityEnabled     = false
      keyVaultReferenceIdentity = var.identity_id

      functionAppConfig = {
        runtime = {
          name    = "custom"
          version = "1.0"
        }
        deployment = {
          storage = {
            type  = "blobContainer"
            value = var.package_url
            authentication = {
              type                           = "UserAssignedIdentity"
              userAssignedIdentityResourceId = var.package_identity_id
            }
          }
        }
        scaleAndConcurrency = {
          instanceMemoryMB     = var.instance_memory_mb
          maximumInstanceCount = var.maximum_instances
          alwaysReady          = [for group, instances in var.always_ready : { name = group, instanceCount = instances }]
        }
      }

      siteConfig = {
        minTlsVersion = "1.2"
        http20Enabled = true
        appSettings   = [for name, value in var.app_settings : { name = name, value = value }]
      }
    }
  }
}

# No password deploys: neither by FTP nor to the deployment service.
resource "azapi_resource" "no_password" {
  for_each = toset(["scm", "ftp"])

  type      = "Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-04-01"
  name      = each.key
  parent_id = azapi_resource.app.id

  body = {
    properties = {
      allow = false
    }
  }
}
