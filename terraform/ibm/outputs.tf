output "provider_config" {
  description = "What --provider-config of the controller names, with --provider ibm: write it to a file that only the controller reads."
  sensitive   = true
  value = jsonencode({
    region            = var.region
    vpc_id            = var.vpc_id
    cluster           = var.cluster
    api_key           = ibm_iam_service_api_key.controller.apikey
    resource_group_id = var.resource_group_id
    routing_table_ids = var.routing_table_ids
  })
}

output "controller_service_id" {
  description = "The service id of the controller."
  value       = ibm_iam_service_id.controller.iam_id
}
