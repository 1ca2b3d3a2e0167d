//! The numbers of `linux/netfilter/nf_tables.h` and of libnftables' user data
//! that are in use. No logic.
//!
//! Invariant: a name here is the kernel's name without its common prefix.

#![allow(missing_docs, reason = "the names are the kernel's, which documents them")]

/// `NFNL_SUBSYS_NFTABLES`.
pub const SUBSYS: u8 = 10;

/// `NFT_MSG_*`.
pub mod msg {
    pub const NEWTABLE: u8 = 0;
    pub const GETTABLE: u8 = 1;
    pub const DELTABLE: u8 = 2;
    pub const NEWCHAIN: u8 = 3;
    pub const GETCHAIN: u8 = 4;
    pub const DELCHAIN: u8 = 5;
    pub const NEWRULE: u8 = 6;
    pub const GETRULE: u8 = 7;
    pub const DELRULE: u8 = 8;
    pub const NEWSET: u8 = 9;
    pub const GETSET: u8 = 10;
    pub const DELSET: u8 = 11;
    pub const NEWSETELEM: u8 = 12;
    pub const GETSETELEM: u8 = 13;
    pub const DELSETELEM: u8 = 14;
    pub const NEWGEN: u8 = 15;
    pub const GETGEN: u8 = 16;
}

/// `NFPROTO_*`.
pub mod family {
    pub const IPV4: u8 = 2;
    pub const IPV6: u8 = 10;
}

/// `NFTA_TABLE_*`.
pub mod table {
    pub const NAME: u16 = 1;
    pub const FLAGS: u16 = 2;
}

/// `NFTA_CHAIN_*`, `NFTA_HOOK_*`.
pub mod chain {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 3;
    pub const HOOK: u16 = 4;
    pub const POLICY: u16 = 5;
    pub const TYPE: u16 = 7;
    pub const FLAGS: u16 = 10;
    /// `NFT_CHAIN_HW_OFFLOAD`.
    pub const FLAG_OFFLOAD: u32 = 2;
    /// `NFT_CHAIN_BINDING`.
    pub const FLAG_BINDING: u32 = 4;
    pub const HOOK_HOOKNUM: u16 = 1;
    pub const HOOK_PRIORITY: u16 = 2;
    /// `NF_ACCEPT`, as a policy.
    pub const ACCEPT: u32 = 1;
}

/// `NFTA_RULE_*`.
pub mod rule {
    pub const TABLE: u16 = 1;
    pub const CHAIN: u16 = 2;
    pub const EXPRESSIONS: u16 = 4;
    pub const COMPAT: u16 = 5;
    /// A comment.
    pub const USERDATA: u16 = 7;
}

/// `NFTA_SET_*`, `NFT_SET_*`.
pub mod set {
    pub const TABLE: u16 = 1;
    pub const NAME: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const KEY_TYPE: u16 = 4;
    pub const KEY_LEN: u16 = 5;
    pub const DATA_TYPE: u16 = 6;
    pub const DATA_LEN: u16 = 7;
    pub const POLICY: u16 = 8;
    pub const DESC: u16 = 9;
    pub const ID: u16 = 10;
    pub const TIMEOUT: u16 = 11;
    pub const GC_INTERVAL: u16 = 12;
    pub const USERDATA: u16 = 13;
    pub const OBJ_TYPE: u16 = 15;
    pub const EXPR: u16 = 17;
    pub const EXPRESSIONS: u16 = 18;
    pub const DESC_SIZE: u16 = 1;
    pub const FLAG_ANONYMOUS: u32 = 1;
    pub const FLAG_INTERVAL: u32 = 4;
    pub const FLAG_MAP: u32 = 8;
    pub const FLAG_TIMEOUT: u32 = 0x10;
    /// `NFT_SET_EVAL`: nft's `dynamic`.
    pub const FLAG_DYNAMIC: u32 = 0x20;
    /// `NFT_DATA_VERDICT`.
    pub const DATA_VERDICT: u32 = 0xffff_ff00;
}

/// `NFTA_SET_ELEM_LIST_*`, `NFTA_SET_ELEM_*`.
pub mod elem {
    pub const LIST_TABLE: u16 = 1;
    pub const LIST_SET: u16 = 2;
    pub const LIST_ELEMENTS: u16 = 3;
    /// `NFTA_LIST_ELEM`.
    pub const ITEM: u16 = 1;
    pub const KEY: u16 = 1;
    pub const DATA: u16 = 2;
    pub const FLAGS: u16 = 3;
    pub const EXPR: u16 = 7;
    pub const KEY_END: u16 = 10;
    pub const FLAG_INTERVAL_END: u32 = 1;
    pub const FLAG_CATCHALL: u32 = 2;
}

