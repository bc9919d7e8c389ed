terraform {
  required_version = ">= 1.11"

  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 4.81"
    }
    azapi = {
      source  = "azure/azapi"
      version = "~> 2.12"
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
  features {}
}

provider "azapi" {}
