//! How clients are remembered: the rules of session affinity, and the tokens
//! that they remember.
//!
//! A token is an endpoint of a Service port as one number: who (the port) and
//! which (the endpoint), with the highest bit set. It travels in
//! `meta priority`, as a class does before it. The map `affinity` holds a
//! token by its port and the client; packets fill it, and the kernel keeps it
//! through every change and every restart.
//!
//! A token alone leads nowhere: the frontend must have it, too. So a token of
//! an endpoint that went, or one that meant another port once, finds nothing
//! and is drawn anew; none can lead to a wrong endpoint, and taking one element
//! away forgets an endpoint at once (`docs/decisions/0004-affinity.md`).

use std::collections::BTreeSet;
use std::net::IpAddr;

use closeby_nft::{Family, Field, Rule, Statement};

use super::sets::SetKind;
use crate::compile::Backend;
use crate::compile::entry::STICKY_POOL_MAX;
use crate::compile::numbers::{NUMBER_BITS, hash};

/// The bit that every token has.
const TOKEN: u32 = 1 << 31;
/// The bits of a token that say which endpoint of its port.
const ENDPOINT_BITS: u32 = 13;
const ENDPOINTS: u32 = 1 << ENDPOINT_BITS;
/// The bits of a token that say whose it is.
const OWNER: u32 = !(ENDPOINTS - 1);
const _: () = assert!(1 + NUMBER_BITS + ENDPOINT_BITS == u32::BITS);
const _: () = assert!(STICKY_POOL_MAX < ENDPOINTS as usize);

/// The most clients that are remembered, of all ports of a family together.
/// Beyond it connections are made without memory.
pub const AFFINITY_SIZE: u32 = 1 << 18;

/// The tokens of a pool, in its order: by a hash of the endpoint, and where
/// that is taken by the next that is free. So an endpoint keeps its token
/// whoever else comes and goes, but for the rare neighbour by hash.
#[must_use]
pub fn tokens(number: u32, backends: &[Backend]) -> Vec<u32> {
    let mut taken = BTreeSet::new();
    let free = |backend: &Backend| {
        let home = hash(bytes(backend)) % ENDPOINTS;
        let mut ways = (0..ENDPOINTS).map(|step| (home + step) % ENDPOINTS);
        let which = ways.find(|which| taken.insert(*which)).unwrap_or(home);
        TOKEN | number << ENDPOINT_BITS | which
    };
    backends.iter().map(free).collect()
}

fn bytes(backend: &Backend) -> Vec<u8> {
    let mut bytes = match backend.addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    };
    bytes.extend(backend.port.get().to_be_bytes());
    bytes
}

/// The fields of a key of `affinity`, as declared.
#[must_use]
pub fn declared(family: Family) -> [Field; 2] {
    [Field::Priority, client(family)]
}

/// The client, as far as a key has room for it: two IPv6 clients that differ
/// in the first 32 bits alone share an endpoint.
fn client(family: Family) -> Field {
    match family {
        Family::Ip => Field::Saddr,
        Family::Ip6 => Field::SaddrLow96,
    }
}

fn remembered(family: Family) -> Vec<Field> {
    vec![Field::PriorityBits { mask: OWNER }, client(family)]
}

/// Takes the token of this client, or draws and remembers one, and goes to its
/// endpoint. It comes back if the token is dead.
///
/// - Slot 0 first: a draw that races with a commit may find no other.
/// - `update` gives what is there more time and keeps it. It stands alone in
///   its rule, which it ends when the map is full; then the token that was
///   drawn is taken.
pub fn remember(
    family: Family,
    count: u16,
    timeout_s: u32,
    frontend: &[Field],
    (tokens, endpoints): (SetKind, SetKind),
) -> Vec<Rule> {
    let with = |last: Field| [frontend, &[last]].concat();
    let draw = |modulus| {
        let key = with(Field::Random { modulus });
        vec![Statement::PriorityFrom { key, map: tokens.name() }]
    };
    let (key, map) = (remembered(family), SetKind::Affinity.name());
    let mut rules = vec![draw(1)];
    if count > 1 {
        rules.push(draw(u32::from(count)));
    }
    rules.extend([
        vec![
            Statement::PriorityHas(TOKEN),
            Statement::Update { key: key.clone(), timeout_s, map: map.clone() },
        ],
        vec![Statement::PriorityFrom { key, map }],
        vec![Statement::Dnat { key: with(Field::Priority), map: endpoints.name() }],
    ]);
    rules
}

/// Forgets the endpoint of the token that the packet carries, for its client.
pub fn forget(family: Family) -> Rule {
    vec![Statement::Delete { key: remembered(family), map: SetKind::Affinity.name() }]
}

/// Takes the token off a new connection's packet on its way to an endpoint, so
/// that none leaves with it: a DNAT ends all that happens where it is drawn.
pub fn clear() -> Rule {
    vec![Statement::CtStatusDnat, Statement::PriorityHas(TOKEN), Statement::PriorityClear]
}

#[cfg(test)]
mod tests {
    use closeby_nft::Port;

    use super::*;

    fn backends(count: usize) -> Vec<Backend> {
        let port = Port::new(8080).unwrap();
        let addr = |number: u32| std::net::Ipv4Addr::from(0x0af4_0000 + number * 7).into();
        (0..u32::try_from(count).unwrap())
            .map(|number| Backend { addr: addr(number), port })
            .collect()
    }

    #[test]
    fn tokens_are_unique_and_say_whose_they_are() {
        let number = (1 << NUMBER_BITS) - 1;
        let tokens = tokens(number, &backends(STICKY_POOL_MAX));
        assert!(tokens.iter().all(|token| token & OWNER == TOKEN | number << ENDPOINT_BITS));
        assert_eq!(tokens.iter().collect::<BTreeSet<_>>().len(), STICKY_POOL_MAX);
    }

    /// When one of a hundred goes, whoever else it is, the others keep theirs.
    #[test]
    fn tokens_stay_when_others_go() {
        let all = backends(100);
        let before = tokens(1, &all);
        let mut moved = 0;
        for gone in 0..all.len() {
            let (mut rest, mut known) = (all.clone(), before.clone());
            rest.remove(gone);
            known.remove(gone);
            moved +=
                tokens(1, &rest).iter().zip(&known).filter(|(now, before)| now != before).count();
        }
        assert!(moved <= 1, "{moved} of 9,900 moved");
    }
}
