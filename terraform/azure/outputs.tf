output "provider_config" {
  description = "What --provider-config of the controller names, with --provider azure: write it to a file."
  value = jsonencode({
    subscription_id            = data.azurerm_subscription.this.subscription_id
    resource_group             = var.resource_group
    route_table_resource_group = local.tables_group
    cluster                    = var.cluster
    client_id                  = azurerm_user_assigned_identity.controller.client_id
  })
}

output "controller_identity_id" {
  description = "The identity of the machine that the controller runs on."
  value       = azurerm_user_assigned_identity.controller.id
}
