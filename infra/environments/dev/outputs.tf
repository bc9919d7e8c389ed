output "weir" {
  description = "What the deployment and the first set-up need to know."
  value = {
    resource_group_name  = module.weir.resource_group_name
    package_account_name = module.weir.package_account_name
    function_app_name    = module.weir.function_app_name
    key_vault_name       = module.weir.key_vault_name
    lake_account_name    = module.weir.lake_account_name
    event_hub_namespace  = module.weir.event_hub_namespace
  }
}