/// `NFTA_DATA_*`, `NFTA_VERDICT_*` and the verdicts.
pub mod data {
    pub const VALUE: u16 = 1;
    pub const VERDICT: u16 = 2;
    pub const VERDICT_CODE: u16 = 1;
    pub const VERDICT_CHAIN: u16 = 2;
    pub const DROP: u32 = 0;
    pub const ACCEPT: u32 = 1;
    pub const JUMP: u32 = 0xffff_fffd;
    pub const GOTO: u32 = 0xffff_fffc;
    pub const RETURN: u32 = 0xffff_fffb;
}

/// `NFTA_GEN_*`.
pub mod generation {
    pub const ID: u16 = 1;
}

/// `NFTA_LIST_*`, `NFTA_EXPR_*` and the attributes of each expression.
pub mod expr {
    pub const LIST_ITEM: u16 = 1;
    pub const NAME: u16 = 1;
    pub const DATA: u16 = 2;

    pub const PAYLOAD_DREG: u16 = 1;
    pub const PAYLOAD_BASE: u16 = 2;
    pub const PAYLOAD_OFFSET: u16 = 3;
    pub const PAYLOAD_LEN: u16 = 4;
    pub const BASE_NETWORK: u32 = 1;
    pub const BASE_TRANSPORT: u32 = 2;

    pub const META_DREG: u16 = 1;
    pub const META_KEY: u16 = 2;
    pub const META_SREG: u16 = 3;
    pub const KEY_PRIORITY: u32 = 2;
    pub const KEY_MARK: u32 = 3;
    pub const KEY_IIFNAME: u32 = 6;
    pub const KEY_L4PROTO: u32 = 16;

    pub const CT_DREG: u16 = 1;
    pub const CT_KEY: u16 = 2;
    pub const CT_STATE: u32 = 0;
    pub const CT_STATUS: u32 = 2;

    pub const FIB_DREG: u16 = 1;
    pub const FIB_RESULT: u16 = 2;
    pub const FIB_FLAGS: u16 = 3;
    pub const FIB_ADDRTYPE: u32 = 3;
    pub const FIB_SADDR: u32 = 1;
    pub const FIB_DADDR: u32 = 2;

    pub const NUMGEN_DREG: u16 = 1;
    pub const NUMGEN_MODULUS: u16 = 2;
    pub const NUMGEN_TYPE: u16 = 3;
    pub const NUMGEN_OFFSET: u16 = 4;
    pub const NUMGEN_RANDOM: u32 = 1;

    pub const BITWISE_SREG: u16 = 1;
    pub const BITWISE_DREG: u16 = 2;
    pub const BITWISE_LEN: u16 = 3;
    pub const BITWISE_MASK: u16 = 4;
    pub const BITWISE_XOR: u16 = 5;
    pub const BITWISE_OP: u16 = 6;

    pub const CMP_SREG: u16 = 1;
    pub const CMP_OP: u16 = 2;
    pub const CMP_DATA: u16 = 3;
    pub const CMP_EQ: u32 = 0;
    pub const CMP_NEQ: u32 = 1;

    pub const LOOKUP_SET: u16 = 1;
    pub const LOOKUP_SREG: u16 = 2;
    pub const LOOKUP_DREG: u16 = 3;
    pub const LOOKUP_FLAGS: u16 = 5;
    /// `NFT_LOOKUP_F_INV`.
    pub const LOOKUP_INVERTED: u32 = 1;

    pub const DYNSET_SET: u16 = 1;
    pub const DYNSET_OP: u16 = 3;
    pub const DYNSET_SREG_KEY: u16 = 4;
    pub const DYNSET_SREG_DATA: u16 = 5;
    pub const DYNSET_TIMEOUT: u16 = 6;
    pub const DYNSET_UPDATE: u32 = 1;
    pub const DYNSET_DELETE: u32 = 2;

    pub const IMMEDIATE_DREG: u16 = 1;
    pub const IMMEDIATE_DATA: u16 = 2;

