output "app_insights" {
  description = "Where the host and the app report to. The connection string is an address: without local authentication its key opens nothing."
  value = {
    id                = azurerm_application_insights.weir.id
    connection_string = nonsensitive(azurerm_application_insights.weir.connection_string)
  }
}

output "alert_severities" {
  description = "Alert name to severity."
  value = merge(
    { for key, alert in azurerm_monitor_metric_alert.weir : key => alert.severity },
    { for key, alert in azurerm_monitor_scheduled_query_rules_alert_v2.weir : key => alert.severity },
  )
}

output "action_group_ids" {
  description = "Whom alerts reach: `on_call` and `team`."
  value       = { on_call = azurerm_monitor_action_group.on_call.id, team = azurerm_monitor_action_group.team.id }
}
