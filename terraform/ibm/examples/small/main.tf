# The network of a small cluster: a VPC with a subnet and a routing table in one zone, and cloudnet's rights.

variable "region" {
  type    = string
  default = "eu-de"
}

provider "ibm" {
  region = var.region
}

resource "ibm_resource_group" "this" {
  name = "small"
}

resource "ibm_is_vpc" "this" {
  name           = "small"
  resource_group = ibm_resource_group.this.id
}

resource "ibm_is_vpc_routing_table" "nodes" {
  vpc  = ibm_is_vpc.this.id
  name = "nodes"
}

resource "ibm_is_subnet" "nodes" {
  name                     = "nodes"
  vpc                      = ibm_is_vpc.this.id
  zone                     = "${var.region}-1"
  resource_group           = ibm_resource_group.this.id
  routing_table            = ibm_is_vpc_routing_table.nodes.routing_table
  total_ipv4_address_count = 256
}

resource "ibm_is_security_group" "nodes" {
  name           = "nodes"
  vpc            = ibm_is_vpc.this.id
  resource_group = ibm_resource_group.this.id
}

module "cloudnet" {
  source = "../.."

  cluster                = "small"
  region                 = var.region
  vpc_id                 = ibm_is_vpc.this.id
  resource_group_id      = ibm_resource_group.this.id
  node_security_group_id = ibm_is_security_group.nodes.id
  pod_cidrs              = ["10.65.0.0/16"]
}

output "provider_config" {
  value     = module.cloudnet.provider_config
  sensitive = true
}
