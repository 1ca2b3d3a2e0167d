//! The tables `ip closeby` and `ip6 closeby` of a plan.
//!
//! The layout: no chain, rule or anonymous set per Service; natural keys; a
//! change is a few elements (`docs/decisions/0001-layout.md`).
//!
//! ```text
//! services ─▶ service-address ─classes─▶ a class: kind and count ─entries─▶ chain of that class ─endpoints─▶ dnat
//!          └▶ node-address ─node-classes─▶ ...
//! ```
//!
//! - [`sets`]: the sets and maps by name, and what their elements look like;
//! - [`class`]: the small number that says which chain picks the endpoint;
//! - [`elements`]: what one Service contributes;
//! - [`chains`]: the chains, which depend on the node and on the classes in use;
//! - [`sizes`]: how many elements a set is declared for.

pub mod chains;
pub mod class;
pub mod elements;
pub mod sets;
pub mod sizes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use closeby_nft::{Data, Family, Key, Name, Ruleset, Set, Table, TableId};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::compile::{Facts, NodePlan, ServicePlan};
use crate::model::ServiceName;
use class::Class;
use elements::Item;
use sets::SetKind;
use sizes::Sizes;

/// The name of our tables. They are ours alone, and nothing else is touched.
pub const TABLE: &str = "closeby";

/// The table of a family.
#[must_use]
pub fn table_id(family: Family) -> TableId {
    TableId { family, name: Name::from(TABLE) }
}

/// Our tables, whether or not both are programmed.
#[must_use]
pub fn table_ids() -> [TableId; 2] {
    Family::BOTH.map(table_id)
}

/// A plan as tables, and what it takes to render the next one.
#[derive(Clone, Debug)]
pub struct Rendered {
    facts: Option<Arc<Facts>>,
    services: OrdMap<ServiceName, Arc<ServicePlan>>,
    /// How many Services use what they share.
    uses: OrdMap<(Family, Shared), u32>,
    sizes: Sizes,
    ruleset: Ruleset,
}

/// What several Services may use: it is there as long as one does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Element(SetKind, Key),
    Class(Class),
}

impl Rendered {
    /// Nothing, to render the first plan from. `sizes` are those of the sets
    /// that the kernel has: a set that is large enough is not made anew.
    #[must_use]
    pub fn nothing(sizes: Sizes) -> Self {
        Self {
            facts: None,
            services: OrdMap::new(),
            uses: OrdMap::new(),
            sizes,
            ruleset: Ruleset::default(),
        }
    }

    /// The tables.
    #[must_use]
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// Endpoints programmed, once for each frontend that leads to them.
    #[must_use]
    pub fn endpoint_count(&self) -> usize {
        let maps = [SetKind::Endpoints, SetKind::NodeEndpoints];
        let sets = self.ruleset.tables.values().map(|table| &table.sets);
        sets.flat_map(|sets| maps.iter().filter_map(|map| sets.get(map.as_str())))
            .map(|set| set.elements.len())
            .sum()
    }

    /// The rendering of `plan`, starting from this one.
    #[must_use]
    pub fn next(&self, plan: &NodePlan) -> Self {
        let same_node = self.facts.as_ref() == Some(&plan.facts);
        let mut next = if same_node { self.clone() } else { self.blank_for(plan) };
        let mut changes: BTreeMap<Family, Changes> =
            plan.facts.families.iter().map(|family| (*family, Changes::default())).collect();
        for item in next.services.diff(&plan.services) {
            let (old, new) = match item {
                DiffItem::Add(_, new) => (None, Some(new)),
                DiffItem::Remove(_, old) => (Some(old), None),
                DiffItem::Update { old: (_, old), new: (_, new) } => (Some(old), Some(new)),
            };
            for (service, step) in [(old, -1), (new, 1)] {
                for port in service.iter().flat_map(|service| &service.ports) {
                    if let Some(changes) = changes.get_mut(&port.family) {
                        elements::of_port(port, &mut |item| changes.take(item, step));
                    }
                }
            }
        }
        for (family, changes) in changes {
            next.apply(family, changes, &plan.facts);
        }
        next.services = plan.services.clone();
        next
    }

