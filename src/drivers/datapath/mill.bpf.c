// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * The bind half of the datapath: where a container's program listens and what it reaches on its own machine
 * (product.md section 4). Attached to the cgroup that holds those of all containers of one Mill.
 *
 * Every rule leaves what it has made of an address as it is: when another version of Mill takes over, its programs are
 * attached before these are taken away, and for a moment both are asked, one after the other.
 *
 * Addresses are IPv6 throughout; those of IPv4 stand in them as ::ffff:a.b.c.d. Ports are in the machine's byte order.
 *
 * This file alone is not under Mill's own licence: the kernel lends some of what it calls to programs under the GPL only.
 */
#include "bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";

enum { REFUSE = 0, ALLOW = 1 };

/* How deep below the kernel's root the cgroup of all containers may lie: a machine in a machine has its own root. */
#define DEPTH_MAX 12

/* Layout 1, as layout.rs has it. A change of any of these structures is another layout: maps of another name. */

/* What is so for all containers. */
struct node {
	__u64 parent; /* id of the cgroup of all containers; 0: nothing is known yet */
	__be32 v4[4]; /* where mapped ports are reached, as ::ffff:a.b.c.d */
	__be32 v6[4]; /* and for sockets that speak IPv6 alone; all 0: there is none */
	__be32 net[2]; /* what all private IPv6 addresses begin with */
	__u16 first, last; /* the pool of mapped ports */
	__u16 own[6]; /* Mill's own ports; 0: none */
};

/* A container, by the id of its cgroup. */
struct entry {
	__be32 v4[4]; /* its private loopback, as ::ffff:127.a.b.c */
	__be32 v6[4]; /* and for IPv6; all 0: there is none */
	char name[96]; /* for those who look at the map */
};

/* A port of a container; or, cgroup 0, of whichever. */
struct port {
	__u64 cgroup;
	__u16 number;
	__u8 protocol;
	__u8 kind;
	__u32 zero;
};

/* Kinds of numbers: what the program binds; what stands for it; the latter, whoever's it is. */
enum { DECLARED = 0, MAPPED = 1, TAKEN = 2 };

/* What stands for a port. How the program has bound it, in either family, is written here alone. */
struct mapping {
	__u32 number;
	__u16 bound_v4;
	__u16 bound_v6;
};

/* Kinds of undeclared numbers: those that the program has bound in a family. */
enum { BOUND_V4 = 4, BOUND_V6 = 6 };

/* How a port was bound: not at all, on any address, on a loopback address, on another. */
enum { UNBOUND = 0, ON_ANY = 1, ON_LOOPBACK = 2, ON_OTHER = 3 };

/* An address and a port. */
struct place {
	__be32 at[4];
	__u32 port;
};

/* What a socket's owner believes of it. */
struct belief {
	__u32 kind;
	__u32 has_peer;
	struct place asked, real; /* its own end */
	struct place peer_asked, peer_real;
};

/* Kinds of sockets: reached from everywhere; from its own container; not ours to map; whatever the kernel gave it. */
enum { IS_MAPPED = 1, IS_PRIVATE = 2, IS_FREE = 3, IS_OPEN = 4 };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct node);
} node SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct entry);
} entries SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct port);
	__type(value, struct mapping);
} ports SEC(".maps");

/* Undeclared ports that containers have bound. The oldest are forgotten. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct port);
	__type(value, __u32);
} bound SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC | BPF_F_CLONE);
	__type(key, __s32);
	__type(value, struct belief);
} beliefs SEC(".maps");

INLINE int is_v4(const __be32 *at)
{
	return !at[0] && !at[1] && at[2] == htonl(0xffff);
}

/* The unspecified address of IPv6. */
INLINE int is_any6(const __be32 *at)
{
	return !at[0] && !at[1] && !at[2] && !at[3];
}

INLINE int is_any(const __be32 *at)
{
	return !at[0] && !at[1] && !at[3] && (!at[2] || at[2] == htonl(0xffff));
}

INLINE int is_loopback(const __be32 *at)
{
	if (is_v4(at))
		return ntohl(at[3]) >> 24 == 127;
	return !at[0] && !at[1] && !at[2] && at[3] == htonl(1);
}

INLINE int is_multicast(const __be32 *at)
{
	if (is_v4(at))
		return ntohl(at[3]) >> 28 == 0xe;
	return ntohl(at[0]) >> 24 == 0xff;
}

