//! Which kernel features are missing, by name, before anything is programmed.
//!
//! PURE but for the kernel that is asked: a transaction is checked and never
//! committed. A missing module would otherwise surface as a bare "no such
//! file" on one rule of a thousand (siderolabs/pkgs #951).

use closeby_nft::delta::{Delta, Op, Verb};
use closeby_nft::kernel::{CommitError, Kernel};
use closeby_nft::ruleset::{ChainType, HookPoint};
use closeby_nft::statement::Side;
use closeby_nft::{
    Batch, DataKind, Family, Field, Hook, L4Proto, Name, Rule, SetSpec, Statement, TableId,
};

/// The table that is checked and never made.
const TABLE: &str = "closeby-probe";

/// A feature that our rules need.
struct Feature {
    /// What it is, with the kernel's option for it.
    name: &'static str,
    /// A rule that needs it.
    rule: Rule,
    /// The chain it may stand in.
    hook: Hook,
}

/// What the kernel lacks for this family, in words; empty if it has all.
///
/// # Errors
/// When the kernel cannot be asked at all.
pub fn missing(kernel: &mut dyn Kernel, family: Family) -> Result<Vec<String>, CommitError> {
    let features = features(family);
    let table = TableId { family, name: Name::from(TABLE) };
    let op = |verb| Op { table: table.clone(), verb };
    let mut ops = vec![
        op(Verb::AddTable),
        op(Verb::AddSet { set: Name::from("endpoints"), spec: endpoints_spec() }),
    ];
    let before = ops.len();
    for (index, feature) in features.iter().enumerate() {
        let chain = Name::from(format!("probe-{index}"));
        ops.push(op(Verb::AddChain { chain: chain.clone(), hook: Some(feature.hook) }));
        ops.push(op(Verb::AddRule { chain, rule: feature.rule.clone() }));
    }
    let refusals = match kernel.check(&Batch::of(&Delta { ops })) {
        Ok(()) => return Ok(Vec::new()),
        Err(CommitError::Refused(refusals)) => refusals,
        Err(error) => return Err(error),
    };
    let mut words = Vec::new();
    for refusal in refusals {
        let feature = refusal
            .op
            .and_then(|op| op.checked_sub(before))
            .and_then(|op| features.get(op / 2))
            .map_or("nf_tables with maps (CONFIG_NF_TABLES)", |feature| feature.name);
        let line = format!("{family}: {feature}: {}", refusal.errno.desc());
        if !words.contains(&line) {
            words.push(line);
        }
    }
    Ok(words)
}

fn features(family: Family) -> Vec<Feature> {
    let nat = |point, priority| Hook { kind: ChainType::Nat, point, priority };
    let filter = Hook { kind: ChainType::Filter, point: HookPoint::Input, priority: 0 };
    let prerouting = nat(HookPoint::Prerouting, -100);
    let fib = match family {
        Family::Ip => "fib (CONFIG_NFT_FIB_IPV4)",
        Family::Ip6 => "fib (CONFIG_NFT_FIB_IPV6)",
    };
    let key = [Field::Daddr, Field::L4Proto, Field::Dport, Field::Random { modulus: 2 }].to_vec();
    vec![
        Feature {
            name: "dnat to a map keyed by numgen (CONFIG_NFT_NAT, CONFIG_NFT_NUMGEN)",
            rule: vec![Statement::Dnat { key, map: Name::from("endpoints") }],
            hook: prerouting,
        },
        Feature { name: fib, rule: vec![Statement::FibLocal(Side::Daddr)], hook: prerouting },
        Feature {
            name: "masquerade (CONFIG_NFT_MASQ)",
            rule: vec![Statement::Masquerade],
            hook: nat(HookPoint::Postrouting, 100),
        },
        Feature {
            name: "ct (CONFIG_NFT_CT)",
            rule: vec![Statement::CtStateNew, Statement::Counter],
            hook: filter,
        },
        Feature {
            name: "reject (CONFIG_NFT_REJECT)",
            rule: vec![Statement::L4Proto(L4Proto::Tcp), Statement::RejectTcpReset],
            hook: filter,
        },
    ]
}

fn endpoints_spec() -> SetSpec {
    SetSpec {
        key: vec![Field::Daddr, Field::L4Proto, Field::Dport, Field::Random { modulus: 2 }],
        data: DataKind::Fields(vec![Field::Daddr, Field::Dport]),
        size: 1,
        dynamic: false,
        counted: false,
    }
}
