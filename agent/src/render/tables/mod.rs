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
//! Load balancers that not everybody may use are checked before, while packets
//! still have their address: `restricted` in front, then one set for each length
//! of source range.
//!
//! - [`sets`]: the sets and maps by name, and what their elements look like;
//! - [`class`]: the small number that says which chain picks the endpoint;
//! - [`elements`]: what one Service contributes;
//! - [`chains`]: the chains, which depend on the node and on the classes in use;
//! - [`gone`]: what is to be swept for, for whoever comes after us;
//! - `ids`: which tables are ours, and which may not be there beside them;
//! - `source`: what packets are drawn from, and the chains that draw;
//! - [`sticky`]: session affinity: tokens, and the rules that remember them;
//! - [`sizes`]: how many elements a set is declared for.

pub mod chains;
pub mod class;
pub mod elements;
pub mod gone;
mod ids;
pub mod sets;
pub mod sizes;
mod source;
pub mod sticky;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use closeby_nft::{Data, Elements, Family, Key, Name, Ruleset, Set, Table, Verdict};
use imbl::OrdMap;
use imbl::ordmap::DiffItem;

use crate::compile::{Facts, NodePlan, ServicePlan};
use crate::model::ServiceName;
use class::Class;
use elements::Item;
pub use ids::{TABLE, superseded_ids, table_id, table_ids};
use sets::SetKind;
use sizes::Sizes;

/// A plan as tables, and what it takes to render the next one.
#[derive(Clone, Debug)]
pub struct Rendered {
    facts: Option<Arc<Facts>>,
    services: OrdMap<ServiceName, Arc<ServicePlan>>,
    sizes: Sizes,
    contents: BTreeMap<Family, Content>,
    counts: bool,
    ruleset: Ruleset,
}

impl Rendered {
    /// Nothing, to render the first plan from. `sizes` are those of the sets
    /// that the kernel has: a set that is large enough is not made anew.
    #[must_use]
    pub fn nothing(sizes: Sizes) -> Self {
        Self {
            facts: None,
            services: OrdMap::new(),
            sizes,
            contents: BTreeMap::new(),
            counts: false,
            ruleset: Ruleset::default(),
        }
    }

    /// The tables.
    #[must_use]
    pub fn ruleset(&self) -> &Ruleset {
        &self.ruleset
    }

    /// Whether connections are counted in them.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.counts
    }

    /// Endpoints programmed, once for each frontend that leads to them.
    #[must_use]
    pub fn endpoint_count(&self) -> usize {
        let maps = [SetKind::Endpoints, SetKind::NodeEndpoints];
        let contents = self.contents.values();
        contents
            .flat_map(|content| maps.map(|kind| content.elements(kind).map_or(0, Elements::len)))
            .sum()
    }

    /// The rendering of `plan`, starting from this one.
    #[must_use]
    pub fn next(&self, plan: &NodePlan) -> Self {
        let same_node = self.facts.as_ref() == Some(&plan.facts);
        let mut next = if same_node { self.clone() } else { self.blank_for(plan) };
        let services = std::mem::replace(&mut next.services, plan.services.clone());
        let differences = services.diff(&plan.services);
        let changes: Vec<Change<'_>> = differences.map(|item| Change::of(&item)).collect();
        // All that goes first: a frontend may pass from one Service to another.
        for change in &changes {
            next.take(change.gone(), Content::remove);
        }
        for change in &changes {
            next.take(change.come(), Content::add);
        }
        next.write_tables();
        next
    }

    /// Puts these into the set of UDP frontends that vanished.
    pub fn remember(&mut self, gone: impl Fn(Family) -> Elements) {
        let mut is_news = false;
        for (family, content) in &mut self.contents {
            let (known, gone) = (content.elements_mut(SetKind::UdpGone), gone(*family));
            if *known != gone {
                *known = gone;
                is_news = true;
            }
        }
        if is_news {
            self.write_tables();
        }
    }

    /// Tables without Services for another node or other settings.
    fn blank_for(&self, plan: &NodePlan) -> Self {
        let mut blank = Self::nothing(self.sizes.clone());
        blank.facts = Some(plan.facts.clone());
        for &family in &plan.facts.families {
            let content = Content::without_services(&plan.facts, family);
            let sets = SetKind::of_node(&plan.facts, family).map(|kind| {
                let spec = kind.spec(family, blank.sizes.get(family, kind), false);
                (kind.name(), Set { spec, elements: Elements::new() })
            });
            let table = Table { sets: sets.collect(), chains: OrdMap::new() };
            blank.ruleset.tables.insert(table_id(family), table);
            blank.contents.insert(family, content);
        }
        blank
    }

    /// Does the same to all these items, each in the content of its family.
    fn take(
        &mut self,
        items: impl Iterator<Item = (Family, Item)>,
        mut act: impl FnMut(&mut Content, Item, &Facts),
    ) {
        let Some(facts) = &self.facts else {
            return;
        };
        for (family, item) in items {
            if let Some(content) = self.contents.get_mut(&family) {
                act(content, item, facts);
            }
        }
    }

    /// Puts what changed into the tables.
    fn write_tables(&mut self) {
        let Some(facts) = &self.facts else { return };
        for (family, content) in &self.contents {
            self.sizes.fit_all(*family, &content.elements);
        }
        self.counts = self.sizes.leading_away() <= facts.counters_max;
        for (family, content) in &mut self.contents {
            let Some(table) = self.ruleset.tables.get_mut(&table_id(*family)) else {
                continue;
            };
            for gone in content.sources_checked(facts) {
                table.sets.remove(&*SetKind::Allowed(gone).as_str());
            }
            for (kind, elements) in &content.elements {
                let size = self.sizes.get(*family, *kind);
                let counted = self.counts && kind.leads_away();
                let is_as_before = |set: &Set| {
                    set.elements.ptr_eq(elements)
                        && (set.spec.size, set.spec.counted) == (size, counted)
                };
                if !table.sets.get(&*kind.as_str()).is_some_and(is_as_before) {
                    let spec = kind.spec(*family, size, counted);
                    let set = Set { spec, elements: elements.clone() };
                    table.sets.insert(kind.name(), set);
                }
            }
            table.chains = content.chains.clone();
        }
    }
}