/* Where clouds tell a machine its secrets. */
INLINE int is_metadata(const __be32 *at)
{
	if (is_v4(at))
		return at[3] == htonl(0xa9fea9fe);
	return at[0] == htonl(0xfd000ec2) && !at[1] && !at[2] && at[3] == htonl(0x254);
}

INLINE int is_same(const __be32 *at, const __be32 *other)
{
	return at[0] == other[0] && at[1] == other[1] && at[2] == other[2] && at[3] == other[3];
}

INLINE void set(__be32 *at, const __be32 *to)
{
	at[0] = to[0];
	at[1] = to[1];
	at[2] = to[2];
	at[3] = to[3];
}

INLINE void set_v4(__be32 *at, __u32 address)
{
	at[0] = 0;
	at[1] = 0;
	at[2] = htonl(0xffff);
	at[3] = htonl(address);
}

INLINE void set_v6(__be32 *at, __u32 last)
{
	at[0] = 0;
	at[1] = 0;
	at[2] = 0;
	at[3] = htonl(last);
}

INLINE struct node *the_node(void)
{
	__u32 only = 0;
	return bpf_map_lookup_elem(&node, &only);
}

/* The cgroup of the container that the caller belongs to: the one right below that of all containers. */
INLINE __u64 container(const struct node *node)
{
	if (!node->parent)
		return 0;
#pragma unroll
	for (int level = 1; level < DEPTH_MAX; level++) {
		if (bpf_get_current_ancestor_cgroup_id(level) == node->parent)
			return bpf_get_current_ancestor_cgroup_id(level + 1);
	}
	return 0;
}

/* What is spoken on a socket; 0: nothing that is mapped. */
INLINE __u8 spoken(const struct bpf_sock_addr *ctx)
{
	switch (ctx->protocol) {
	case IPPROTO_TCP:
	case IPPROTO_MPTCP:
		return IPPROTO_TCP;
	case IPPROTO_UDP:
		return IPPROTO_UDP;
	default:
		return 0;
	}
}

INLINE struct mapping *number(__u64 cgroup, __u32 port, __u8 protocol, __u8 kind)
{
	struct port key = { .cgroup = cgroup, .number = port, .protocol = protocol, .kind = kind };
	return bpf_map_lookup_elem(&ports, &key);
}

INLINE __u32 bound_on(const __be32 *at)
{
	return is_any(at) ? ON_ANY : is_loopback(at) ? ON_LOOPBACK : ON_OTHER;
}

/* How the container has bound an undeclared port in a family. */
INLINE __u32 has_bound(__u64 cgroup, __u32 port, __u8 protocol, __u8 family)
{
	struct port key = { .cgroup = cgroup, .number = port, .protocol = protocol, .kind = family };
	__u32 *on = bpf_map_lookup_elem(&bound, &key);
	return on ? *on : UNBOUND;
}

INLINE void note_bound(__u64 cgroup, __u32 port, __u8 protocol, __u8 family, __u32 on)
{
	struct port key = { .cgroup = cgroup, .number = port, .protocol = protocol, .kind = family };
	bpf_map_update_elem(&bound, &key, &on, BPF_ANY);
}

INLINE int is_in_pool(const struct node *node, __u32 port)
{
	return port >= node->first && port <= node->last;
}

INLINE int is_mills(const struct node *node, __u32 port)
{
	return port && (port == node->own[0] || port == node->own[1] || port == node->own[2] || port == node->own[3] ||
			port == node->own[4] || port == node->own[5]);
}

/* Whether it is the node's own address. */
INLINE int is_here(const struct node *node, const __be32 *at)
{
	return is_same(at, node->v4) || (is_same(at, node->v6) && !is_any6(at));
}

/* Whether it is the container's private loopback. */
INLINE int is_private(const struct entry *entry, const __be32 *at)
{
	return is_same(at, entry->v4) || (is_same(at, entry->v6) && !is_any6(at));
}

/* Whether it is one of all containers' private IPv6 addresses, or the node's among them. */
INLINE int is_in_net(const struct node *node, const __be32 *at)
{
	return node->net[0] && at[0] == node->net[0] && at[1] == node->net[1];
}

