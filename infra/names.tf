# Every name, in one place. Those under "wire names" are also written in a function.json or in host.json and must agree.
locals {
  name = "weir-${var.environment}-${var.name_suffix}"

  names = {
    resource_group      = "rg-${local.name}"
    identity            = "id-${local.name}"
    key_vault           = "kv-${local.name}"
    package_identity    = "id-${local.name}-package"
    host_account        = "stweirhost${var.environment}${var.name_suffix}"
    package_account     = "stweirpkg${var.environment}${var.name_suffix}"
    lake_account        = "stweirlake${var.environment}${var.name_suffix}"
    system_topic        = "evgt-${local.name}"
    event_hub_namespace = "evhns-${local.name}"
    plan                = "plan-${local.name}"
    function_app        = "func-${local.name}"
    log_analytics       = "log-${local.name}"
    app_insights        = "appi-${local.name}"
    action_groups       = { on_call = "ag-${local.name}-on-call", team = "ag-${local.name}" }
    budget              = "budget-${local.name}"
    workbook            = "Weir ${var.environment} ${var.name_suffix}"
  }

  # Wire names.
  landing_container      = "landing"
  lake_container         = "lake"
  dead_letter_container  = "dead-letters"
  package_container      = "packages"
  blob_event_queue       = "blob-events"
  queues                 = ["blob-events", "blob-events-poison", "tasks", "tasks-poison"]
  event_hubs             = ["clickstream", "sensors"]
  hubs                   = var.event_hubs == null ? toset(local.event_hubs) : var.event_hubs
  event_hub_reader_group = "weir"
  event_hub_replay_group = "weir-replay"
  pseudonym_secret       = "pseudonym-key"
  task_secret            = "task-key"

  tags = merge({ app = "weir", environment = var.environment }, var.tags)
}
