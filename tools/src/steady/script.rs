//! What changes from one generation to the next, and who may answer then. Pure, and the same in
//! every run: a fault can be played again.

use crate::lab::manifests::Service;

/// The Services that clients dial.
pub(super) const SERVICES: usize = 4;
/// The pods of the node with the agent. The first is a client, too, so that it meets itself.
pub(super) const LOCAL: [&str; 3] = ["a1", "a2", "a3"];
/// The pods of the other node.
pub(super) const REMOTE: [&str; 3] = ["b1", "b2", "b3"];
/// All of them; a pod's number is its place here.
const PODS: [&str; 6] = ["a1", "a2", "a3", "b1", "b2", "b3"];
/// Where pods and Services listen, and where node ports begin.
pub(super) const TARGET: u16 = 8080;
const PORT: u16 = 80;
const NODE_PORTS: u16 = 30_000;

/// What varies about a Service. There is always an endpoint on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    /// Who is behind it, by number.
    endpoints: [bool; PODS.len()],
    internal_local: bool,
    external_local: bool,
    /// Whether a Service that nobody dials is there beside it.
    neighbour: bool,
}

/// How a Service is dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    ClusterIp,
    NodePort,
    Balancer,
}

impl Way {
    pub(super) const ALL: [Self; 3] = [Self::ClusterIp, Self::NodePort, Self::Balancer];
}

/// What a generation does to a Service.
#[derive(Debug, Clone, Copy)]
enum Action {
    Grow,
    Replace,
    TurnExternal,
    Shrink,
    TurnInternal,
    TurnAndShrink,
    TurnAndGrow,
}

impl Action {
    /// Their number has no divisor in common with that of the pods, so that each meets each.
    const ALL: [Self; 7] = [
        Self::Grow,
        Self::Replace,
        Self::TurnExternal,
        Self::Shrink,
        Self::TurnInternal,
        Self::TurnAndGrow,
        Self::TurnAndShrink,
    ];
}

impl State {
    /// Two endpoints, one of them here.
    pub(super) const FIRST: Self = Self {
        endpoints: [true, false, false, true, false, false],
        internal_local: false,
        external_local: false,
        neighbour: false,
    };

    /// What this Service is after its next change, the `turn`th.
    pub(super) fn next(&self, turn: usize) -> Self {
        let mut next = Self { neighbour: !self.neighbour, ..self.clone() };
        match Action::ALL[turn % Action::ALL.len()] {
            Action::Grow => next.grow(turn),
            Action::Shrink => next.shrink(turn),
            Action::Replace => {
                next.shrink(turn);
                next.grow(turn + 1);
            }
            Action::TurnExternal => next.external_local ^= true,
            Action::TurnInternal => next.internal_local ^= true,
            Action::TurnAndGrow => {
                next.external_local ^= true;
                next.grow(turn);
            }
            Action::TurnAndShrink => {
                next.external_local ^= true;
                next.shrink(turn);
            }
        }
        next
    }

    /// One endpoint more; one less where all are there.
    fn grow(&mut self, from: usize) {
        match around(from).find(|pod| !self.endpoints[*pod]) {
            Some(pod) => self.endpoints[pod] = true,
            None => self.shrink(from),
        }
    }

    /// One endpoint less; one more where only one is left here.
    fn shrink(&mut self, from: usize) {
        let is_local = |pod: usize| pod < LOCAL.len();
        let locals = (0..LOCAL.len()).filter(|pod| self.endpoints[*pod]).count();
        let may_go = |pod: &usize| self.endpoints[*pod] && (!is_local(*pod) || locals > 1);
        match around(from).find(may_go) {
            Some(pod) => self.endpoints[pod] = false,
            None => self.grow(from),
        }
    }

    /// How many endpoints there are.
    pub(super) fn count(&self) -> usize {
        self.endpoints().count()
    }

