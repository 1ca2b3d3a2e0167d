//! How close endpoints are to be, as prose would say it.

use closeby::compile::Topology;
use closeby::model::{Annotation, Distribution, Endpoint, Service, Strict};

use super::Oracle;
use super::endpoints::Known;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// What kube-proxy does.
    AsKubeProxy,
    /// By the field of the Service.
    Field(Distribution),
    /// By the annotation.
    Annotation(Distribution),
}

/// By what endpoints were chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// This node.
    Node,
    /// Its zone.
    Zone,
    /// The part of its locality in this place, and all that are wider.
    Part(usize),
    /// Nothing.
    All,
}

impl Oracle<'_> {
    /// Who says something first is heard.
    pub(super) fn wish(&self, service: &Service) -> Wish {
        let says = service.closeness;
        if self.facts.topology == Topology::Hints || says.by_hints {
            return Wish::AsKubeProxy;
        }
        if let Some(distribution) = says.distribution {
            return Wish::Field(distribution);
        }
        let annotation = match says.annotation {
            Annotation::Absent => self.cluster.annotation(&service.name.namespace),
            own => own,
        };
        match annotation {
            Annotation::Prefer(distribution) => Wish::Annotation(distribution),
            Annotation::Any | Annotation::Absent => Wish::AsKubeProxy,
        }
    }

    /// Whether a Service may ever use an endpoint.
    pub(super) fn is_within(&self, service: &Service, known: &Known<'_>) -> bool {
        let is_off = self.facts.topology == Topology::Hints;
        let own = &self.facts.locality;
        let [_, region, ..] = self.place(known);
        let [.., zone, _] = self.place_by_slice(known);
        match service.closeness.strict {
            _ if is_off || self.is_here(known.endpoint) => true,
            None => true,
            Some(Strict::Zone) => own.zone.is_some() && zone == text(own.zone.as_ref()),
            Some(Strict::Region) => own.region.is_some() && region == text(own.region.as_ref()),
        }
    }

    /// Those of the ready ones that are used, and by which step.
    pub(super) fn chosen<'a>(&self, wish: Wish, ready: &[Known<'a>]) -> (Vec<Known<'a>>, Step) {
        let all = || (ready.to_vec(), Step::All);
        let some = |test: &dyn Fn(&Known<'a>) -> bool| -> Option<Vec<Known<'a>>> {
            let some: Vec<Known<'a>> = ready.iter().filter(|known| test(known)).copied().collect();
            (!some.is_empty()).then_some(some)
        };
        let here = || some(&|known| self.is_here(known.endpoint));
        let all_name_nodes = ready.iter().all(|known| known.endpoint.hints.nodes.is_some());
        let all_name_zones = ready.iter().all(|known| known.endpoint.hints.zones.is_some());
        if let Wish::Annotation(distribution) = wish {
            let by_node = if distribution == Distribution::SameNode { here() } else { None };
            let by_parts = (1..=4).rev().find_map(|parts| {
                let own = &self.own_place()[..parts];
                let some = some(&|known| self.place(known)[..parts] == *own)?;
                // What has no name is no place.
                let named = own.iter().rposition(|part| !part.is_empty());
                Some((some, named.map_or(Step::All, Step::Part)))
            });
            let by_node = by_node.map(|some| (some, Step::Node));
            return by_node.or(by_parts).unwrap_or_else(all);
        }
        if all_name_nodes && let Some(ours) = some(&|known| self.is_for_node(known.endpoint)) {
            return (ours, Step::Node);
        }
        if wish == Wish::Field(Distribution::SameNode)
            && !all_name_nodes
            && let Some(here) = here()
        {
            return (here, Step::Node);
        }
        if all_name_zones {
            let ours = some(&|known| self.is_for_zone(known.endpoint));
            return ours.map_or_else(all, |some| (some, Step::Zone));
        }
        let zone = text(self.facts.locality.zone.as_ref());
        match wish {
            Wish::Field(_) if !zone.is_empty() => {
                let ours = some(&|known| self.place_by_slice(known)[2] == zone);
                ours.map_or_else(all, |some| (some, Step::Zone))
            }
            _ => all(),
        }
    }

    fn is_for_node(&self, endpoint: &Endpoint) -> bool {
        let mut nodes = endpoint.hints.nodes.iter().flat_map(|nodes| nodes.iter());
        nodes.any(|node| *node == self.facts.node)
    }

    fn is_for_zone(&self, endpoint: &Endpoint) -> bool {
        let mut zones = endpoint.hints.zones.iter().flat_map(|zones| zones.iter());
        zones.any(|zone| Some(zone) == self.facts.locality.zone.as_ref())
    }

    /// This node's network, region, zone and subzone.
    pub(super) fn own_place(&self) -> [&str; 4] {
        self.facts.locality.parts()
    }

    /// The same of an endpoint: as it says, or its Node; else as its slice says.
    pub(super) fn place<'a>(&'a self, known: &Known<'a>) -> [&'a str; 4] {
        let node = known.endpoint.node.as_ref();
        if self.is_here(known.endpoint) {
            return self.own_place();
        }
        match known.told.or_else(|| self.cluster.locality(node?)) {
            Some(at) => at.parts(),
            None => self.place_by_slice(known),
        }
    }

    /// Where its slice says that it is: in a zone, and zones lie in one region.
    pub(super) fn place_by_slice<'a>(&'a self, known: &Known<'a>) -> [&'a str; 4] {
        let zone = match known.told {
            Some(told) => text(told.zone.as_ref()),
            None => text(known.endpoint.zone.as_ref()),
        };
        let [network, region, own, _] = self.own_place();
        [network, if !zone.is_empty() && zone == own { region } else { "" }, zone, ""]
    }
}

pub(super) fn text<T: std::borrow::Borrow<str>>(name: Option<&T>) -> &str {
    name.map_or("", std::borrow::Borrow::borrow)
}
