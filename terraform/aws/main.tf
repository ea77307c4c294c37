data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_region" "this" {}

locals {
  account = "${data.aws_region.this.name}:${data.aws_caller_identity.this.account_id}"
  ec2     = "arn:${data.aws_partition.this.partition}:ec2:${local.account}"
  vpc     = "${local.ec2}:vpc/${var.vpc_id}"
  tags    = merge(var.tags, { "cloudnet.io/cluster" = var.cluster })

  all_tables = ["${local.ec2}:route-table/*"]
  few_tables = [for id in var.route_table_ids : "${local.ec2}:route-table/${id}"]
}

# Who the controller is.

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = length(var.trusted_principals) == 0 ? "Service" : "AWS"
      identifiers = length(var.trusted_principals) == 0 ? ["ec2.amazonaws.com"] : var.trusted_principals
    }
  }
}

resource "aws_iam_role" "controller" {
  name               = "cloudnet-${var.cluster}"
  description        = "cloudnet controller of cluster ${var.cluster}"
  assume_role_policy = data.aws_iam_policy_document.trust.json
  tags               = local.tags
}

resource "aws_iam_instance_profile" "controller" {
  name = "cloudnet-${var.cluster}"
  role = aws_iam_role.controller.name
  tags = local.tags
}

# What it may do: read, for which EC2 knows no narrower scope, and write in this VPC.

data "aws_iam_policy_document" "routes" {
  statement {
    sid = "Read"
    actions = [
      "ec2:DescribeInstances",
      "ec2:DescribeManagedPrefixLists",
      "ec2:DescribeRouteTables",
      "servicequotas:GetServiceQuota",
    ]
    resources = ["*"]
  }

  statement {
    sid       = "WriteRoutes"
    actions   = ["ec2:CreateRoute", "ec2:DeleteRoute", "ec2:ReplaceRoute"]
    resources = length(var.route_table_ids) == 0 ? local.all_tables : local.few_tables

    condition {
      test     = "ArnEquals"
      variable = "ec2:Vpc"
      values   = [local.vpc]
    }
  }

  statement {
    sid       = "SwitchSourceCheckOff"
    actions   = ["ec2:ModifyNetworkInterfaceAttribute"]
    resources = ["${local.ec2}:network-interface/*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:Vpc"
      values   = [local.vpc]
    }
  }
}

resource "aws_iam_role_policy" "routes" {
  name   = "routes"
  role   = aws_iam_role.controller.id
  policy = data.aws_iam_policy_document.routes.json
}

# Native addresses: interfaces of its own are made with its tag, and only such are detached and deleted.

data "aws_iam_policy_document" "addresses" {
  statement {
    sid       = "ReadAddresses"
    actions   = ["ec2:DescribeInstanceTypes", "ec2:DescribeNetworkInterfaces", "ec2:DescribeSubnets"]
    resources = ["*"]
  }

  statement {
    sid = "AssignAddresses"
    actions = [
      "ec2:AssignIpv6Addresses",
      "ec2:AssignPrivateIpAddresses",
      "ec2:UnassignIpv6Addresses",
      "ec2:UnassignPrivateIpAddresses",
    ]
    resources = ["${local.ec2}:network-interface/*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:Vpc"
      values   = [local.vpc]
    }
  }

  statement {
    sid       = "MakeInterfacesWithTag"
    actions   = ["ec2:CreateNetworkInterface"]
    resources = ["${local.ec2}:network-interface/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/cloudnet.io/cluster"
      values   = [var.cluster]
    }
  }

  statement {
    sid       = "MakeInterfacesHere"
    actions   = ["ec2:CreateNetworkInterface"]
    resources = ["${local.ec2}:security-group/*", "${local.ec2}:subnet/*"]

    condition {
      test     = "ArnEquals"
      variable = "ec2:Vpc"
      values   = [local.vpc]
    }
  }

  statement {
    sid       = "TagWhatIsMade"
    actions   = ["ec2:CreateTags"]
    resources = ["${local.ec2}:network-interface/*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["CreateNetworkInterface"]
    }
  }

  statement {
    sid       = "AttachToInstances"
    actions   = ["ec2:AttachNetworkInterface", "ec2:DetachNetworkInterface"]
    resources = ["${local.ec2}:instance/*"]
  }

  statement {
    sid       = "HandleOwnInterfaces"
    actions   = ["ec2:AttachNetworkInterface", "ec2:DeleteNetworkInterface", "ec2:DetachNetworkInterface"]
    resources = ["${local.ec2}:network-interface/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/cloudnet.io/cluster"
      values   = [var.cluster]
    }
  }
}

resource "aws_iam_role_policy" "addresses" {
  count  = var.native_addresses ? 1 : 0
  name   = "addresses"
  role   = aws_iam_role.controller.id
  policy = data.aws_iam_policy_document.addresses.json
}

# Looking before anything is written.

data "aws_iam_policy_document" "preflight" {
  statement {
    sid       = "ReadSecurityGroups"
    actions   = ["ec2:DescribeSecurityGroups"]
    resources = ["*"]
  }
}

resource "aws_iam_role_policy" "preflight" {
  count  = var.preflight ? 1 : 0
  name   = "preflight"
  role   = aws_iam_role.controller.id
  policy = data.aws_iam_policy_document.preflight.json
}

# What nodes must hear of each other: the tunnel, the probes, and pods by their own addresses.

resource "aws_vpc_security_group_ingress_rule" "vxlan" {
  security_group_id            = var.node_security_group_id
  referenced_security_group_id = var.node_security_group_id
  description                  = "cloudnet: VXLAN between nodes"
  ip_protocol                  = "udp"
  from_port                    = var.vxlan_port
  to_port                      = var.vxlan_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "probes" {
  security_group_id            = var.node_security_group_id
  referenced_security_group_id = var.node_security_group_id
  description                  = "cloudnet: path probes between nodes"
  ip_protocol                  = "udp"
  from_port                    = var.probe_port
  to_port                      = var.probe_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "pods" {
  for_each          = toset(var.pod_cidrs)
  security_group_id = var.node_security_group_id
  description       = "cloudnet: pods"
  ip_protocol       = "-1"
  cidr_ipv4         = strcontains(each.value, ":") ? null : each.value
  cidr_ipv6         = strcontains(each.value, ":") ? each.value : null
  tags              = local.tags
}