/* Whether the socket speaks IPv6 alone. Its option can't be asked for here, but its field can be read. */
INLINE int is_v6only(struct bpf_sock_addr *ctx, __u8 protocol)
{
	struct sock *sk = protocol == IPPROTO_UDP ? bpf_skc_to_udp6_sock(ctx->sk) : bpf_skc_to_tcp6_sock(ctx->sk);
	__u64 bits = 0;
	if (!sk)
		return 0;
	bpf_probe_read_kernel(&bits, __builtin_preserve_field_info(sk->__sk_common.skc_ipv6only, FIELD_BYTE_SIZE),
			      (const char *)sk + __builtin_preserve_field_info(sk->__sk_common.skc_ipv6only, FIELD_BYTE_OFFSET));
	bits <<= __builtin_preserve_field_info(sk->__sk_common.skc_ipv6only, FIELD_LSHIFT_U64);
	bits >>= __builtin_preserve_field_info(sk->__sk_common.skc_ipv6only, FIELD_RSHIFT_U64);
	return bits != 0;
}

/* Only what comes over the loopback device gets to this socket, whatever a route or a neighbour thinks. */
INLINE void keep_inside(void *ctx)
{
	__u32 lo = htonl(0x6c6f0000);
	bpf_setsockopt(ctx, SOL_SOCKET, SO_BINDTODEVICE, &lo, sizeof(lo));
}

/* How `at` is bound: in which family, for a socket that may speak both. */
INLINE int binds_v4(struct bpf_sock_addr *ctx, const __be32 *at, __u8 protocol)
{
	return is_v4(at) || (is_any6(at) && !is_v6only(ctx, protocol));
}

INLINE int bind_private(struct bpf_sock_addr *ctx, struct place *place, const struct entry *entry, __u64 id, __u8 protocol)
{
	__u32 on = bound_on(place->at);
	if (binds_v4(ctx, place->at, protocol)) {
		set(place->at, entry->v4);
		note_bound(id, place->port, protocol, BOUND_V4, on);
	} else {
		if (is_any6(entry->v6))
			return REFUSE;
		set(place->at, entry->v6);
		note_bound(id, place->port, protocol, BOUND_V6, on);
	}
	keep_inside(ctx);
	return IS_PRIVATE;
}

INLINE int bind_mapped(struct bpf_sock_addr *ctx, struct place *place, const struct node *node, struct mapping *mapping,
		       __u8 protocol)
{
	__u32 on = bound_on(place->at);
	if (binds_v4(ctx, place->at, protocol)) {
		set(place->at, node->v4);
		mapping->bound_v4 = on;
	} else {
		if (is_any6(node->v6))
			return REFUSE;
		set(place->at, node->v6);
		mapping->bound_v6 = on;
	}
	place->port = mapping->number;
	return IS_MAPPED;
}

/* Where a container's socket is bound instead; what kind of socket it is then, or REFUSE. */
INLINE int bind_of(struct bpf_sock_addr *ctx, struct place *place, const struct node *node, const struct entry *entry,
		   __u64 id, __u8 protocol)
{
	int everywhere = is_any(place->at) || is_loopback(place->at);
	int here = is_here(node, place->at);
	if (is_private(entry, place->at))
		return IS_PRIVATE;
	if (!place->port) {
		if (is_loopback(place->at))
			return bind_private(ctx, place, entry, id, protocol);
		return is_in_net(node, place->at) && !here ? REFUSE : IS_OPEN;
	}
	struct mapping *mapping = number(id, place->port, protocol, DECLARED);
	if (mapping && (everywhere || here))
		return bind_mapped(ctx, place, node, mapping, protocol);
	if (here && number(id, place->port, protocol, MAPPED))
		return IS_MAPPED;
	if (everywhere)
		return bind_private(ctx, place, entry, id, protocol);
	if (here && !is_in_pool(node, place->port) && !is_mills(node, place->port))
		return bind_private(ctx, place, entry, id, protocol);
	return REFUSE;
}

