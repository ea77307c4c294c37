/* The fast path: packets of established connections of pods go from one device to the next without netfilter.
 *
 * Who may take it, this program never decides. nftables does: what is forwarded, belongs to an established connection
 * and is not translated gets one bit of the mark (MARK) when all rules have let it through. The device that such a
 * packet leaves by gives its flow a lease of one second; packets of a flow with a lease are forwarded right where
 * they come in. So once a second each flow is judged anew, and conntrack and neighbours see that it lives. Routes
 * are asked for every packet: whatever changes there takes effect at once.
 *
 * Refused, and left to the ordinary way: what begins or ends a connection, fragments, IP options, extension headers,
 * what does not fit the MTU, what the routes do not simply forward, what has a VLAN tag or a mark, and what would leave
 * by another device than the one that the lease is for. Nothing is ever dropped here.
 *
 * cloudnet/kernel/fastpath.py loads it; docs/design/fast-path.md says why and what it costs.
 */

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#define SECTION(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

enum {
	MARK = 0x00200000, /* cloudnet/policy/options.py has it, too */
	NEXT = -1,         /* TCX_NEXT: as if we were not there */
	IPV4 = 2, IPV6 = 10, /* AF_INET, AF_INET6 */
	FRAGMENT = 0x3fff, /* "more fragments" and the offset */
	FIN_SYN_RST = 7,
	ECHO = 8, ECHO_REPLY = 0, ECHO6 = 128, ECHO6_REPLY = 129,
	VXLAN = 4789, /* RFC 7348; where another port is set, this is slower, and nothing else */
	TCP_HEADER = 20, UDP_HEADER = 8,
};

static const __u64 LEASE = 1000000000; /* nanoseconds */

static void *(*const map_lookup)(void *map, const void *key) = (void *)BPF_FUNC_map_lookup_elem;
static long (*const map_update)(void *map, const void *key, const void *value, __u64 flags) =
	(void *)BPF_FUNC_map_update_elem;
static long (*const map_delete)(void *map, const void *key) = (void *)BPF_FUNC_map_delete_elem;
static __u64 (*const now)(void) = (void *)BPF_FUNC_ktime_get_coarse_ns;
static long (*const fib_lookup)(void *packet, struct bpf_fib_lookup *route, int size, __u32 flags) =
	(void *)BPF_FUNC_fib_lookup;
static long (*const redirect)(__u32 device, __u64 flags) = (void *)BPF_FUNC_redirect;
static long (*const redirect_peer)(__u32 device, __u64 flags) = (void *)BPF_FUNC_redirect_peer;

/* One direction of a connection; of pings, the type and the identifier stand where ports do. */
struct flow {
	__u32 enters; /* index of the device */
	__u8 family, protocol;
	__u16 unused;
	__u32 source[4], destination[4];
	__u16 from_port, to_port;
};

struct lease {
	__u64 until;  /* nanoseconds since the machine started */
	__u32 leaves; /* index of the device */
	__u32 is_pod; /* the other end of that device is a pod, and nothing is queued on the way */
};

/* What the loader makes a map of: least recently used flows give way when it is full. */
SECTION("maps") struct { __u32 key, value, entries; } leases = { sizeof(struct flow), sizeof(struct lease), 65536 };

struct headers {
	struct ethhdr *ethernet;
	struct iphdr *ip;   /* one of these two */
	struct ipv6hdr *ip6;
	__u32 length;       /* bytes, from the IP header to the data */
	__u8 flags;         /* FIN, SYN or RST */
};

INLINE __u16 big(__u16 value) { return __builtin_bswap16(value); }

INLINE int read_transport(void *at, void *end, struct flow *flow, struct headers *found)
{
	__u8 *bytes = at;
	__u16 *words = at;
	if (at + UDP_HEADER > end)
		return 0;
	flow->from_port = words[0];
	flow->to_port = words[1];
	switch (flow->protocol) {
	case IPPROTO_TCP:
		if (at + TCP_HEADER > end)
			return 0;
		found->flags = bytes[13] & FIN_SYN_RST;
		found->length += (bytes[12] >> 4) * 4;
		return 1;
	case IPPROTO_UDP:
		if (words[1] == big(VXLAN))
			return 0; /* for the node, in all likelihood: looking for a lease would be in vain */
		found->length += UDP_HEADER;
		return 1;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		flow->from_port = bytes[0];
		flow->to_port = words[2];
		return flow->family == IPV4 ? bytes[0] == ECHO || bytes[0] == ECHO_REPLY
					    : bytes[0] == ECHO6 || bytes[0] == ECHO6_REPLY;
	}
	return 0;
}

