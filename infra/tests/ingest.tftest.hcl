# The two ways in: blob events to the queue, event streams to the hubs.
mock_provider "time" {}
mock_provider "azurerm" {}

variables {
  resource_group_name   = "rg"
  location              = "westeurope"
  tags                  = {}
  system_topic_name     = "topic"
  lake_account_id       = "lake-account"
  landing_container     = "landing"
  host_account_id       = "host-account"
  blob_event_queue      = { name = "blob-events", id = "queue" }
  dead_letter_container = { name = "dead-letters", id = "dead-letters" }
  namespace_name        = "hubs"
  event_hubs            = ["clickstream", "sensors"]
  blob_deletions        = false
  reader_group          = "weir"
  replay_group          = "weir-replay"
  partitions            = 4
  throughput            = { minimum = 1, maximum = 1 }
}

run "blob_events" {
  module {
    source = "./modules/ingest"
  }

  assert {
    condition = (azurerm_eventgrid_system_topic.lake.source_resource_id == "lake-account"
      && azurerm_eventgrid_system_topic.lake.topic_type == "Microsoft.Storage.StorageAccounts"
    && azurerm_eventgrid_system_topic.lake.identity[0].type == "SystemAssigned")
    error_message = "The topic must watch the lake account under its own system-assigned identity."
  }

  assert {
    condition = (toset(output.blob_event_route.event_types)
    == toset(["Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobRenamed", "Microsoft.Storage.DirectoryRenamed"]))
    error_message = "Blobs that were created or moved are work."
  }

  assert {
    condition     = output.blob_event_route.subject == "/blobServices/default/containers/landing/"
    error_message = "Only landing: an event per file Weir writes to the lake would feed on itself."
  }

  assert {
    condition = (output.blob_event_route.filter.key == "data.api"
    && toset(output.blob_event_route.filter.values) == toset(["PutBlob", "PutBlockList", "FlushWithClose", "RenameFile", "RenameDirectory"]))
    error_message = "Only calls that leave a complete blob: CreateFile and CopyBlob announce unfinished ones, and a rename leaves one where it was not."
  }

  assert {
    condition     = output.blob_event_route.queue == "blob-events" && output.blob_event_route.dead_letters == "dead-letters"
    error_message = "Events go to the queue, the undeliverable to the dead-letter container."
  }

  assert {
    condition     = output.blob_event_route.identities == ["SystemAssigned", "SystemAssigned"]
    error_message = "Delivery and dead-lettering must use the topic's system-assigned identity."
  }

  assert {
    condition = alltrue([for endpoint in azurerm_eventgrid_system_topic_event_subscription.blob_created.storage_queue_endpoint :
      endpoint.queue_message_time_to_live_in_seconds == -1
    ])
    error_message = "Queue messages must not expire: blob events are never dropped."
  }
}

run "event_hubs" {
  module {
    source = "./modules/ingest"
  }

  variables {
    throughput = { minimum = 2, maximum = 10 }
  }

  assert {
    condition     = !azurerm_eventhub_namespace.weir.local_authentication_enabled
    error_message = "Event Hubs must refuse shared access signatures."
  }

  assert {
    condition     = azurerm_eventhub_namespace.weir.auto_inflate_enabled && azurerm_eventhub_namespace.weir.maximum_throughput_units == 10
    error_message = "Throughput must inflate up to the maximum."
  }

  assert {
    condition = { for hub, group in azurerm_eventhub_consumer_group.reader : hub => group.name } == {
      clickstream = "weir"
      sensors     = "weir"
    }
    error_message = "Each hub needs the consumer group weir; $Default is shared."
  }

  assert {
    condition = { for hub, group in azurerm_eventhub_consumer_group.replay : hub => group.name } == {
      clickstream = "weir-replay"
      sensors     = "weir-replay"
    }
    error_message = "Each hub needs the consumer group that gaps are healed in."
  }
}

run "fixed_throughput" {
  module {
    source = "./modules/ingest"
  }

  assert {
    condition     = !azurerm_eventhub_namespace.weir.auto_inflate_enabled && azurerm_eventhub_namespace.weir.maximum_throughput_units == null
    error_message = "Azure refuses a maximum without auto-inflate."
  }
}