INLINE int bind(struct bpf_sock_addr *ctx, struct place *place)
{
	__u8 protocol = spoken(ctx);
	struct node *node = the_node();
	if (!protocol || !node || !node->parent || is_multicast(place->at))
		return ALLOW;
	struct belief *belief = bpf_sk_storage_get(&beliefs, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	/* Another version of this program has been here. */
	if (belief && belief->kind && is_same(place->at, belief->real.at) && place->port == belief->real.port)
		return ALLOW;
	__u64 id = container(node);
	struct entry *entry = id ? bpf_map_lookup_elem(&entries, &id) : 0;
	if (!entry) {
		if (number(0, place->port, protocol, TAKEN) || is_mills(node, place->port))
			return REFUSE;
		if (belief)
			belief->kind = IS_FREE;
		return ALLOW;
	}
	struct place asked = *place;
	int kind = bind_of(ctx, place, node, entry, id, protocol);
	if (kind == REFUSE)
		return REFUSE;
	if (belief) {
		belief->kind = kind;
		belief->asked = asked;
		belief->real = *place;
	}
	return ALLOW;
}

/* What a program reaches on its own side, in the family in which it has bound the port. `is_datagram`: the kernel doesn't
 * let a datagram of a socket that isn't connected change from IPv6 to IPv4. */
INLINE int reach_own(struct place *place, const __be32 *v4, const __be32 *v6, int has_v4, int has_v6, int is_datagram)
{
	if (is_v4(place->at)) {
		set(place->at, v4);
		return ALLOW;
	}
	/* What isn't known is a port that the kernel gave: to a socket that is bound to ::1, or listens everywhere. */
	if (has_v6 || (!has_v4 && !is_any6(v6))) {
		set(place->at, v6);
		return ALLOW;
	}
	if (is_datagram)
		return REFUSE;
	set(place->at, v4);
	return ALLOW;
}

/* Whether it is a datagram from a mapped port: an answer goes to whoever asked, on this machine too, though that one's
 * address, like the node's, may be a loopback address. */
INLINE int is_answer(struct bpf_sock_addr *ctx, __u8 protocol)
{
	struct belief *belief = protocol == IPPROTO_UDP ? bpf_sk_storage_get(&beliefs, ctx->sk, 0, 0) : 0;
	return belief && belief->kind == IS_MAPPED;
}

INLINE int reach(struct bpf_sock_addr *ctx, struct place *place, int is_datagram)
{
	if (is_metadata(place->at))
		return REFUSE;
	__u8 protocol = spoken(ctx);
	struct node *node = the_node();
	if (!protocol || !node || !node->parent)
		return ALLOW;
	int here = is_here(node, place->at);
	int own = is_loopback(place->at) || is_any(place->at);
	if (!here && !own && !is_in_net(node, place->at))
		return ALLOW;
	__u64 id = container(node);
	struct entry *entry = id ? bpf_map_lookup_elem(&entries, &id) : 0;
	if (!entry || is_private(entry, place->at))
		return ALLOW;
	struct place asked = *place;
	struct mapping *mapping = own ? number(id, place->port, protocol, DECLARED) : 0;
	int verdict;
	if (mapping) {
		place->port = mapping->number;
		verdict = reach_own(place, node->v4, node->v6, mapping->bound_v4, mapping->bound_v6, is_datagram);
	} else {
		int has_v4 = has_bound(id, place->port, protocol, BOUND_V4);
		int has_v6 = has_bound(id, place->port, protocol, BOUND_V6);
		/* Somebody's mapped port, or a service of the node's. Its address may be a loopback address, all that it has. */
		int others = own ? is_in_pool(node, place->port) || is_answer(ctx, protocol) : 1;
		if (here && others && ((!has_v4 && !has_v6) || is_mills(node, place->port)))
			return ALLOW;
		/* Another container's private address. */
		if (!here && !own)
			return REFUSE;
		verdict = reach_own(place, entry->v4, entry->v6, has_v4, has_v6, is_datagram);
	}
	struct belief *belief = bpf_sk_storage_get(&beliefs, ctx->sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (belief && verdict == ALLOW) {
		belief->has_peer = 1;
		belief->peer_asked = asked;
		belief->peer_real = *place;
	}
	return verdict;
}

/* The loopback address of the same kind. */
INLINE void show_loopback(__be32 *at)
{
	if (is_v4(at))
		set_v4(at, 0x7f000001);
	else
		set_v6(at, 1);
}

/* Shows an address of its own as what it was bound by. `is_waiting`: not one end of a connection, which has one address. */
INLINE void show_bound(__be32 *at, __u32 on, int is_waiting, int is_v6)
{
	if (on == ON_LOOPBACK)
		show_loopback(at);
	else if (on == ON_ANY && is_waiting && is_v6)
		set_v6(at, 0);
	else if (on == ON_ANY && is_waiting)
		set_v4(at, 0);
}

/* Where a program believes its own end to be. */
INLINE int shows_local(struct bpf_sock_addr *ctx, struct place *place, int is_v6)
{
	int is_waiting = ctx->sk->state == TCP_LISTEN || ctx->sk->state == TCP_CLOSE;
	struct belief *belief = bpf_sk_storage_get(&beliefs, ctx->sk, 0, 0);
	if (belief && (belief->kind == IS_MAPPED || belief->kind == IS_PRIVATE) && is_same(place->at, belief->real.at) &&
	    (!belief->real.port || belief->real.port == place->port)) {
		if (is_waiting || !is_any(belief->asked.at))
			set(place->at, belief->asked.at);
		else if (belief->kind == IS_PRIVATE)
			show_loopback(place->at);
		if (belief->asked.port)
			place->port = belief->asked.port;
		return 1;
	}
	/* Of a multipath socket only its parts are bound: how is remembered by the port. */
	__u8 protocol = spoken(ctx);
	struct node *node = the_node();
	if (!node || !node->parent)
		return 0;
	__u64 id = container(node);
	struct entry *entry = id ? bpf_map_lookup_elem(&entries, &id) : 0;
	if (!entry)
		return 0;
	if (is_private(entry, place->at)) {
		__u32 on = has_bound(id, place->port, protocol, is_v4(place->at) ? BOUND_V4 : BOUND_V6);
		show_loopback(place->at);
		show_bound(place->at, on, is_waiting, is_v6);
		return 1;
	}
	if (!is_here(node, place->at))
		return 0;
	struct mapping *mapped = number(id, place->port, protocol, MAPPED);
	if (!mapped)
		return 0;
	place->port = mapped->number;
	struct mapping *mapping = number(id, place->port, protocol, DECLARED);
	if (mapping)
		show_bound(place->at, is_v4(place->at) ? mapping->bound_v4 : mapping->bound_v6, is_waiting, is_v6);
	return 1;
}

/* Where a program believes the other end to be. */
INLINE int shows_peer(struct bpf_sock_addr *ctx, struct place *place)
{
	struct belief *belief = bpf_sk_storage_get(&beliefs, ctx->sk, 0, 0);
	if (belief && belief->has_peer && is_same(place->at, belief->peer_real.at) && place->port == belief->peer_real.port) {
		*place = belief->peer_asked;
		return 1;
	}
	struct node *node = the_node();
	if (!node || !node->parent)
		return 0;
	int here = is_here(node, place->at);
	if (!here && !is_in_net(node, place->at) && !is_loopback(place->at))
		return 0;
	__u64 id = container(node);
	struct entry *entry = id ? bpf_map_lookup_elem(&entries, &id) : 0;
	if (!entry)
		return 0;
	if (is_private(entry, place->at)) {
		show_loopback(place->at);
		return 1;
	}
	struct mapping *mapping = here ? number(id, place->port, spoken(ctx), MAPPED) : 0;
	if (!mapping)
		return 0;
	place->port = mapping->number;
	show_loopback(place->at);
	return 1;
}

/* A connection to its own side comes from its own side: servers trust localhost. A socket that was bound keeps what it
 * has. (A datagram's sender must be reached by its address, in whichever way: it keeps the node's.) */
INLINE void come_from_loopback4(struct bpf_sock_addr *ctx)
{
	struct sockaddr_in from = { .family = AF_INET, .address = htonl(0x7f000001) };
	bpf_bind(ctx, &from, sizeof(from));
}

INLINE void come_from_loopback6(struct bpf_sock_addr *ctx, const struct place *place)
{
	struct sockaddr_in6 from = { .family = AF_INET6 };
	if (is_v4(place->at))
		set_v4(from.address, 0x7f000001);
	else
		set_v6(from.address, 1);
	bpf_bind(ctx, &from, sizeof(from));
}

/* Whether a connection was turned to the program's own side. */
INLINE int is_own_side(struct bpf_sock_addr *ctx, const struct place *asked, const struct place *place)
{
	return spoken(ctx) == IPPROTO_TCP && (!is_same(asked->at, place->at) || asked->port != place->port);
}

INLINE struct place read4(struct bpf_sock_addr *ctx)
{
	struct place place = { .port = ntohs(ctx->user_port) };
	place.at[2] = htonl(0xffff);
	place.at[3] = ctx->user_ip4;
	return place;
}

INLINE void write4(struct bpf_sock_addr *ctx, const struct place *place)
{
	ctx->user_ip4 = place->at[3];
	ctx->user_port = htons(place->port);
}

INLINE struct place read6(struct bpf_sock_addr *ctx)
{
	struct place place = { .port = ntohs(ctx->user_port) };
	place.at[0] = ctx->user_ip6[0];
	place.at[1] = ctx->user_ip6[1];
	place.at[2] = ctx->user_ip6[2];
	place.at[3] = ctx->user_ip6[3];
	return place;
}

INLINE void write6(struct bpf_sock_addr *ctx, const struct place *place)
{
	ctx->user_ip6[0] = place->at[0];
	ctx->user_ip6[1] = place->at[1];
	ctx->user_ip6[2] = place->at[2];
	ctx->user_ip6[3] = place->at[3];
	ctx->user_port = htons(place->port);
}

SEC("cgroup/bind4")
int bind4(struct bpf_sock_addr *ctx)
{
	struct place place = read4(ctx);
	int verdict = bind(ctx, &place);
	if (verdict == ALLOW)
		write4(ctx, &place);
	return verdict;
}

SEC("cgroup/bind6")
int bind6(struct bpf_sock_addr *ctx)
{
	struct place place = read6(ctx);
	int verdict = bind(ctx, &place);
	if (verdict == ALLOW)
		write6(ctx, &place);
	return verdict;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct place asked = read4(ctx), place = asked;
	int verdict = reach(ctx, &place, 0);
	if (verdict == ALLOW) {
		write4(ctx, &place);
		if (is_own_side(ctx, &asked, &place))
			come_from_loopback4(ctx);
	}
	return verdict;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct place asked = read6(ctx), place = asked;
	int verdict = reach(ctx, &place, 0);
	if (verdict == ALLOW) {
		write6(ctx, &place);
		if (is_own_side(ctx, &asked, &place))
			come_from_loopback6(ctx, &place);
	}
	return verdict;
}

SEC("cgroup/sendmsg4")
int sendmsg4(struct bpf_sock_addr *ctx)
{
	struct place place = read4(ctx);
	int verdict = reach(ctx, &place, 1);
	if (verdict == ALLOW)
		write4(ctx, &place);
	return verdict;
}

SEC("cgroup/sendmsg6")
int sendmsg6(struct bpf_sock_addr *ctx)
{
	struct place place = read6(ctx);
	int verdict = reach(ctx, &place, 1);
	if (verdict == ALLOW)
		write6(ctx, &place);
	return verdict;
}

SEC("cgroup/recvmsg4")
int recvmsg4(struct bpf_sock_addr *ctx)
{
	struct place place = read4(ctx);
	if (shows_peer(ctx, &place))
		write4(ctx, &place);
	return ALLOW;
}

SEC("cgroup/recvmsg6")
int recvmsg6(struct bpf_sock_addr *ctx)
{
	struct place place = read6(ctx);
	if (shows_peer(ctx, &place))
		write6(ctx, &place);
	return ALLOW;
}

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct place place = read4(ctx);
	if (shows_peer(ctx, &place))
		write4(ctx, &place);
	return ALLOW;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct place place = read6(ctx);
	if (shows_peer(ctx, &place))
		write6(ctx, &place);
	return ALLOW;
}

SEC("cgroup/getsockname4")
int getsockname4(struct bpf_sock_addr *ctx)
{
	struct place place = read4(ctx);
	if (shows_local(ctx, &place, 0))
		write4(ctx, &place);
	return ALLOW;
}

SEC("cgroup/getsockname6")
int getsockname6(struct bpf_sock_addr *ctx)
{
	struct place place = read6(ctx);
	if (shows_local(ctx, &place, 1))
		write6(ctx, &place);
	return ALLOW;
}

/* What listens without being reached on a mapped or a private port isn't reached from outside at all: a port that the
 * kernel gave, with a bind or without one. */
SEC("sockops")
int listens(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->op == BPF_SOCK_OPS_TCP_LISTEN_CB ? ctx->sk : 0;
	if (!sk)
		return ALLOW;
	struct belief *belief = bpf_sk_storage_get(&beliefs, sk, 0, 0);
	if (!belief || !belief->kind || belief->kind == IS_OPEN)
		keep_inside(ctx);
	return ALLOW;
}