/// What the table of one family holds.
#[derive(Clone, Debug)]
struct Content {
    family: Family,
    /// Sets that are there only while they hold something are not kept empty.
    elements: BTreeMap<SetKind, Elements>,
    chains: OrdMap<Name, closeby_nft::Chain>,
    /// The lengths of source ranges that the chains check; `None` if there are
    /// no such chains.
    checked: Option<BTreeSet<u8>>,
    /// How many use what several may use; an element that one uses is merely
    /// there.
    uses: OrdMap<Shared, u32>,
}

/// What several frontends may use: it is there as long as one does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Shared {
    Element(SetKind, Key),
    Class(Class),
}

impl Content {
    fn without_services(facts: &Facts, family: Family) -> Self {
        let kinds = SetKind::of_node(facts, family);
        let mut elements: BTreeMap<_, _> = kinds.map(|kind| (kind, Elements::new())).collect();
        if let Some(node_ips) = elements.get_mut(&SetKind::NodeIps) {
            *node_ips = elements::node_ips(facts, family);
        }
        let chains = chains::of_node(facts, family);
        let mut content = Self { family, elements, chains, checked: None, uses: OrdMap::new() };
        for class in Class::prepared() {
            // A use that nobody ever gives up.
            content.add(Item::Class(class), facts);
        }
        content
    }

    fn elements(&self, kind: SetKind) -> Option<&Elements> {
        self.elements.get(&kind)
    }

    fn elements_mut(&mut self, kind: SetKind) -> &mut Elements {
        self.elements.entry(kind).or_default()
    }

    /// Brings the chains that check source ranges in line with the ranges;
    /// returns the lengths that are no more.
    fn sources_checked(&mut self, facts: &Facts) -> Vec<u8> {
        self.elements.retain(|kind, set| !(matches!(kind, SetKind::Allowed(_)) && set.is_empty()));
        let lens = self.elements.keys().filter_map(|kind| match kind {
            SetKind::Allowed(len) => Some(*len),
            _ => None,
        });
        let is_any_restricted =
            self.elements(SetKind::Restricted).is_some_and(|set| !set.is_empty());
        let wanted = is_any_restricted.then(|| lens.collect::<BTreeSet<u8>>());
        if wanted == self.checked {
            return Vec::new();
        }
        let before = std::mem::replace(&mut self.checked, wanted);
        let none = BTreeSet::new();
        for (name, _) in chains::of_sources(facts, self.family, &none) {
            self.chains.remove(&name);
        }
        if let Some(lens) = &self.checked {
            self.chains.extend(chains::of_sources(facts, self.family, lens));
        }
        let now = self.checked.as_ref().unwrap_or(&none);
        before.unwrap_or_default().difference(now).copied().collect()
    }

