# A page for people in the portal. What only Weir knows is on its own status page.
locals {
  workbook_panels = [
    { title = "Invocations by function", query = "AppRequests | summarize invocations = sum(ItemCount), failed = sumif(ItemCount, Success == false), p95_s = percentile(DurationMs, 95) / 1000 by Name | order by invocations desc", chart = "table" },
    { title = "Invocations over time", query = "AppRequests | summarize invocations = sum(ItemCount) by bin(TimeGenerated, 5m), Name", chart = "timechart" },
    { title = "Failures, with what they say", query = "AppExceptions | summarize n = sum(ItemCount) by OperationName, OuterMessage | top 20 by n desc", chart = "table" },
    { title = "Undelivered blob events", query = "AegDeliveryFailureLogs | project TimeGenerated, Subject, Message | top 50 by TimeGenerated desc", chart = "table" },
  ]
}

# The service wants a GUID for a name; this one is made of the name that is shown.
resource "azurerm_application_insights_workbook" "weir" {
  name                = uuidv5("url", "weir/${var.workbook_name}")
  resource_group_name = var.resource_group_name
  location            = var.location
  tags                = var.tags
  display_name        = var.workbook_name
  source_id           = lower(azurerm_log_analytics_workspace.weir.id)

  data_json = jsonencode({
    version = "Notebook/1.0"
    items = [for index, panel in local.workbook_panels : {
      type = 3
      name = "panel-${index}"
      content = {
        version                 = "KqlItem/1.0"
        title                   = panel.title
        query                   = panel.query
        visualization           = panel.chart
        size                    = 0
        timeContext             = { durationMs = 86400000 }
        queryType               = 0
        resourceType            = "microsoft.operationalinsights/workspaces"
        crossComponentResources = [azurerm_log_analytics_workspace.weir.id]
      }
    }]
    fallbackResourceIds = [azurerm_log_analytics_workspace.weir.id]
  })
}
