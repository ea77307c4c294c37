"""The AWS provider: VPC route tables, by boto3."""