    /// Tables without Services for another node or other settings.
    fn blank_for(&self, plan: &NodePlan) -> Self {
        let mut blank = Self::nothing(self.sizes.clone());
        blank.facts = Some(plan.facts.clone());
        for &family in &plan.facts.families {
            let mut table = Table::default();
            for kind in SetKind::of_node(&plan.facts, family) {
                let spec = kind.spec(blank.sizes.get(family, kind));
                table.sets.insert(kind.name(), Set { spec, elements: OrdMap::new() });
            }
            if let Some(set) = table.sets.get_mut(SetKind::NodeIps.as_str()) {
                set.elements = elements::node_ips(&plan.facts, family);
            }
            table.chains = chains::all(&plan.facts, family, &BTreeSet::new());
            blank.ruleset.tables.insert(table_id(family), table);
        }
        blank
    }

    fn apply(&mut self, family: Family, mut changes: Changes, facts: &Facts) {
        let classes_changed = self.count_uses(family, &mut changes);
        if classes_changed {
            changes.replace_dispatch(&self.classes(family));
        }
        let classes = classes_changed.then(|| self.classes(family));
        let Some(table) = self.ruleset.tables.get_mut(&table_id(family)) else {
            return;
        };
        for (kind, edit) in changes.edits {
            let Some(set) = table.sets.get_mut(kind.as_str()) else {
                continue;
            };
            edit.apply(&mut set.elements);
            let size = self.sizes.fit(family, kind, set.elements.len());
            if set.spec.size != size {
                set.spec.size = size;
            }
        }
        if let Some(classes) = classes {
            table.chains = chains::all(facts, family, &classes);
        }
    }

    /// Settles who shares what; turns first and last uses into edits. Returns
    /// whether the classes in use are others than before.
    fn count_uses(&mut self, family: Family, changes: &mut Changes) -> bool {
        let mut classes_changed = false;
        for (shared, step) in std::mem::take(&mut changes.uses) {
            let key = (family, shared);
            let before = self.uses.get(&key).copied().unwrap_or(0);
            let after = before.saturating_add_signed(step);
            if after == 0 {
                self.uses.remove(&key);
            } else if after != before {
                self.uses.insert(key.clone(), after);
            }
            if (before == 0) == (after == 0) {
                continue;
            }
            match key.1 {
                Shared::Class(_) => classes_changed = true,
                Shared::Element(kind, key) if after == 0 => changes.remove(kind, key),
                Shared::Element(kind, key) => changes.add(kind, key, Data::None),
            }
        }
        classes_changed
    }

    fn classes(&self, family: Family) -> BTreeSet<Class> {
        let from = (family, Shared::Class(Class::MIN));
        self.uses
            .range(from..)
            .map_while(|((of, shared), _)| match shared {
                Shared::Class(class) if *of == family => Some(*class),
                _ => None,
            })
            .collect()
    }
}

/// What a plan changes in the table of one family.
#[derive(Debug, Default)]
struct Changes {
    edits: BTreeMap<SetKind, Edit>,
    uses: BTreeMap<Shared, i32>,
}

/// What changes in one set: first removed, then added.
#[derive(Debug, Default)]
struct Edit {
    clear: bool,
    removed: Vec<Key>,
    added: Vec<(Key, Data)>,
}

impl Changes {
    /// Takes what a Service contributes (`step` 1) or no longer does (-1).
    fn take(&mut self, item: Item, step: i32) {
        match item {
            Item::Own(kind, key, data) if step > 0 => self.add(kind, key, data),
            Item::Own(kind, key, _) => self.remove(kind, key),
            Item::Shared(kind, key) => self.count(Shared::Element(kind, key), step),
            Item::Class(class) => self.count(Shared::Class(class), step),
        }
    }

    fn count(&mut self, shared: Shared, step: i32) {
        *self.uses.entry(shared).or_default() += step;
    }

    fn add(&mut self, kind: SetKind, key: Key, data: Data) {
        self.edits.entry(kind).or_default().added.push((key, data));
    }

    fn remove(&mut self, kind: SetKind, key: Key) {
        self.edits.entry(kind).or_default().removed.push(key);
    }

    fn replace_dispatch(&mut self, classes: &BTreeSet<Class>) {
        for kind in [SetKind::Entries, SetKind::Picks] {
            let added = elements::dispatch(kind, classes);
            self.edits.insert(kind, Edit { clear: true, removed: Vec::new(), added });
        }
    }
}

impl Edit {
    fn apply(self, elements: &mut OrdMap<Key, Data>) {
        if self.clear {
            *elements = OrdMap::new();
        }
        for key in &self.removed {
            elements.remove(key);
        }
        for (key, data) in self.added {
            elements.insert(key, data);
        }
    }
}
