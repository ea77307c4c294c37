# Who the controller is.

resource "ibm_iam_service_id" "controller" {
  name        = "cloudnet-${var.cluster}"
  description = "cloudnet controller of cluster ${var.cluster}"
}

resource "ibm_iam_service_api_key" "controller" {
  name           = "cloudnet-${var.cluster}"
  iam_service_id = ibm_iam_service_id.controller.iam_id
}

# What it may do, in one resource group: IBM Cloud grants roles, not calls.

resource "ibm_iam_service_policy" "controller" {
  iam_id = ibm_iam_service_id.controller.iam_id
  roles  = ["Editor", "IP Spoofing Operator", "Viewer"]

  resources {
    service           = "is"
    resource_group_id = var.resource_group_id
  }
}

# What nodes must hear of each other: the tunnel, the probes, and pods by their own addresses.

resource "ibm_is_security_group_rule" "vxlan" {
  group     = var.node_security_group_id
  direction = "inbound"
  remote    = var.node_security_group_id

  udp {
    port_min = var.vxlan_port
    port_max = var.vxlan_port
  }
}

resource "ibm_is_security_group_rule" "probes" {
  group     = var.node_security_group_id
  direction = "inbound"
  remote    = var.node_security_group_id

  udp {
    port_min = var.probe_port
    port_max = var.probe_port
  }
}

resource "ibm_is_security_group_rule" "pods" {
  for_each  = toset(var.pod_cidrs)
  group     = var.node_security_group_id
  direction = "inbound"
  remote    = each.value
}
