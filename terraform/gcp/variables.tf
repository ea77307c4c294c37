variable "cluster" {
  description = "Name of the cluster: marks its routes, and is part of names here."
  type        = string
}

variable "project" {
  description = "Project of the network and the nodes."
  type        = string
}

variable "network" {
  description = "Name of the network of the nodes."
  type        = string
}

variable "node_tags" {
  description = "Network tags that all nodes carry."
  type        = list(string)
}

variable "pod_cidrs" {
  description = "Pod addresses: the cluster's pools."
  type        = list(string)
}

variable "native_addresses" {
  description = "Let the controller give nodes alias ranges for their pods."
  type        = bool
  default     = false
}

variable "preflight" {
  description = "Let whoever has the controller's account run cloudnet preflight, which looks at firewall rules too."
  type        = bool
  default     = true
}

variable "pod_range" {
  description = "Secondary range of the subnets that alias ranges come from; needed with native_addresses."
  type        = string
  default     = ""
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
