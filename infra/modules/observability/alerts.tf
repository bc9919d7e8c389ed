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

  # Over the requests that the Functions host records: one an invocation, named after the function. The host may sample
  # them, so counts are sums of ItemCount; host.json excludes them from sampling all the same.
  # The query is in rules/<name>.kql; the rule fires when it gives a row. tests/src/alerts runs each on good and bad days.
  query_alerts = {
    dead = {
      about     = "`maintain` has not succeeded for a quarter of an hour, and is due every 5 minutes: the app is down, or cannot reach its storage."
      severity  = 1
      frequency = "PT5M"
      window    = "PT15M"
    }
    stuck = {
      about     = "A function fails and has not succeeded for half an hour. What it cannot do waits: blobs in the queue, events in the hub until its retention ends."
      severity  = 1
      frequency = "PT5M"
      window    = "PT30M"
    }
    parked = {
      about     = "Messages failed until they were parked: `weir parked` lists them with their reasons, `retry` tries them again."
      severity  = 1
      frequency = "PT5M"
      window    = "PT15M"
    }
    failing = {
      about     = "More than a tenth of a function's invocations failed within half an hour. They are tried again: nothing is lost, but it moves slowly."
      severity  = 2
      frequency = "PT15M"
      window    = "PT30M"
    }
    undelivered = {
      about     = "Event Grid could not deliver blob events at once; the rows say why."
      severity  = 2
      frequency = "PT15M"
      window    = "PT15M"
    }
  }

  # Severity 1 wakes somebody, and is in the team's mail, too.
  groups = {
    1 = [azurerm_monitor_action_group.on_call.id, azurerm_monitor_action_group.team.id]
    2 = [azurerm_monitor_action_group.team.id]
  }
}

# Whoever is on call. Who does not answer is called again by the service behind the webhook: Azure itself does not escalate.
resource "azurerm_monitor_action_group" "on_call" {
  name                = var.action_group_names.on_call
  resource_group_name = var.resource_group_name
  tags                = var.tags
  short_name          = "weir-call"

  dynamic "sms_receiver" {
    for_each = var.on_call.sms

    content {
      name         = sms_receiver.key
      country_code = sms_receiver.value.country_code
      phone_number = sms_receiver.value.phone_number
    }
  }

  dynamic "webhook_receiver" {
    for_each = var.on_call.webhooks

    content {
      name                    = webhook_receiver.key
      service_uri             = webhook_receiver.value
      use_common_alert_schema = true
    }
  }
}

resource "azurerm_monitor_action_group" "team" {
  name                = var.action_group_names.team
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

  dynamic "action" {
    for_each = local.groups[each.value.severity]

    content {
      action_group_id = action.value
    }
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
  # One mail when it begins and one when it is over, not one every five minutes.
  auto_mitigation_enabled = true

  criteria {
    query                   = file("${path.module}/rules/${each.key}.kql")
    time_aggregation_method = "Count"
    operator                = "GreaterThan"
    threshold               = 0
  }

  action {
    action_groups = local.groups[each.value.severity]
  }
}
