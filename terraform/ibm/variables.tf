variable "cluster" {
  description = "Name of the cluster: part of every route's name. Up to 20 small letters, digits and dashes."
  type        = string
}

variable "region" {
  description = "Region of the VPC."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the nodes."
  type        = string
}

variable "resource_group_id" {
  description = "Resource group of the VPC, its instances and interfaces: the controller has rights in this group only."
  type        = string
}

variable "node_security_group_id" {
  description = "Security group that all nodes are in."
  type        = string
}

variable "pod_cidrs" {
  description = "Pod addresses: the cluster's pools."
  type        = list(string)
}

variable "routing_table_ids" {
  description = "The only routing tables to program; empty means every table that serves a node's subnet."
  type        = list(string)
  default     = []
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
