terraform {
  required_providers {
    azurerm = {
      source  = "hashicorp/azurerm"
      version = "~> 5.10"
    }
    azapi = {
      source  = "azure/azapi"
      version = "~> 2.13"
    }
  }
}
