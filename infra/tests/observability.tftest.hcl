# Telemetry by identity only; somebody is told; the vault and the lake leave an audit trail.
mock_provider "azurerm" {
  mock_resource "azurerm_monitor_action_group" {
    defaults = { id = "action-group" }
  }
}

variables {
  resource_group_name     = "rg"
  location                = "westeurope"
  tags                    = {}
  log_analytics_name      = "logs"
  app_insights_name       = "insights"
  action_group_name       = "people"
  alert_prefix            = "weir"
  alert_emails            = { on_call = "on-call@example.com" }
  log_retention_days      = 30
  instance_memory_mb      = 2048
  queue_backlog_threshold = 10000
  function_app_id         = "app"
  lake_account_id         = "lake-account"
  host_account_id         = "host-account"
  event_hub_namespace_id  = "hubs"
  system_topic_id         = "topic"
  key_vault_id            = "vault"
}

run "telemetry" {
  module {
    source = "./modules/observability"
  }

  assert {
    condition = alltrue([
      !azurerm_log_analytics_workspace.weir.local_authentication_enabled,
      !azurerm_application_insights.weir.local_authentication_enabled,
    ])
    error_message = "Telemetry must be accepted from identities only."
  }

  assert {
    condition = alltrue([for alert in azurerm_monitor_metric_alert.weir :
      length(alert.action) == 1 && one(alert.action).action_group_id == "action-group"
      ]) && alltrue([for alert in azurerm_monitor_scheduled_query_rules_alert_v2.weir :
      one(alert.action).action_groups == tolist(["action-group"])
    ])
    error_message = "Every alert must reach the action group."
  }

  assert {
    condition     = [for name, severity in output.alert_severities : name if severity == 1] == ["dead-lettered", "events-dropped", "lake-availability", "parked"]
    error_message = "What leaves data waiting for a person must be severity 1."
  }

  assert {
    condition     = one(azurerm_monitor_metric_alert.weir["memory"].criteria).threshold == 2048 * 1048576 * 0.85
    error_message = "The memory alert must follow the size of the instance."
  }

  assert {
    condition = toset(values(azurerm_monitor_diagnostic_setting.audit)[*].target_resource_id) == toset([
      "vault", "lake-account/blobServices/default", "host-account/queueServices/default", "hubs",
    ])
    error_message = "Vault, lake, queues and hubs must be audited."
  }
}
