variable "cluster" {
  description = "Name of the cluster: the mark in the names of its routes."
  type        = string
}

variable "resource_group" {
  description = "Resource group of the nodes' machines, scale sets and interfaces."
  type        = string
}

variable "route_table_resource_group" {
  description = "Resource group of the route tables; empty means that of the nodes."
  type        = string
  default     = ""
}

variable "network_resource_group" {
  description = "Resource group of the virtual network; empty means that of the nodes."
  type        = string
  default     = ""
}

variable "network_security_group" {
  description = "Name of the network security group of the nodes' subnets."
  type        = string
}

variable "network_security_group_resource_group" {
  description = "Resource group of that group; empty means that of the nodes."
  type        = string
  default     = ""
}

variable "node_cidrs" {
  description = "Addresses of the nodes' subnets."
  type        = list(string)
}

variable "pod_cidrs" {
  description = "Pod addresses: the cluster's pools."
  type        = list(string)
}

variable "location" {
  description = "Region of the identity that is made for the controller."
  type        = string
}

variable "first_priority" {
  description = "Priority of the first of three security rules; the next two numbers are taken as well."
  type        = number
  default     = 300
}

variable "preflight" {
  description = "Let whoever has the controller's identity run cloudnet preflight, which looks at security groups too."
  type        = bool
  default     = true
}

variable "vxlan_port" {
  description = "UDP port of VXLAN, as the agents' setting vxlan_port."
  type        = number
  default     = 4789
}

variable "probe_port" {
  description = "UDP port of path probes, as the agents' setting probe_port."
  type        = number
  default     = 4793
}

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}
