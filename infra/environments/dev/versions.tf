terraform {
  required_version = ">= 1.11"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.10"
    }
    azapi = {
      source  = "azure/azapi"
      version = "~> 2.13"
    }
    time = {
      source  = "hashicorp/time"
      version = "~> 0.14"
    }
  }

  # Which account keeps the state is said at init: terraform init -backend-config=backend.hcl
  backend "azurerm" {
    use_azuread_auth = true
    key              = "weir/dev.tfstate"
  }
}

# The subscription comes from ARM_SUBSCRIPTION_ID.
provider "azurerm" {
  storage_use_azuread = true # the accounts have no keys to fall back on

  # azurerm 5 registers none by itself. Whoever applies needs */register/action on the subscription, or they are there.
  resource_providers_to_register = [
    "Microsoft.App", "Microsoft.Authorization", "Microsoft.Consumption", "Microsoft.EventGrid", "Microsoft.EventHub",
    "Microsoft.Insights", "Microsoft.KeyVault", "Microsoft.ManagedIdentity", "Microsoft.OperationalInsights",
    "Microsoft.Storage", "Microsoft.Web",
  ]
  features {}
}

provider "azapi" {}