/* Read what the packet is; 0 when it has to go the ordinary way. */
INLINE int read_packet(struct __sk_buff *packet, struct flow *flow, struct headers *found)
{
	void *end = (void *)(long)packet->data_end;
	struct ethhdr *ethernet = (void *)(long)packet->data;
	struct iphdr *ip = (void *)(ethernet + 1);
	struct ipv6hdr *ip6 = (void *)(ethernet + 1);
	if ((void *)(ip + 1) > end)
		return 0;
	if (packet->vlan_present) /* it belongs to another device than this one */
		return 0;
	found->ethernet = ethernet;
	if (ethernet->h_proto == big(ETH_P_IP)) {
		if (ip->version != 4 || ip->ihl != 5 || ip->frag_off & big(FRAGMENT) || ip->ttl <= 1)
			return 0;
		found->ip = ip;
		found->length = sizeof *ip;
		flow->family = IPV4;
		flow->protocol = ip->protocol;
		flow->source[0] = ip->saddr;
		flow->destination[0] = ip->daddr;
		return read_transport(ip + 1, end, flow, found);
	}
	if (ethernet->h_proto == big(ETH_P_IPV6)) {
		if ((void *)(ip6 + 1) > end || ip6->version != 6 || ip6->hop_limit <= 1)
			return 0;
		found->ip6 = ip6;
		found->length = sizeof *ip6;
		flow->family = IPV6;
		flow->protocol = ip6->nexthdr;
		__builtin_memcpy(flow->source, &ip6->saddr, sizeof flow->source);
		__builtin_memcpy(flow->destination, &ip6->daddr, sizeof flow->destination);
		return read_transport(ip6 + 1, end, flow, found);
	}
	return 0;
}

/* Ask the routes; 0 when the answer is anything but "forward it there". */
INLINE int find_route(struct __sk_buff *packet, const struct flow *flow, const struct headers *found,
		      struct bpf_fib_lookup *route, __u32 how)
{
	route->family = flow->family;
	route->l4_protocol = flow->protocol;
	route->ifindex = flow->enters;
	if (found->ip) {
		route->tos = found->ip->tos;
		route->ipv4_src = flow->source[0];
		route->ipv4_dst = flow->destination[0];
	} else {
		__builtin_memcpy(route->ipv6_src, flow->source, sizeof route->ipv6_src);
		__builtin_memcpy(route->ipv6_dst, flow->destination, sizeof route->ipv6_dst);
	}
	if (flow->protocol == IPPROTO_TCP || flow->protocol == IPPROTO_UDP) {
		route->sport = flow->from_port;
		route->dport = flow->to_port;
	}
	if (fib_lookup(packet, route, sizeof *route, how))
		return 0;
	return !packet->gso_size || packet->gso_size + found->length <= route->mtu_result;
}

/* Rewrite the packet as a router does: RFC 1812 section 5.3.1, RFC 1624. */
INLINE void pass_on(const struct headers *found, const struct bpf_fib_lookup *route)
{
	__builtin_memcpy(found->ethernet->h_dest, route->dmac, ETH_ALEN);
	__builtin_memcpy(found->ethernet->h_source, route->smac, ETH_ALEN);
	if (found->ip) {
		__u32 sum = (__u32)found->ip->check + big(0x0100);
		found->ip->check = (__u16)(sum + (sum >= 0xffff));
		found->ip->ttl--;
	} else if (found->ip6) {
		found->ip6->hop_limit--;
	}
}

INLINE int try_to_forward(struct __sk_buff *packet, __u32 how)
{
	struct flow flow = {};
	struct headers found = {};
	struct bpf_fib_lookup route = {};
	if (packet->mark || !read_packet(packet, &flow, &found))
		return NEXT;
	flow.enters = packet->ifindex;
	struct lease *lease = map_lookup(&leases, &flow);
	if (!lease || lease->until < now())
		return NEXT;
	if (found.flags) {
		map_delete(&leases, &flow);
		return NEXT;
	}
	if (!find_route(packet, &flow, &found, &route, how) || route.ifindex != lease->leaves)
		return NEXT;
	pass_on(&found, &route);
	return (int)(lease->is_pod ? redirect_peer(route.ifindex, 0) : redirect(route.ifindex, 0));
}

/* On the way into the node; by the main table alone where no rule leads elsewhere: rules take longer than routes. */
SECTION("ingress/forward") int forward(struct __sk_buff *packet)
{
	return try_to_forward(packet, BPF_FIB_LOOKUP_DIRECT);
}

/* On the way into a node with rules. */
SECTION("ingress/forward_by_rules") int forward_by_rules(struct __sk_buff *packet)
{
	return try_to_forward(packet, 0);
}

INLINE int give_lease(struct __sk_buff *packet, __u32 is_pod)
{
	struct flow flow = {};
	struct headers found = {};
	if (!(packet->mark & MARK))
		return NEXT;
	packet->mark &= ~(__u32)MARK;
	if (!packet->ingress_ifindex || !read_packet(packet, &flow, &found) || found.flags)
		return NEXT;
	flow.enters = packet->ingress_ifindex;
	struct lease lease = { .until = now() + LEASE, .leaves = packet->ifindex, .is_pod = is_pod };
	map_update(&leases, &flow, &lease, BPF_ANY);
	return NEXT;
}

/* On the way out of the node. */
SECTION("egress/lease") int lease(struct __sk_buff *packet) { return give_lease(packet, 0); }

/* On the way out of the node into a pod. */
SECTION("egress/lease_pod") int lease_pod(struct __sk_buff *packet) { return give_lease(packet, 1); }

SECTION("license") char license_[] = "GPL"; /* what the kernel demands of callers of fib_lookup */
