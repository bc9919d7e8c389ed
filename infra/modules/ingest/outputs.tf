output "system_topic_id" {
  description = "Source of the delivery metrics."
  value       = azurerm_eventgrid_system_topic.lake.id
}

output "namespace" {
  description = "The Event Hubs namespace; `host` is its fully qualified name."
  value = {
    id   = azurerm_eventhub_namespace.weir.id
    host = "${azurerm_eventhub_namespace.weir.name}.servicebus.windows.net"
  }
}

output "event_hub_ids" {
  description = "Hub name to resource id."
  value       = { for name, hub in azurerm_eventhub.stream : name => hub.id }
}

output "role_assignments" {
  description = "What Event Grid may do."
  value = [for grant in azurerm_role_assignment.topic : {
    who = "event_grid", role = grant.role_definition_name, scope = grant.scope
  }]
}

output "blob_event_route" {
  description = "What reaches which queue, as configured."
  value = {
    event_types  = azurerm_eventgrid_system_topic_event_subscription.blob_created.included_event_types
    subject      = one(azurerm_eventgrid_system_topic_event_subscription.blob_created.subject_filter).subject_begins_with
    filter       = one(one(azurerm_eventgrid_system_topic_event_subscription.blob_created.advanced_filter).string_in)
    queue        = one(azurerm_eventgrid_system_topic_event_subscription.blob_created.storage_queue_endpoint).queue_name
    dead_letters = one(azurerm_eventgrid_system_topic_event_subscription.blob_created.storage_blob_dead_letter_destination).storage_blob_container_name
    identities = [
      one(azurerm_eventgrid_system_topic_event_subscription.blob_created.delivery_identity).type,
      one(azurerm_eventgrid_system_topic_event_subscription.blob_created.dead_letter_identity).type,
    ]
  }
}
