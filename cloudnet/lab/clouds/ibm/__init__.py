"""The lab's IBM Cloud: a simulator of the VPC calls that cloudnet makes, and the fabric that follows its routes."""
