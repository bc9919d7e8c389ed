# Blobs: BlobCreated (and renames) in the landing container -> storage queue -> queueTrigger. The queue is buffer, back-pressure and
# replay; what Event Grid cannot deliver in a day goes to the dead-letter container.
locals {
  # On a hierarchical account a blob written through the DFS endpoint exists empty from CreateFile on, and a CopyBlob is
  # announced when the copy starts. These mean "complete"; copies are found by the sweep of `maintain`.
  # Renames come from a hierarchical account only: a blob that was moved has no BlobCreated event of its own.
  complete_writes = ["PutBlob", "PutBlockList", "FlushWithClose", "RenameFile", "RenameDirectory"]

  # A deletion is one, whoever makes it: by both endpoints, of a file and of a folder.
  deletions   = ["DeleteBlob", "DeleteFile", "DeleteDirectory"]
  event_types = ["Microsoft.Storage.BlobCreated", "Microsoft.Storage.BlobRenamed", "Microsoft.Storage.DirectoryRenamed"]

  topic_roles = {
    queue        = { role = "Storage Queue Data Message Sender", scope = var.blob_event_queue.id }
    dead_letters = { role = "Storage Blob Data Contributor", scope = var.dead_letter_container.id }
  }
}

# The identity must be the system-assigned one: with it alone Event Grid can pass a storage firewall.
resource "azurerm_eventgrid_system_topic" "lake" {
  name                = var.system_topic_name
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
  source_resource_id  = var.lake_account_id
  topic_type          = "Microsoft.Storage.StorageAccounts"

  identity {
    type = "SystemAssigned"
  }
}

resource "azurerm_role_assignment" "topic" {
  for_each = local.topic_roles

  scope                = each.value.scope
  role_definition_name = each.value.role
  principal_id         = azurerm_eventgrid_system_topic.lake.identity[0].principal_id
  principal_type       = "ServicePrincipal"
}

# A role reaches storage minutes after it was granted, and Event Grid tries its destinations when the subscription is made.
resource "time_sleep" "roles" {
  create_duration = "120s"
  triggers        = { for key, grant in azurerm_role_assignment.topic : key => grant.id }
}

resource "azurerm_eventgrid_system_topic_event_subscription" "blob_created" {
  name                  = "blob-created"
  system_topic          = azurerm_eventgrid_system_topic.lake.name
  resource_group_name   = var.resource_group_name
  event_delivery_schema = "CloudEventSchemaV1_0"
  included_event_types  = concat(local.event_types, var.blob_deletions ? ["Microsoft.Storage.BlobDeleted"] : [])

  subject_filter {
    subject_begins_with = "/blobServices/default/containers/${var.landing_container}/"
    case_sensitive      = true
  }

  advanced_filter {
    string_in {
      key    = "data.api"
      values = concat(local.complete_writes, var.blob_deletions ? local.deletions : [])
    }
  }

  storage_queue_endpoint {
    storage_account_id                    = var.host_account_id
    queue_name                            = var.blob_event_queue.name
    queue_message_time_to_live_in_seconds = -1 # never: the default of 7 days would lose blobs in a long outage
  }

  storage_blob_dead_letter_destination {
    storage_account_id          = var.host_account_id
    storage_blob_container_name = var.dead_letter_container.name
  }

  delivery_identity {
    type = "SystemAssigned"
  }

  dead_letter_identity {
    type = "SystemAssigned"
  }

  retry_policy {
    max_delivery_attempts = 30
    event_time_to_live    = 1440
  }

  depends_on = [time_sleep.roles]
}
