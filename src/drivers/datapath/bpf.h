// SPDX-License-Identifier: MIT OR GPL-2.0-only
/*
 * What mill.bpf.c needs of the kernel's own headers, and no more: so that the object can be built on any machine with a
 * clang, and comes out the same on all of them. The layouts of the contexts are the kernel's promise to programs
 * (include/uapi/linux/bpf.h); of structures that are no promise only a field's name is used, and the loader finds out
 * where this kernel has it (CO-RE).
 */
#ifndef MILL_BPF_H
#define MILL_BPF_H

typedef unsigned char __u8;
typedef unsigned short __u16;
typedef unsigned int __u32;
typedef int __s32;
typedef unsigned long long __u64;
typedef __u16 __be16;
typedef __u32 __be32;

#define SEC(name) __attribute__((section(name), used))
#define INLINE static inline __attribute__((always_inline))

/* A map is described by the types of the fields of a variable, which the loader reads. */
#define __uint(name, value) int (*name)[value]
#define __type(name, of) typeof(of) *name

enum {
	BPF_MAP_TYPE_HASH = 1,
	BPF_MAP_TYPE_ARRAY = 2,
	BPF_MAP_TYPE_LRU_HASH = 9,
	BPF_MAP_TYPE_SK_STORAGE = 24,
};

enum {
	BPF_ANY = 0,
	/* Of a map: no memory is taken before there is something to hold. */
	BPF_F_NO_PREALLOC = 1,
	/* Of a socket's storage: what comes of a listening socket has what it has. */
	BPF_F_CLONE = 1 << 9,
	/* Of a look-up in it. */
	BPF_SK_STORAGE_GET_F_CREATE = 1,
};

enum {
	BPF_SOCK_OPS_TCP_LISTEN_CB = 11,
	TCP_CLOSE = 7,
	TCP_LISTEN = 10,
	AF_INET = 2,
	AF_INET6 = 10,
	IPPROTO_TCP = 6,
	IPPROTO_UDP = 17,
	IPPROTO_MPTCP = 262,
	SOL_SOCKET = 1,
	SO_BINDTODEVICE = 25,
};

struct bpf_sock {
	__u32 bound_dev_if;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 mark;
	__u32 priority;
	__u32 src_ip4;
	__u32 src_ip6[4];
	__u32 src_port;
	__be16 dst_port;
	__u16 : 16;
	__u32 dst_ip4;
	__u32 dst_ip6[4];
	__u32 state;
	__s32 rx_queue_mapping;
};

/* In network byte order, save where a comment says otherwise. */
struct bpf_sock_addr {
	__u32 user_family;
	__u32 user_ip4;
	__u32 user_ip6[4];
	__u32 user_port;
	__u32 family;
	__u32 type;
	__u32 protocol;
	__u32 msg_src_ip4;
	__u32 msg_src_ip6[4];
	union {
		struct bpf_sock *sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
};

struct bpf_sock_ops {
	__u32 op;
	__u32 args[4];
	__u32 family;
	__u32 remote_ip4;
	__u32 local_ip4;
	__u32 remote_ip6[4];
	__u32 local_ip6[4];
	__u32 remote_port;
	__u32 local_port;
	__u32 is_fullsock;
	__u32 snd_cwnd;
	__u32 srtt_us;
	__u32 bpf_sock_ops_cb_flags;
	__u32 state;
	__u32 rtt_min;
	__u32 snd_ssthresh;
	__u32 rcv_nxt;
	__u32 snd_nxt;
	__u32 snd_una;
	__u32 mss_cache;
	__u32 ecn_flags;
	__u32 rate_delivered;
	__u32 rate_interval_us;
	__u32 packets_out;
	__u32 retrans_out;
	__u32 total_retrans;
	__u32 segs_in;
	__u32 data_segs_in;
	__u32 segs_out;
	__u32 data_segs_out;
	__u32 lost_out;
	__u32 sacked_out;
	__u32 sk_txhash;
	__u64 bytes_received;
	__u64 bytes_acked;
	union {
		struct bpf_sock *sk;
		__u64 : 64;
	} __attribute__((aligned(8)));
};

struct sockaddr_in {
	__u16 family;
	__be16 port;
	__be32 address;
	__u64 zero;
};

struct sockaddr_in6 {
	__u16 family;
	__be16 port;
	__be32 flow;
	__be32 address[4];
	__u32 scope;
};

/* The kernel's own: only names count. */
struct sock_common {
	unsigned char skc_ipv6only : 1;
} __attribute__((preserve_access_index));

struct sock {
	struct sock_common __sk_common;
} __attribute__((preserve_access_index));

static void *(*bpf_map_lookup_elem)(void *map, const void *key) = (void *)1;
static long (*bpf_map_update_elem)(void *map, const void *key, const void *value, __u64 flags) = (void *)2;
static long (*bpf_setsockopt)(void *ctx, int level, int name, void *value, int length) = (void *)49;
static long (*bpf_bind)(void *ctx, void *address, int length) = (void *)64;
static void *(*bpf_sk_storage_get)(void *map, void *sk, void *value, __u64 flags) = (void *)107;
static long (*bpf_probe_read_kernel)(void *to, __u32 size, const void *from) = (void *)113;
static __u64 (*bpf_get_current_ancestor_cgroup_id)(int level) = (void *)123;
static void *(*bpf_skc_to_tcp6_sock)(void *sk) = (void *)136;
static void *(*bpf_skc_to_udp6_sock)(void *sk) = (void *)140;

/* Kinds of what __builtin_preserve_field_info tells of a field, as clang numbers them. */
enum { FIELD_BYTE_OFFSET = 0, FIELD_BYTE_SIZE = 1, FIELD_LSHIFT_U64 = 4, FIELD_RSHIFT_U64 = 5 };

#define htons(number) ((__be16)__builtin_bswap16(number))
#define ntohs(number) ((__u16)__builtin_bswap16(number))
#define htonl(number) ((__be32)__builtin_bswap32(number))
#define ntohl(number) ((__u32)__builtin_bswap32(number))

#endif
