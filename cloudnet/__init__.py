"""Pod networking that the cloud itself can route, with VXLAN where it cannot."""
