# The network of a small cluster: a virtual network, a subnet with its route table, and cloudnet's rights.

variable "location" {
  type    = string
  default = "westeurope"
}

provider "azurerm" {
  features {}
}

resource "azurerm_resource_group" "this" {
  name     = "small"
  location = var.location
}

resource "azurerm_virtual_network" "this" {
  name                = "small"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
  address_space       = ["10.0.0.0/16"]
}

resource "azurerm_subnet" "nodes" {
  name                 = "nodes"
  resource_group_name  = azurerm_resource_group.this.name
  virtual_network_name = azurerm_virtual_network.this.name
  address_prefixes     = ["10.0.1.0/24"]
}

resource "azurerm_route_table" "nodes" {
  name                = "nodes"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location

  lifecycle {
    ignore_changes = [route] # cloudnet writes routes of pods here
  }
}

resource "azurerm_subnet_route_table_association" "nodes" {
  subnet_id      = azurerm_subnet.nodes.id
  route_table_id = azurerm_route_table.nodes.id
}

resource "azurerm_network_security_group" "nodes" {
  name                = "nodes"
  resource_group_name = azurerm_resource_group.this.name
  location            = var.location
}

resource "azurerm_subnet_network_security_group_association" "nodes" {
  subnet_id                 = azurerm_subnet.nodes.id
  network_security_group_id = azurerm_network_security_group.nodes.id
}

module "cloudnet" {
  source = "../.."

  cluster                = "small"
  resource_group         = azurerm_resource_group.this.name
  location               = var.location
  network_security_group = azurerm_network_security_group.nodes.name
  node_cidrs             = azurerm_subnet.nodes.address_prefixes
  pod_cidrs              = ["10.65.0.0/16"]
}

output "provider_config" {
  value = module.cloudnet.provider_config
}
