output "provider_config" {
  description = "What --provider-config of the controller names, with --provider gcp: write it to a file."
  value = jsonencode({
    project   = var.project
    network   = var.network
    cluster   = var.cluster
    pod_range = var.pod_range
  })
}

output "controller_service_account" {
  description = "The account of the machine that the controller runs on."
  value       = google_service_account.controller.email
}
