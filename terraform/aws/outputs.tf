output "provider_config" {
  description = "What --provider-config of the controller names, with --provider aws: write it to a file."
  value = jsonencode(merge(
    { region = data.aws_region.this.name, vpc_id = var.vpc_id, cluster = var.cluster },
    length(var.route_table_ids) == 0 ? {} : { route_table_ids = var.route_table_ids },
  ))
}

output "controller_role_arn" {
  description = "The role that the controller takes."
  value       = aws_iam_role.controller.arn
}

output "controller_instance_profile" {
  description = "The instance profile of the machine that the controller runs on."
  value       = aws_iam_instance_profile.controller.name
}
