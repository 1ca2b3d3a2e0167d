//! Numbers for the Service ports whose clients are remembered.
//!
//! A packet carries one number from rule to rule, so there a port is known by
//! a number instead of its name: by a hash of the name. Where two ports have
//! the same, the elder keeps it and the other takes the next one that is free
//! (an ordered hash table: Amble and Knuth, 1974). Which port has which number
//! then follows from the ports alone, whatever the order in which they came: a
//! restart finds the numbers by which the kernel remembers clients.

use std::collections::BTreeSet;
use std::sync::Arc;

use closeby_nft::L4Proto;
use imbl::{OrdMap, OrdSet};

use super::claims::Standing;
use crate::model::{PortName, ServiceName};

/// Bits of a number.
pub const NUMBER_BITS: u32 = 18;
/// How many ports can have a number; the youngest of more have none.
pub const NUMBERS_MAX: u32 = 1 << NUMBER_BITS;

/// A port that wants a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Owner {
    /// How its Service stands against others; the least one keeps its number.
    pub(super) standing: Arc<Standing>,
    /// Its name.
    pub port: PortName,
    /// Its protocol.
    pub proto: L4Proto,
}

/// Who has which number, of so many.
#[derive(Clone, Debug, Default)]
pub struct Numbers<const MAX: u32 = NUMBERS_MAX> {
    places: OrdMap<u32, Arc<Owner>>,
    /// Those for whom none is left.
    without: OrdSet<Arc<Owner>>,
}

impl<const MAX: u32> Numbers<MAX> {
    /// The number of a port.
    #[must_use]
    pub fn of(&self, service: &ServiceName, port: &PortName, proto: L4Proto) -> Option<u32> {
        let same = |owner: &Owner| {
            owner.standing.service == *service && owner.port == *port && owner.proto == proto
        };
        ways::<MAX>(home(service, port, proto))
            .map_while(|place| Some((place, self.places.get(&place)?)))
            .find_map(|(place, owner)| same(owner).then_some(place))
    }

    /// Gives a port a number; tells the Services that have another one now.
    pub(super) fn enter(&mut self, owner: Arc<Owner>, touched: &mut BTreeSet<ServiceName>) {
        let mut homeless = owner;
        for place in ways::<MAX>(homeless.home()) {
            let Some(known) = self.places.get_mut(&place) else {
                self.places.insert(place, homeless);
                return;
            };
            if homeless < *known {
                std::mem::swap(known, &mut homeless);
                touched.insert(homeless.standing.service.clone());
            }
        }
        self.without.insert(homeless);
    }

    /// Takes a port's number back; tells the Services that may have another
    /// one now.
    pub(super) fn leave(&mut self, owner: &Arc<Owner>, touched: &mut BTreeSet<ServiceName>) {
        if self.without.remove(owner).is_some() {
            return;
        }
        let number = self.of(&owner.standing.service, &owner.port, owner.proto);
        let Some(mut hole) = number.filter(|number| self.places.remove(number).is_some()) else {
            return;
        };
        // Those behind it, up to the next gap, may have wanted its place.
        let mut behind = Vec::new();
        loop {
            hole = (hole + 1) % MAX;
            match self.places.remove(&hole) {
                Some(owner) => behind.push(owner),
                None => break,
            }
        }
        behind.extend(self.without.remove_min());
        for owner in behind {
            touched.insert(owner.standing.service.clone());
            self.enter(owner, touched);
        }
    }
}

impl Owner {
    fn home(&self) -> u32 {
        home(&self.standing.service, &self.port, self.proto)
    }
}

/// Every number below `MAX` once, from this one's rest on.
fn ways<const MAX: u32>(home: u32) -> impl Iterator<Item = u32> {
    let home = home % MAX;
    (0..MAX).map(move |step| (home + step) % MAX)
}

