locals {
  role_id = "cloudnet_${replace(var.cluster, "-", "_")}"
}

# Who the controller is: give this account to the machine that it runs on.

resource "google_service_account" "controller" {
  project      = var.project
  account_id   = "cloudnet-${var.cluster}"
  display_name = "cloudnet controller of cluster ${var.cluster}"
}

# What it may do. Routes and networks cannot be scoped below the project.

locals {
  for_routes = [
    "compute.globalOperations.list",
    "compute.instances.get",
    "compute.instances.list",
    "compute.instances.use",
    "compute.networks.updatePolicy",
    "compute.projects.get",
    "compute.routes.create",
    "compute.routes.delete",
    "compute.routes.get",
    "compute.routes.list",
  ]
  for_addresses = [
    "compute.instances.updateNetworkInterface",
    "compute.subnetworks.get",
    "compute.subnetworks.use",
    "compute.zoneOperations.list",
  ]
  for_preflight = [
    "compute.firewalls.list",
    "compute.networks.get",
    "compute.subnetworks.list",
  ]
}

resource "google_project_iam_custom_role" "controller" {
  project     = var.project
  role_id     = local.role_id
  title       = "cloudnet ${var.cluster}"
  description = "cloudnet controller of cluster ${var.cluster}"
  permissions = concat(
    local.for_routes,
    var.native_addresses ? local.for_addresses : [],
    var.preflight ? local.for_preflight : [],
  )
}

resource "google_project_iam_member" "controller" {
  project = var.project
  role    = google_project_iam_custom_role.controller.id
  member  = "serviceAccount:${google_service_account.controller.email}"
}

# What nodes must hear of each other: the tunnel, the probes, and pods by their own addresses.

resource "google_compute_firewall" "nodes" {
  project     = var.project
  name        = "cloudnet-${var.cluster}-nodes"
  description = "cloudnet: VXLAN and path probes between nodes"
  network     = var.network
  source_tags = var.node_tags
  target_tags = var.node_tags

  allow {
    protocol = "udp"
    ports    = [tostring(var.vxlan_port), tostring(var.probe_port)]
  }
}

resource "google_compute_firewall" "pods" {
  project       = var.project
  name          = "cloudnet-${var.cluster}-pods"
  description   = "cloudnet: pods"
  network       = var.network
  source_ranges = var.pod_cidrs
  target_tags   = var.node_tags

  allow {
    protocol = "all"
  }
}
