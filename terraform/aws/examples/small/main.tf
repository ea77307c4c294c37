# The network of a small cluster: a VPC with a subnet and a route table in each of two zones, and cloudnet's rights.

variable "region" {
  type    = string
  default = "eu-west-1"
}

provider "aws" {
  region = var.region
}

data "aws_availability_zones" "here" {
  state = "available"
}

locals {
  zones = slice(data.aws_availability_zones.here.names, 0, 2)
}

resource "aws_vpc" "this" {
  cidr_block           = "10.0.0.0/16"
  enable_dns_hostnames = true
  tags                 = { Name = "small" }
}

resource "aws_subnet" "nodes" {
  count             = length(local.zones)
  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(aws_vpc.this.cidr_block, 8, count.index + 1)
  tags              = { Name = "small-${local.zones[count.index]}" }
}

resource "aws_route_table" "nodes" {
  count  = length(local.zones)
  vpc_id = aws_vpc.this.id
  tags   = { Name = "small-${local.zones[count.index]}" }

  lifecycle {
    ignore_changes = [route] # cloudnet writes routes of pods here
  }
}

resource "aws_route_table_association" "nodes" {
  count          = length(local.zones)
  subnet_id      = aws_subnet.nodes[count.index].id
  route_table_id = aws_route_table.nodes[count.index].id
}

resource "aws_security_group" "nodes" {
  name        = "small-nodes"
  description = "Nodes of the small cluster"
  vpc_id      = aws_vpc.this.id
}

module "cloudnet" {
  source = "../.."

  cluster                = "small"
  vpc_id                 = aws_vpc.this.id
  node_security_group_id = aws_security_group.nodes.id
  pod_cidrs              = ["10.65.0.0/16"]
}

output "provider_config" {
  value = module.cloudnet.provider_config
}
