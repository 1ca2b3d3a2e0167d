//! What strangers do to the kernel, and a kube-proxy.

use closeby::render::tables::{superseded_ids, table_ids};
use closeby_nft::wire::FOREIGN_HOOK;
use closeby_nft::{Chain, Data, Key, Name, Ruleset, Statement, TableId};

/// What somebody else does to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// Everything goes.
    Flush,
    /// One table of ours goes.
    DeleteTable,
    /// Some elements of ours go.
    DeleteElements,
    /// An element comes to a set of ours.
    AddElement,
    /// A base chain of ours loses its rules.
    FlushChain,
    /// kube-proxy makes its tables, or makes them anew.
    KubeProxy,
    /// Something happens in a table of theirs.
    Elsewhere,
}

/// Does it to what the kernel holds.
pub(super) fn edit(ruleset: &mut Ruleset, what: Foreign) {
    let [first, second] = table_ids();
    match what {
        Foreign::Flush => ruleset.tables.clear(),
        Foreign::DeleteTable => drop(ruleset.tables.remove(&second)),
        Foreign::KubeProxy => {
            for id in superseded_ids() {
                let rules = vec![vec![Statement::Counter]];
                let hook = Some(FOREIGN_HOOK);
                let table = ruleset.tables.entry(id).or_default();
                let chain = Chain { hook, rules };
                table.chains.insert(Name::from("nat-prerouting"), chain);
            }
        }
        Foreign::Elsewhere => {
            let id = TableId { name: Name::from("theirs"), ..first };
            let chains = &mut ruleset.tables.entry(id).or_default().chains;
            let name = Name::from(format!("chain{}", chains.len() % 4).as_str());
            if chains.remove(&name).is_none() {
                chains.insert(name, Chain::default());
            }
        }
        Foreign::DeleteElements | Foreign::AddElement | Foreign::FlushChain => {
            let Some(table) = ruleset.tables.get_mut(&first) else { return };
            match what {
                Foreign::AddElement => {
                    if let Some(set) = table.sets.get_mut("vips") {
                        let stranger = Key::new().addr([10, 0, 0, 99].into());
                        set.elements.insert(stranger, Data::None);
                    }
                }
                Foreign::FlushChain => {
                    if let Some(chain) = table.chains.get_mut("nat-prerouting") {
                        chain.rules.clear();
                    }
                }
                _ => {
                    if let Some(set) = table.sets.get_mut("endpoints") {
                        set.elements.clear();
                    }
                }
            }
        }
    }
}