/// A hash of a port's name.
fn home(service: &ServiceName, port: &PortName, proto: L4Proto) -> u32 {
    let text = format!("{service}:{port}/{proto}");
    hash(text.bytes())
}

/// FNV-1a, its halves folded. What was remembered by it must be found after an
/// update of the program: it must never change.
#[must_use]
pub fn hash(bytes: impl IntoIterator<Item = u8>) -> u32 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let hash =
        bytes.into_iter().fold(BASIS, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    let [a, b, c, d, e, f, g, h] = hash.to_be_bytes();
    u32::from_be_bytes([a, b, c, d]) ^ u32::from_be_bytes([e, f, g, h])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn owner(age: u8, name: u8) -> Arc<Owner> {
        let service = ServiceName::new("shop", &format!("s{name}"));
        let standing =
            Standing { is_external: false, created_s: age.into(), uid: "".into(), service };
        let port = PortName::from("http");
        Arc::new(Owner { standing: Arc::new(standing), port, proto: L4Proto::Tcp })
    }

    fn number<const MAX: u32>(numbers: &Numbers<MAX>, owner: &Owner) -> Option<u32> {
        numbers.of(&owner.standing.service, &owner.port, owner.proto)
    }

    /// What is remembered by them outlives this program.
    #[test]
    fn hashes_stay_as_they_are() {
        assert_eq!(hash([]), 0x4fd0_bfc1);
        assert_eq!(hash(*b"shop/web:http/tcp"), 0xa612_2e59);
        assert_eq!(number_of_one("web"), Some(0xa612_2e59 % NUMBERS_MAX));
    }

    fn number_of_one(name: &str) -> Option<u32> {
        let mut numbers = Numbers::<NUMBERS_MAX>::default();
        let service = ServiceName::new("shop", name);
        let standing =
            Standing { is_external: false, created_s: 0, uid: "".into(), service: service.clone() };
        let port = PortName::from("http");
        let owner = Owner { standing: Arc::new(standing), port: port.clone(), proto: L4Proto::Tcp };
        numbers.enter(Arc::new(owner), &mut BTreeSet::new());
        numbers.of(&service, &port, L4Proto::Tcp)
    }

    proptest! {
        /// So few numbers that nearly all are contested, and some get none.
        #[test]
        fn numbers_follow_from_who_is_there(
            steps in prop::collection::vec((0..4_u8, 0..12_u8, any::<bool>()), 1..60),
        ) {
            let mut numbers = Numbers::<8>::default();
            let mut there: BTreeSet<Arc<Owner>> = BTreeSet::new();
            for (age, name, comes) in steps {
                let known = there.iter().find(|known| known.standing.service == owner(age, name).standing.service);
                let known = known.cloned();
                let before: Vec<_> = there.iter().map(|owner| (owner.clone(), number(&numbers, owner))).collect();
                let mut touched = BTreeSet::new();
                if let Some(known) = &known {
                    there.remove(known);
                    numbers.leave(known, &mut touched);
                } else if comes {
                    there.insert(owner(age, name));
                    numbers.enter(owner(age, name), &mut touched);
                }
                // Unique, as many as there are, and the same as from nothing, the youngest first.
                let given: BTreeSet<u32> = there.iter().filter_map(|owner| number(&numbers, owner)).collect();
                prop_assert_eq!(given.len(), there.len().min(8));
                let mut again = Numbers::<8>::default();
                for owner in there.iter().rev() {
                    again.enter(owner.clone(), &mut BTreeSet::new());
                }
                for owner in &there {
                    prop_assert_eq!(number(&numbers, owner), number(&again, owner));
                }
                let oldest = there.iter().take(8);
                prop_assert!(oldest.into_iter().all(|owner| number(&numbers, owner).is_some()));
                // Whoever has another number than before was told.
                for (owner, before) in before {
                    let moved = there.contains(&owner) && number(&numbers, &owner) != before;
                    prop_assert!(!moved || touched.contains(&owner.standing.service));
                }
            }
        }
    }
}
