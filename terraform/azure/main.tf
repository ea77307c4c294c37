data "azurerm_subscription" "this" {}

locals {
  tables_group   = var.route_table_resource_group != "" ? var.route_table_resource_group : var.resource_group
  network_group  = var.network_resource_group != "" ? var.network_resource_group : var.resource_group
  security_group = var.network_security_group_resource_group != "" ? var.network_security_group_resource_group : var.resource_group

  groups = toset([var.resource_group, local.tables_group, local.network_group, local.security_group])
  scopes = { for name in local.groups : name => "${data.azurerm_subscription.this.id}/resourceGroups/${name}" }
  tags   = merge(var.tags, { "cloudnet.io/cluster" = var.cluster })
}

# Who the controller is: give this identity to the machine that it runs on.

resource "azurerm_user_assigned_identity" "controller" {
  name                = "cloudnet-${var.cluster}"
  resource_group_name = var.resource_group
  location            = var.location
  tags                = local.tags
}

# What it may do, in the resource groups of nodes, tables and networks only.

locals {
  for_controller = [
    "Microsoft.Compute/locations/operations/read",
    "Microsoft.Compute/virtualMachineScaleSets/networkInterfaces/read",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/networkInterfaces/read",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/read",
    "Microsoft.Compute/virtualMachineScaleSets/virtualMachines/write",
    "Microsoft.Compute/virtualMachines/read",
    "Microsoft.Network/locations/operations/read",
    "Microsoft.Network/networkInterfaces/read",
    "Microsoft.Network/networkInterfaces/write",
    "Microsoft.Network/networkSecurityGroups/join/action",
    "Microsoft.Network/routeTables/read",
    "Microsoft.Network/routeTables/routes/delete",
    "Microsoft.Network/routeTables/routes/write",
    "Microsoft.Network/routeTables/write",
    "Microsoft.Network/virtualNetworks/subnets/join/action",
    "Microsoft.Network/virtualNetworks/subnets/read",
  ]
  for_preflight = [
    "Microsoft.Authorization/permissions/read",
    "Microsoft.Network/networkSecurityGroups/read",
  ]
}

resource "azurerm_role_definition" "controller" {
  name        = "cloudnet-${var.cluster}"
  description = "cloudnet controller of cluster ${var.cluster}"
  scope       = data.azurerm_subscription.this.id

  permissions {
    actions = concat(local.for_controller, var.preflight ? local.for_preflight : [])
  }

  assignable_scopes = values(local.scopes)
}

resource "azurerm_role_assignment" "controller" {
  for_each           = local.scopes
  scope              = each.value
  role_definition_id = azurerm_role_definition.controller.role_definition_resource_id
  principal_id       = azurerm_user_assigned_identity.controller.principal_id
}

# What nodes must hear of each other: the tunnel, the probes, and pods by their own addresses.

resource "azurerm_network_security_rule" "vxlan" {
  name                        = "cloudnet-${var.cluster}-vxlan"
  resource_group_name         = local.security_group
  network_security_group_name = var.network_security_group
  priority                    = var.first_priority
  direction                   = "Inbound"
  access                      = "Allow"
  protocol                    = "Udp"
  source_port_range           = "*"
  source_address_prefixes     = var.node_cidrs
  destination_port_range      = tostring(var.vxlan_port)
  destination_address_prefix  = "*"
}

resource "azurerm_network_security_rule" "probes" {
  name                        = "cloudnet-${var.cluster}-probes"
  resource_group_name         = local.security_group
  network_security_group_name = var.network_security_group
  priority                    = var.first_priority + 1
  direction                   = "Inbound"
  access                      = "Allow"
  protocol                    = "Udp"
  source_port_range           = "*"
  source_address_prefixes     = concat(var.node_cidrs, var.pod_cidrs)
  destination_port_range      = tostring(var.probe_port)
  destination_address_prefix  = "*"
}

resource "azurerm_network_security_rule" "pods" {
  name                        = "cloudnet-${var.cluster}-pods"
  resource_group_name         = local.security_group
  network_security_group_name = var.network_security_group
  priority                    = var.first_priority + 2
  direction                   = "Inbound"
  access                      = "Allow"
  protocol                    = "*"
  source_port_range           = "*"
  source_address_prefixes     = var.pod_cidrs
  destination_port_range      = "*"
  destination_address_prefix  = "*"
}