    fn add(&mut self, item: Item, facts: &Facts) {
        match item {
            Item::Own(kind, key, data) => {
                self.elements_mut(kind).insert(key, data);
            }
            Item::Pool(kind, at, slots) => self.elements_mut(kind).replace_group(at, slots),
            Item::Shared(kind, key) => {
                if self.elements_mut(kind).insert(key.clone(), Data::None).is_some() {
                    *self.uses.entry(Shared::Element(kind, key)).or_insert(1) += 1;
                }
            }
            Item::Class(class) => {
                let uses = self.uses.entry(Shared::Class(class)).or_insert(0);
                *uses += 1;
                if *uses == 1 {
                    self.add_class(class, facts);
                }
            }
        }
    }

    fn remove(&mut self, item: Item, facts: &Facts) {
        match item {
            Item::Own(kind, key, _) => {
                self.elements_mut(kind).remove(&key);
            }
            Item::Pool(kind, at, _) => self.elements_mut(kind).replace_group(at, Vec::new()),
            Item::Shared(kind, key) => {
                let shared = Shared::Element(kind, key.clone());
                if self.uses.contains_key(&shared) {
                    self.count_down(&shared, 1);
                } else {
                    self.elements_mut(kind).remove(&key);
                }
            }
            Item::Class(class) => {
                if self.count_down(&Shared::Class(class), 0) {
                    self.remove_class(class, facts);
                }
            }
        }
    }

    /// Counts one use less; at `least` nothing is counted any more, which it
    /// says.
    fn count_down(&mut self, shared: &Shared, least: u32) -> bool {
        let Some(uses) = self.uses.get_mut(shared) else {
            return false;
        };
        *uses = uses.saturating_sub(1);
        let done = *uses <= least;
        if done {
            self.uses.remove(shared);
        }
        done
    }

    fn add_class(&mut self, class: Class, facts: &Facts) {
        let verdict = Data::Verdict(Verdict::Goto(class.chain()));
        self.elements_mut(class.dispatch()).insert(class.key(), verdict);
        self.chains.extend(chains::of_class(facts, self.family, class));
    }

    fn remove_class(&mut self, class: Class, facts: &Facts) {
        self.elements_mut(class.dispatch()).remove(&class.key());
        for (name, _) in chains::of_class(facts, self.family, class) {
            self.chains.remove(&name);
        }
        // Classes of one count share chains.
        for kept in class.with_other_kinds() {
            if self.uses.contains_key(&Shared::Class(kept)) {
                self.chains.extend(chains::of_class(facts, self.family, kept));
            }
        }
    }
}

/// What becomes of a Service.
enum Change<'a> {
    Comes(&'a ServicePlan),
    Goes(&'a ServicePlan),
    /// The items that are no longer, and those that are new: an element that
    /// stays is not touched.
    Turns(Vec<(Family, Item)>, Vec<(Family, Item)>),
}

impl<'a> Change<'a> {
    fn of(item: &DiffItem<'a, 'a, ServiceName, Arc<ServicePlan>>) -> Self {
        match item {
            DiffItem::Add(_, new) => Self::Comes(new),
            DiffItem::Remove(_, old) => Self::Goes(old),
            DiffItem::Update { old: (_, old), new: (_, new) } => {
                let mut old: Vec<_> = items(old).map(Some).collect();
                let mut new: Vec<_> = items(new).map(Some).collect();
                for (old, new) in old.iter_mut().zip(&mut new) {
                    if old == new {
                        (*old, *new) = (None, None);
                    }
                }
                let left = |items: Vec<Option<_>>| items.into_iter().flatten().collect();
                Self::Turns(left(old), left(new))
            }
        }
    }

    fn gone(&self) -> impl Iterator<Item = (Family, Item)> {
        let (whole, part) = match self {
            Self::Comes(_) => (None, None),
            Self::Goes(old) => (Some(*old), None),
            Self::Turns(old, _) => (None, Some(old)),
        };
        whole.into_iter().flat_map(items).chain(part.into_iter().flatten().cloned())
    }

    fn come(&self) -> impl Iterator<Item = (Family, Item)> {
        let (whole, part) = match self {
            Self::Comes(new) => (Some(*new), None),
            Self::Goes(_) => (None, None),
            Self::Turns(_, new) => (None, Some(new)),
        };
        whole.into_iter().flat_map(items).chain(part.into_iter().flatten().cloned())
    }
}

/// What a Service contributes.
fn items(service: &ServicePlan) -> impl Iterator<Item = (Family, Item)> {
    service.ports.iter().flat_map(|port| {
        let mut items = Vec::with_capacity(8);
        elements::of_port(port, &mut |item| items.push((port.family, item)));
        items
    })
}