    pub const NAT_TYPE: u16 = 1;
    pub const NAT_FAMILY: u16 = 2;
    pub const NAT_ADDR_MIN: u16 = 3;
    pub const NAT_ADDR_MAX: u16 = 4;
    pub const NAT_PROTO_MIN: u16 = 5;
    pub const NAT_PROTO_MAX: u16 = 6;
    pub const NAT_FLAGS: u16 = 7;
    pub const NAT_DNAT: u32 = 1;
    /// `NF_NAT_RANGE_MAP_IPS | NF_NAT_RANGE_PROTO_SPECIFIED`, which the kernel
    /// adds by itself and lists.
    pub const NAT_IMPLIED_FLAGS: u32 = 3;

    pub const MASQ_FLAGS: u16 = 1;
    /// `NF_NAT_RANGE_PROTO_RANDOM_FULLY`.
    pub const FULLY_RANDOM: u32 = 0x10;

    pub const REJECT_TYPE: u16 = 1;
    pub const REJECT_CODE: u16 = 2;
    pub const REJECT_UNREACH: u32 = 0;
    pub const REJECT_TCP_RST: u32 = 1;
    /// `ICMP_PORT_UNREACH`.
    pub const PORT_UNREACH_V4: u8 = 3;
    /// `ICMPV6_PORT_UNREACH`.
    pub const PORT_UNREACH_V6: u8 = 4;

    pub const COUNTER_BYTES: u16 = 1;
    pub const COUNTER_PACKETS: u16 = 2;
    pub const COUNTER_PAD: u16 = 3;
}

/// Type numbers of nft (`datatype.h`), listed with a set for nft alone.
pub mod datatype {
    pub const INTEGER: u32 = 4;
    pub const IPV4_ADDR: u32 = 7;
    pub const IPV6_ADDR: u32 = 8;
    pub const INET_PROTO: u32 = 12;
    pub const INET_SERVICE: u32 = 13;
    pub const MARK: u32 = 19;
    /// `TYPE_CLASSID`.
    pub const PRIORITY: u32 = 23;
    /// `TYPE_BITS`: of one type in the number of a concatenation.
    pub const BITS: u32 = 6;
}

/// The user data of a set (`libnftnl/udata.h`) and of its `typeof` (nft's
/// `expression.h`, `proto.h`). Numbers are in host order.
pub mod udata {
    pub const KEY_BYTE_ORDER: u8 = 0;
    pub const DATA_BYTE_ORDER: u8 = 1;
    pub const KEY_TYPEOF: u8 = 3;
    pub const DATA_TYPEOF: u8 = 4;
    pub const DATA_INTERVAL: u8 = 6;

    pub const ORDER_NONE: u32 = 0;
    pub const ORDER_HOST: u32 = 1;
    pub const ORDER_BIG: u32 = 2;

    /// In a `typeof`: which expression, then its own content.
    pub const EXPR: u8 = 0;
    pub const EXPR_CONTENT: u8 = 1;

    pub const VERDICT: u32 = 1;
    pub const VALUE: u32 = 4;
    pub const PAYLOAD: u32 = 7;
    pub const META: u32 = 9;
    pub const CONCAT: u32 = 13;
    pub const NUMGEN: u32 = 23;

    pub const PAYLOAD_DESC: u8 = 0;
    pub const PAYLOAD_FIELD: u8 = 1;
    /// Of a payload that nft has no name for: from where, in bits.
    pub const PAYLOAD_BASE: u8 = 2;
    pub const PAYLOAD_OFFSET: u8 = 3;
    pub const PAYLOAD_LEN: u8 = 4;
    /// `proto_unknown`, and its only field.
    pub const DESC_UNKNOWN: u32 = 0;
    pub const BASE_NETWORK: u32 = 2;
    pub const DESC_TH: u32 = 11;
    pub const DESC_IP: u32 = 12;
    pub const DESC_IP6: u32 = 13;
    pub const TH_DPORT: u32 = 2;
    pub const IP_SADDR: u32 = 11;
    pub const IP_DADDR: u32 = 12;
    pub const IP6_SADDR: u32 = 8;
    pub const IP6_DADDR: u32 = 9;

    pub const META_KEY: u8 = 0;

    pub const NUMGEN_TYPE: u8 = 0;
    pub const NUMGEN_MODULUS: u8 = 1;
    pub const NUMGEN_OFFSET: u8 = 2;
    pub const NUMGEN_RANDOM: u32 = 1;
}
