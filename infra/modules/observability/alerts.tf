# Alerts on what Azure itself measures. Severity 1 means data waits for a person, 2 means look today.
locals {
  metric_alerts = {
    dead-lettered = {
      about     = "Event Grid gave up on blob events; they lie in the dead-letter container. The sweep of `maintain` will find the blobs, but the delivery is broken."
      severity  = 1
      scope     = var.system_topic_id
      namespace = "Microsoft.EventGrid/systemTopics"
      metric    = "DeadLetteredCount"
      condition = { aggregation = "Total", operator = "GreaterThan", threshold = 0 }
      frequency = "PT5M"
      window    = "PT15M"
    }
    events-dropped = {
      about     = "Event Grid dropped blob events: neither the queue nor the dead-letter container took them."
      severity  = 1
      scope     = var.system_topic_id
      namespace = "Microsoft.EventGrid/systemTopics"
      metric    = "DroppedEventCount"
      condition = { aggregation = "Total", operator = "GreaterThan", threshold = 0 }
      frequency = "PT5M"
      window    = "PT15M"
    }
    lake-availability = {
      about     = "The lake account answers less than 99 % of its requests."
      severity  = 1
      scope     = var.lake_account_id
      namespace = "Microsoft.Storage/storageAccounts"
      metric    = "Availability"
      condition = { aggregation = "Average", operator = "LessThan", threshold = 99 }
      frequency = "PT5M"
      window    = "PT15M"
    }
    queue-backlog = {
      about     = "Work waits in the queues faster than it is done. The metric is hourly."
      severity  = 2
      scope     = "${var.host_account_id}/queueServices/default"
      namespace = "Microsoft.Storage/storageAccounts/queueServices"
      metric    = "QueueMessageCount"
      condition = { aggregation = "Average", operator = "GreaterThan", threshold = var.queue_backlog_threshold }
      frequency = "PT15M"
      window    = "PT1H"
    }
    event-hubs-throttled = {
      about     = "Event Hubs refuses producers or readers: raise the maximum throughput units."
      severity  = 2
      scope     = var.event_hub_namespace_id
      namespace = "Microsoft.EventHub/namespaces"
      metric    = "ThrottledRequests"
      condition = { aggregation = "Total", operator = "GreaterThan", threshold = 0 }
      frequency = "PT5M"
      window    = "PT15M"
    }
    memory = {
      about     = "An instance uses more than 85 % of its memory; beyond 100 % the platform kills it."
      severity  = 2
      scope     = var.function_app_id
      namespace = "Microsoft.Web/sites"
      metric    = "MemoryWorkingSet"
      condition = { aggregation = "Maximum", operator = "GreaterThan", threshold = var.instance_memory_mb * 1048576 * 0.85 }
      frequency = "PT5M"
      window    = "PT15M"
    }
  }

  # Over the requests the Functions host records: one per invocation, named after the function.
  query_alerts = {
    parked = {
      about     = "Messages failed until they were parked in a poison queue."
      severity  = 1
      query     = "AppRequests | where Name in ('park_blob_events', 'park_tasks')"
      condition = { operator = "GreaterThan", threshold = 0 }
      frequency = "PT5M"
      window    = "PT15M"
    }
    failing = {
      about     = "More than 20 invocations failed within 15 minutes. They are retried: nothing is lost, but nothing moves either."
      severity  = 2
      query     = "AppRequests | where Success == false"
      condition = { operator = "GreaterThan", threshold = 20 }
      frequency = "PT5M"
      window    = "PT15M"
    }
    unmaintained = {
      about     = "`maintain` has not succeeded for a day: no sweep, no compaction, no warehouse load."
      severity  = 2
      query     = "AppRequests | where Name == 'maintain' and Success == true"
      condition = { operator = "LessThan", threshold = 1 }
      frequency = "PT1H"
      window    = "P1D"
    }
  }
}

resource "azurerm_monitor_action_group" "weir" {
  name                = var.action_group_name
  resource_group_name = var.resource_group_name
  tags                = var.tags
  short_name          = "weir"

  dynamic "email_receiver" {
    for_each = var.alert_emails

    content {
      name                    = email_receiver.key
      email_address           = email_receiver.value
      use_common_alert_schema = true
    }
  }
}

resource "azurerm_monitor_metric_alert" "weir" {
  for_each = local.metric_alerts

  name                = "${var.alert_prefix}-${each.key}"
  description         = each.value.about
  resource_group_name = var.resource_group_name
  tags                = var.tags
  scopes              = [each.value.scope]
  severity            = each.value.severity
  frequency           = each.value.frequency
  window_size         = each.value.window

  criteria {
    metric_namespace = each.value.namespace
    metric_name      = each.value.metric
    aggregation      = each.value.condition.aggregation
    operator         = each.value.condition.operator
    threshold        = each.value.condition.threshold
  }

  action {
    action_group_id = azurerm_monitor_action_group.weir.id
  }
}

resource "azurerm_monitor_scheduled_query_rules_alert_v2" "weir" {
  for_each = local.query_alerts

  name                 = "${var.alert_prefix}-${each.key}"
  description          = each.value.about
  resource_group_name  = var.resource_group_name
  location             = var.location
  tags                 = var.tags
  scopes               = [azurerm_log_analytics_workspace.weir.id]
  severity             = each.value.severity
  evaluation_frequency = each.value.frequency
  window_duration      = each.value.window
  # The workspace's tables appear with the first telemetry; the rules are made before it.
  skip_query_validation = true

  criteria {
    query                   = each.value.query
    time_aggregation_method = "Count"
    operator                = each.value.condition.operator
    threshold               = each.value.condition.threshold
  }

  action {
    action_groups = [azurerm_monitor_action_group.weir.id]
  }
}