    /// Their pods.
    pub(super) fn endpoints(&self) -> impl Iterator<Item = &'static str> {
        PODS.into_iter().zip(self.endpoints).filter_map(|(pod, is_there)| is_there.then_some(pod))
    }

    /// Whether this pod may answer whoever dials in this way.
    pub(super) fn may_answer(&self, pod: &str, way: Way, from_outside: bool) -> bool {
        let local = match way {
            Way::ClusterIp => self.internal_local,
            Way::NodePort | Way::Balancer => self.external_local && from_outside,
        };
        self.endpoints().any(|known| known == pod) && (!local || LOCAL.contains(&pod))
    }

    /// The Service of this number in this state.
    pub(super) fn service(&self, number: usize) -> Service {
        Service {
            internal_local: self.internal_local,
            external_local: self.external_local,
            node_port: Some(node_port(number)),
            balancers: balancers(number).to_vec(),
            ..plain(&format!("dialled-{number}"), 10 + number)
        }
    }

    /// The one beside it, if it is there.
    pub(super) fn neighbour(&self, number: usize) -> Option<Service> {
        self.neighbour.then(|| plain(&format!("neighbour-{number}"), 50 + number))
    }
}

/// All pods by number, from this one on.
fn around(from: usize) -> impl Iterator<Item = usize> {
    (0..PODS.len()).map(move |offset| (from + offset) % PODS.len())
}

/// Where a Service is dialled, IPv4 first; `node` are the addresses of the node.
pub(super) fn addresses(
    number: usize,
    way: Way,
    node: [std::net::IpAddr; 2],
) -> [std::net::SocketAddr; 2] {
    match way {
        Way::ClusterIp => cluster_ips(10 + number).map(|ip| (ip, PORT).into()),
        Way::NodePort => node.map(|ip| (ip, node_port(number)).into()),
        Way::Balancer => balancers(number).map(|ip| (ip, PORT).into()),
    }
}

fn plain(name: &str, address: usize) -> Service {
    Service::new(name, cluster_ips(address), PORT, TARGET)
}

fn node_port(number: usize) -> u16 {
    NODE_PORTS + small(number)
}

fn cluster_ips(number: usize) -> [std::net::IpAddr; 2] {
    let number = small(number);
    let [_, low] = number.to_be_bytes();
    [[10, 96, 0, low].into(), [0xfd00, 0x10, 0x96, 0, 0, 0, 0, number].into()]
}

fn balancers(number: usize) -> [std::net::IpAddr; 2] {
    let number = small(number) + 1;
    let [_, low] = number.to_be_bytes();
    [[198, 51, 100, low].into(), [0xfd00, 0x198, 0x51, 0x100, 0, 0, 0, number].into()]
}

/// Numbers of Services are small.
fn small(number: usize) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_an_endpoint_here_and_always_a_change() {
        let mut state = State::FIRST;
        let (mut counts, mut seen) = (0, std::collections::BTreeSet::new());
        for turn in 0..250 {
            let next = state.next(turn);
            assert!(next.endpoints().any(|pod| LOCAL.contains(&pod)), "{next:?}");
            let policies = (next.internal_local, next.external_local);
            let before = (state.internal_local, state.external_local);
            assert!(next.endpoints != state.endpoints || policies != before, "turn {turn}");
            counts += usize::from(next.count() != state.count());
            seen.insert((policies, next.count()));
            state = next;
        }
        assert!(counts >= 50, "the count changes in a fifth of all generations: {counts} of 250");
        assert_eq!(seen.len(), 4 * 2, "every policy meets every count: {seen:?}");
    }

    #[test]
    fn policies_bind_whom_they_should() {
        let local = State { internal_local: true, external_local: true, ..State::FIRST };
        for (way, outside, remote) in [
            (Way::ClusterIp, false, false),
            (Way::ClusterIp, true, false),
            (Way::NodePort, false, true),
            (Way::Balancer, true, false),
        ] {
            assert!(local.may_answer("a1", way, outside));
            assert_eq!(local.may_answer("b1", way, outside), remote, "{way:?} {outside}");
            assert!(!local.may_answer("a2", way, outside), "it is no endpoint");
            assert!(State::FIRST.may_answer("b1", way, outside));
        }
    }
}
