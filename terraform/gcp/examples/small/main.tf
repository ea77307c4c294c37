# The network of a small cluster: a network, a subnet with a secondary range for pods, and cloudnet's rights.

variable "project" {
  type = string
}

variable "region" {
  type    = string
  default = "europe-west1"
}

provider "google" {
  project = var.project
  region  = var.region
}

resource "google_compute_network" "this" {
  name                    = "small"
  auto_create_subnetworks = false
}

resource "google_compute_subnetwork" "nodes" {
  name          = "nodes"
  network       = google_compute_network.this.id
  region        = var.region
  ip_cidr_range = "10.0.1.0/24"

  secondary_ip_range {
    range_name    = "pods"
    ip_cidr_range = "10.65.0.0/16"
  }
}

# Nodes have to be made with can_ip_forward = true: it cannot be changed later.

module "cloudnet" {
  source = "../.."

  cluster          = "small"
  project          = var.project
  network          = google_compute_network.this.name
  node_tags        = ["small-node"]
  pod_cidrs        = ["10.65.0.0/16"]
  native_addresses = true
  pod_range        = "pods"
}

output "provider_config" {
  value = module.cloudnet.provider_config
}
