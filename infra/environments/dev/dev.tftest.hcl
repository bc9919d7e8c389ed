# The environment as a whole plans and applies (mocked), and the names it makes are ones Azure takes.
mock_provider "azurerm" {
  mock_resource "azurerm_key_vault" {
    defaults = { vault_uri = "https://vault/" }
  }
}
mock_provider "azapi" {}
mock_provider "time" {}

run "dev" {
  variables {
    name_suffix  = "abc"
    alert_emails = { team = "team@example.com" }
  }

  assert {
    condition     = output.weir.lake_account_name == "stweirlakedevabc" && output.weir.function_app_name == "func-weir-dev-abc"
    error_message = "Names must carry the environment."
  }
}

run "longest_names_fit" {
  variables {
    name_suffix  = "abcdefgh"
    alert_emails = { team = "team@example.com" }
  }

  assert {
    condition     = length(output.weir.lake_account_name) <= 24 && length(output.weir.key_vault_name) <= 24
    error_message = "Storage accounts and vaults may have 24 characters."
  }
}
