# Telemetry by identity only; somebody is told; the vault and the lake leave an audit trail.
mock_provider "azurerm" {
}

override_resource {
  target = azurerm_monitor_action_group.on_call
  values = { id = "on-call" }
}
override_resource {
  target = azurerm_monitor_action_group.team
  values = { id = "team" }
}

variables {
  resource_group_name     = "rg"
  location                = "westeurope"
  tags                    = {}
  log_analytics_name      = "logs"
  app_insights_name       = "insights"
  action_group_names      = { on_call = "on-call", team = "team" }
  workbook_name           = "Weir"
  on_call                 = { sms = { night = { country_code = "49", phone_number = "1700000000" } }, webhooks = { pager = "https://pager.example/x" } }
  log_daily_quota_gb      = 5
  audit_reads             = false
  package_account_id      = "package-account"
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
      toset([for action in alert.action : action.action_group_id]) == toset(alert.severity == 1 ? ["on-call", "team"] : ["team"])
      ]) && alltrue([for alert in azurerm_monitor_scheduled_query_rules_alert_v2.weir :
      toset(one(alert.action).action_groups) == toset(alert.severity == 1 ? ["on-call", "team"] : ["team"])
    ])
    error_message = "Severity 1 must reach whoever is on call and the team, severity 2 the team."
  }

  assert {
    condition     = one(azurerm_monitor_action_group.on_call.sms_receiver).phone_number == "1700000000" && one(azurerm_monitor_action_group.on_call.webhook_receiver).use_common_alert_schema && one(azurerm_monitor_action_group.team.email_receiver).email_address == "on-call@example.com"
    error_message = "Receivers must be those that were asked for."
  }

  assert {
    condition     = toset([for name, severity in output.alert_severities : name if severity == 1]) == toset(["dead", "dead-lettered", "events-dropped", "lake-availability", "parked", "stuck"])
    error_message = "What leaves data waiting for a person must be severity 1."
  }

  assert {
    condition     = alltrue([for alert in azurerm_monitor_scheduled_query_rules_alert_v2.weir : alert.auto_mitigation_enabled])
    error_message = "An alert must end by itself when its cause has."
  }

  assert {
    condition     = alltrue([for alert in azurerm_monitor_scheduled_query_rules_alert_v2.weir : length(one(alert.criteria).query) > 20 && one(alert.criteria).threshold == 0])
    error_message = "A rule fires when its query gives a row."
  }

  assert {
    condition     = azurerm_log_analytics_workspace.weir.daily_quota_gb == 5
    error_message = "Logs must have a bound a day."
  }

  assert {
    condition     = one(azurerm_monitor_metric_alert.weir["memory"].criteria).threshold == 2048 * 1048576 * 0.85
    error_message = "The memory alert must follow the size of the instance."
  }

  assert {
    condition = toset(values(azurerm_monitor_diagnostic_setting.audit)[*].target_resource_id) == toset([
      "vault", "lake-account/blobServices/default", "package-account/blobServices/default", "hubs", "topic", "app",
    ])
    error_message = "Vault, lake, package, hubs, delivery and app must be logged."
  }

  assert {
    condition     = toset([for log in azurerm_monitor_diagnostic_setting.audit["lake_blobs"].enabled_log : log.category]) == toset(["StorageWrite", "StorageDelete"])
    error_message = "Reads of the lake cost more to log than to make: only where somebody asks for them."
  }

  assert {
    condition     = length(jsondecode(azurerm_application_insights_workbook.weir.data_json).items) == 4
    error_message = "The workbook must be JSON with its panels."
  }
}

run "reads_are_logged_on_request" {
  module {
    source = "./modules/observability"
  }

  variables {
    audit_reads = true
  }

  assert {
    condition     = contains([for log in azurerm_monitor_diagnostic_setting.audit["lake_blobs"].enabled_log : log.category], "StorageRead")
    error_message = "audit_reads must log reads."
  }
}
