//! To whom part of the connections goes on, as prose would say it.

use closeby::compile::Topology;
use closeby::model::{Locality, NodeName, Service, Spill};

use super::Oracle;
use super::closeness::{Step, text};
use super::endpoints::Known;

/// The most endpoints among which anything goes on.
const MOST: usize = 1024;

impl Oracle<'_> {
    /// What is used besides what was chosen of the ready ones.
    pub(super) fn goes_on<'a>(
        &self,
        service: &Service,
        (chosen, step): &(Vec<Known<'a>>, Step),
        ready: &[Known<'a>],
    ) -> Vec<Known<'a>> {
        let nobody = Vec::new();
        let asked = service.closeness.spill.filter(|_| self.facts.topology != Topology::Hints);
        let Some(asked) = asked.filter(|_| *step != Step::All) else { return nobody };
        let is_chosen = |known: &Known<'a>| chosen.iter().any(|it| it.target == known.target);
        let step = &match *step {
            Step::Part(narrowest) => self.outwards(narrowest, ready, is_chosen),
            other => other,
        };
        let zone = self.own_place()[2];
        let is_in_zone = |known: &Known<'a>| {
            !zone.is_empty()
                && (self.is_here(known.endpoint) || self.place_by_slice(known)[2] == zone)
        };
        let others_in_zone = ready.iter().any(|known| is_in_zone(known) && !is_chosen(known));
        let next: Vec<Known<'a>> = ready
            .iter()
            .filter(|known| match *step {
                Step::Node => !others_in_zone || is_in_zone(known),
                Step::Part(part) => self.place(known)[..part] == self.own_place()[..part],
                Step::Zone | Step::All => true,
            })
            .copied()
            .collect();
        let mut nodes = next.iter().filter_map(|known| known.endpoint.node.as_ref());
        let is_unknown = nodes.any(|node| self.cluster.locality(node).is_none());
        let others: Vec<Known<'a>> =
            next.iter().filter(|known| !is_chosen(known)).copied().collect();
        if is_unknown || others.is_empty() || next.len() > MOST {
            return nobody;
        }
        if matches!(asked, Spill::Percent(_)) {
            return others;
        }
        // Clients of the next tier, by the groups of its endpoints.
        let clients: Vec<&str> = self
            .cluster
            .localities()
            .filter(|(_, locality)| match *step {
                Step::Node => !others_in_zone || text(locality.zone.as_ref()) == zone,
                Step::Part(part) => locality.parts()[..part] == self.own_place()[..part],
                Step::Zone | Step::All => true,
            })
            .map(|(name, locality)| client_group(*step, name, locality))
            .collect();
        let own = match *step {
            Step::Node => self.facts.node.as_str(),
            Step::Zone | Step::All => zone,
            Step::Part(part) => self.own_place()[part],
        };
        let share_of = |group: &str| clients.iter().filter(|it| **it == group).count();
        let (all, all_clients) = (next.len(), clients.len());
        if (all - others.len()) * all_clients >= share_of(own) * all {
            return nobody;
        }
        // To those groups that have more endpoints than clients.
        let group = |known: &Known<'a>| self.group(*step, known);
        let has_room = |known: &&Known<'a>| {
            let count = others.iter().filter(|other| group(other) == group(known)).count();
            count * all_clients > share_of(&group(known)) * all
        };
        others.iter().filter(has_room).copied().collect()
    }

    /// The first step outwards that leads to anybody.
    fn outwards<'a>(
        &self,
        narrowest: usize,
        ready: &[Known<'a>],
        is_chosen: impl Fn(&Known<'a>) -> bool,
    ) -> Step {
        let leads = |part: &usize| {
            let own = &self.own_place()[..*part];
            let mut around = ready.iter().filter(|it| self.place(it)[..*part] == *own);
            around.any(|known| !is_chosen(known))
        };
        (0..=narrowest).rev().find(leads).map_or(Step::All, Step::Part)
    }

    fn group(&self, step: Step, known: &Known<'_>) -> String {
        match step {
            Step::Node => known.endpoint.node.as_ref().map_or("", NodeName::as_str).to_owned(),
            Step::Zone | Step::All => self.place_by_slice(known)[2].to_owned(),
            Step::Part(part) => {
                let is_told = known.told.is_some() || known.endpoint.node.is_some();
                if is_told { self.place(known)[part].to_owned() } else { String::new() }
            }
        }
    }
}

fn client_group<'a>(step: Step, name: &'a NodeName, locality: &'a Locality) -> &'a str {
    match step {
        Step::Node => name.as_str(),
        Step::Zone | Step::All => text(locality.zone.as_ref()),
        Step::Part(part) => locality.parts()[part],
    }
}
