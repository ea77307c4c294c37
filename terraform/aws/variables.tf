variable "cluster" {
  description = "Name of the cluster: part of names and tags, and of the user agent that CloudTrail shows."
  type        = string
}

variable "vpc_id" {
  description = "VPC of the nodes. The controller may write in this VPC only."
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

variable "route_table_ids" {
  description = "The only route tables to program; empty means every table that serves a node's subnet."
  type        = list(string)
  default     = []
}

variable "native_addresses" {
  description = "Let the controller take pod addresses from the VPC: prefixes and addresses of network interfaces."
  type        = bool
  default     = false
}

variable "preflight" {
  description = "Let whoever has the controller's role run cloudnet preflight, which looks at security groups too."
  type        = bool
  default     = true
}

variable "trusted_principals" {
  description = "ARNs that may assume the controller's role; empty means the instance that it runs on."
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

variable "tags" {
  description = "Tags of everything that is made here."
  type        = map(string)
  default     = {}
}
