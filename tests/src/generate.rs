//! A generator of legal rulesets.
//!
//! A ruleset is built from a tape of bytes: each choice reads one, and a tape
//! that has ended always answers 0. So proptest shrinks it well, and two tapes
//! that differ in few bytes make rulesets that differ in few places. The pools
//! of names, addresses and numbers are small, so that two rulesets have much in
//! common.
//!
//! Invariant: the judge finds nothing in what is made here.

use closeby_nft::ruleset::{ChainType, HookPoint, Value};
use closeby_nft::statement::{Interfaces, Relation, Side};
use closeby_nft::{
    Chain, Data, DataKind, Elements, Family, Field, Hook, Key, L4Proto, Name, Prefix, Rule,
    Ruleset, Set, SetSpec, Statement, Table, TableId, Verdict,
};
use proptest::prelude::*;

use crate::rulesets::{FRONTEND, OWNER, TARGET, addr, memory, port, remembered, slot};

/// The longest tape.
const TAPE_MAX: usize = 600;

/// Legal rulesets.
pub fn ruleset() -> impl Strategy<Value = Ruleset> {
    tape().prop_map(|tape| build(&tape))
}

/// Pairs of legal rulesets: independent ones, and such that differ little.
pub fn pair() -> impl Strategy<Value = (Ruleset, Ruleset)> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4);
    let near = (tape(), edits).prop_map(|(before, edits)| {
        let mut after = before.clone();
        for (index, byte) in edits {
            if !after.is_empty() {
                let at = index.index(after.len());
                after[at] = byte;
            }
        }
        (build(&before), build(&after))
    });
    prop_oneof![near, (ruleset(), ruleset())]
}

/// Tapes to [`build`] from.
pub fn tape() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..TAPE_MAX)
}

/// The ruleset that a tape says.
#[must_use]
pub fn build(tape: &[u8]) -> Ruleset {
    let mut tape = Tape { bytes: tape.iter() };
    let mut ruleset = Ruleset::default();
    for family in Family::BOTH {
        for name in ["closeby", "other"] {
            if tape.yes() {
                let id = TableId { family, name: Name::from(name) };
                ruleset.tables.insert(id, Builder::table(&mut tape, family));
            }
        }
    }
    ruleset
}

/// Choices to come.
struct Tape<'a> {
    bytes: std::slice::Iter<'a, u8>,
}

impl Tape<'_> {
    /// A number below `limit`.
    fn below(&mut self, limit: u8) -> u8 {
        self.bytes.next().map_or(0, |byte| byte % limit.max(1))
    }

    /// True more often than not, false at the end of the tape.
    fn yes(&mut self) -> bool {
        self.below(4) != 0
    }

    /// One of these; `None` if there are none.
    fn one_of<'t, T>(&mut self, choices: &'t [T]) -> Option<&'t T> {
        let limit = u8::try_from(choices.len()).unwrap_or(u8::MAX);
        choices.get(usize::from(self.below(limit)))
    }
}

/// What a chain may do, by the base chains that lead to it. The chains of a
/// role lead only to later ones of the same role.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    DestinationNat,
    SourceNat,
    Filter,
}

const ROLES: [(Role, &str, &[HookPoint]); 3] = [
    (Role::DestinationNat, "dst", &[HookPoint::Prerouting, HookPoint::Output]),
    (Role::SourceNat, "src", &[HookPoint::Postrouting]),
    (
        Role::Filter,
        "flt",
        &[HookPoint::Prerouting, HookPoint::Input, HookPoint::Forward, HookPoint::Output],
    ),
];

struct Builder<'t, 'b> {
    tape: &'t mut Tape<'b>,
    family: Family,
    table: Table,
}

impl Builder<'_, '_> {
    fn table(tape: &mut Tape<'_>, family: Family) -> Table {
        let mut builder = Builder { tape, family, table: Table::default() };
        for name in ["s0", "s1", "s2", "s3", "s4"] {
            if builder.tape.yes() {
                let set = builder.set();
                builder.table.sets.insert(Name::from(name), set);
            }
        }
        for (role, prefix, points) in ROLES {
            builder.role(role, prefix, points);
        }
        builder.table
    }

    fn spec(&mut self) -> SetSpec {
        if self.tape.below(6) == 0 {
            return memory(self.family, 8 + u32::from(self.tape.below(2))).spec;
        }
        let (key, data) = match self.tape.below(5) {
            0 => (vec![Field::Daddr], DataKind::None),
            1 => (FRONTEND.to_vec(), DataKind::Fields(vec![Field::Priority])),
            2 => (slot(2), DataKind::Fields(TARGET.to_vec())),
            3 => (vec![Field::L4Proto, Field::Dport], DataKind::None),
            _ => (vec![Field::Saddr, Field::Daddr, Field::L4Proto, Field::Dport], DataKind::None),
        };
        let counted = self.tape.below(3) == 0;
        SetSpec { key, data, size: 8 + u32::from(self.tape.below(2)), dynamic: false, counted }
    }

    fn set(&mut self) -> Set {
        let spec = self.spec();
        let mut elements = Elements::new();
        let most = if spec.dynamic { 1 } else { 9 };
        for _ in 0..self.tape.below(most) {
            let key = spec.key.iter().fold(Key::new(), |key, field| match field {
                Field::Saddr | Field::SaddrNet { .. } | Field::Daddr => key.addr(self.addr()),
                Field::L4Proto => key.proto(self.proto()),
                Field::Dport => key.port(port(self.tape.below(3).into())),
                _ => key.number(self.tape.below(3).into()),
            });
            let data = match &spec.data {
                DataKind::None | DataKind::Verdict => Data::None,
                DataKind::Fields(fields) => Data::Value(self.value(fields)),
            };
            elements.insert(key, data);
        }
        Set { spec, elements }
    }

    fn value(&mut self, fields: &[Field]) -> Value {
        fields.iter().fold(Value::new(), |value, field| match field {
            Field::Saddr | Field::SaddrNet { .. } | Field::Daddr => value.addr(self.addr()),
            Field::L4Proto => value.proto(self.proto()),
            Field::Dport => value.port(port(self.tape.below(3).into())),
            _ => value.number(self.tape.below(3).into()),
        })
    }

    fn addr(&mut self) -> std::net::IpAddr {
        addr(self.family, self.tape.below(4))
    }

    fn proto(&mut self) -> L4Proto {
        self.tape.one_of(&L4Proto::ALL).copied().unwrap_or(L4Proto::Tcp)
    }

    /// The base chains, plain chains and verdict map of a role.
    fn role(&mut self, role: Role, prefix: &str, points: &[HookPoint]) {
        let count = self.tape.below(4);
        let plain: Vec<Name> =
            (0..count).map(|index| Name::from(format!("{prefix}{index}"))).collect();
        let map = Name::from(format!("{prefix}-map"));
        // The map leads to the last chain, so whoever comes before may use it.
        let map = plain.last().filter(|_| self.tape.yes()).map(|last| {
            let set = self.verdict_map(last);
            self.table.sets.insert(map.clone(), set);
            map
        });
        for (index, name) in plain.iter().enumerate() {
            let later = &plain[index + 1..];
            let rules = self.rules(role, later, map.as_ref().filter(|_| !later.is_empty()));
            self.table.chains.insert(name.clone(), Chain { hook: None, rules });
        }
        for point in points.iter().filter(|_| self.tape.yes()).copied().collect::<Vec<_>>() {
            let kind = if role == Role::Filter { ChainType::Filter } else { ChainType::Nat };
            let priority = i32::from(self.tape.below(3)) * 105 - 110;
            let rules = self.rules(role, &plain, map.as_ref());
            let hook = Some(Hook { kind, point, priority });
            let name = Name::from(format!("{prefix}-{}", closeby_nft::text::point(point)));
            self.table.chains.insert(name, Chain { hook, rules });
        }
    }

    fn verdict_map(&mut self, target: &Name) -> Set {
        let ports = vec![Field::L4Proto, Field::Dport];
        let key = if self.tape.yes() { vec![Field::Priority] } else { ports };
        let spec =
            SetSpec { key, data: DataKind::Verdict, size: 8, dynamic: false, counted: false };
        let mut elements = Elements::new();
        for _ in 0..self.tape.below(4) {
            let number = self.tape.below(4);
            let key = match spec.key.as_slice() {
                [Field::L4Proto, _] => Key::new().proto(self.proto()).port(port(number.into())),
                _ => Key::new().number(number.into()),
            };
            let verdict = self.verdict(std::slice::from_ref(target));
            elements.insert(key, Data::Verdict(verdict));
        }
        Set { spec, elements }
    }

    fn verdict(&mut self, targets: &[Name]) -> Verdict {
        let target = self.tape.one_of(targets).cloned();
        match (self.tape.below(6), target) {
            (0 | 1, Some(target)) => Verdict::Jump(target),
            (2, Some(target)) => Verdict::Goto(target),
            (3, _) => Verdict::Drop,
            (4, _) => Verdict::Accept,
            _ => Verdict::Return,
        }
    }

    fn rules(&mut self, role: Role, targets: &[Name], map: Option<&Name>) -> Vec<Rule> {
        (0..self.tape.below(4)).map(|_| self.rule(role, targets, map)).collect()
    }

    fn rule(&mut self, role: Role, targets: &[Name], map: Option<&Name>) -> Rule {
        let mut rule: Rule = (0..self.tape.below(3)).map(|_| self.matching()).collect();
        for _ in 0..self.tape.below(2) {
            rule.push(self.action());
        }
        match self.tape.below(5) {
            0 => rule.push(Statement::Counter),
            1 => rule.push(Statement::Verdict(self.verdict(targets))),
            2 => rule.extend(map.map(|map| {
                let key = self.table.sets[map].spec.key.clone();
                Statement::Vmap { key, map: map.clone() }
            })),
            _ => self.terminal(role, &mut rule),
        }
        if rule.iter().any(has_port) {
            rule.retain(|statement| !is_proto(statement));
        } else {
            let first = rule.iter().position(is_proto);
            let mut place = 0..;
            rule.retain(|statement| place.next() == first || !is_proto(statement));
        }
        if rule.is_empty() {
            rule.push(Statement::Counter);
        }
        rule
    }

    /// What only chains of this role may do.
    fn terminal(&mut self, role: Role, rule: &mut Rule) {
        match role {
            Role::DestinationNat => {
                let found = self.lookup(&DataKind::Fields(TARGET.to_vec()));
                rule.extend(found.map(|(key, map)| Statement::Dnat { key, map }));
            }
            Role::SourceNat => rule.push(Statement::Masquerade),
            Role::Filter if self.tape.yes() => {
                rule.retain(|statement| !is_proto(statement) && !has_port(statement));
                rule.insert(0, Statement::L4Proto(L4Proto::Tcp));
                rule.push(Statement::RejectTcpReset);
            }
            Role::Filter => rule.push(Statement::Reject),
        }
    }

    /// A set or map with this data, and a key to look up in it.
    fn lookup(&mut self, data: &DataKind) -> Option<(Vec<Field>, Name)> {
        let fitting = self.table.sets.iter().filter(|(_, set)| set.spec.data == *data);
        let fitting: Vec<_> =
            fitting.map(|(name, set)| (set.spec.key.clone(), name.clone())).collect();
        let (mut key, name) = self.tape.one_of(&fitting)?.clone();
        for (place, field) in key.iter_mut().enumerate() {
            // nft reads a mask in any place of a match, and in the first of a map.
            let may_mask = place == 0 || *data == DataKind::None;
            match field {
                Field::Random { modulus } => *modulus = 1 + u32::from(self.tape.below(3)),
                Field::Saddr if may_mask && self.tape.yes() => {
                    let longest = if self.family == Family::Ip { 31 } else { 127 };
                    *field = Field::SaddrNet { len: 1 + self.tape.below(longest) };
                }
                Field::Priority if self.tape.yes() => *field = Field::PriorityBits { mask: OWNER },
                _ => {}
            }
        }
        Some((key, name))
    }

    fn matching(&mut self) -> Statement {
        let relation = if self.tape.yes() { Relation::Eq } else { Relation::Ne };
        let side = if self.tape.yes() { Side::Daddr } else { Side::Saddr };
        match self.tape.below(10) {
            0 => self.prefix(side, relation),
            1 => {
                let name = Name::from("eth0");
                let named = self.tape.yes();
                let interfaces =
                    if named { Interfaces::Named(name) } else { Interfaces::Prefixed(name) };
                Statement::Iifname { relation, interfaces }
            }
            2 => Statement::L4Proto(self.proto()),
            3 => Statement::FibLocal(side),
            4 => Statement::CtStateNew,
            5 => Statement::CtStatusDnat,
            6 => Statement::MarkHas(1 << self.tape.below(32)),
            7 => Statement::PriorityHas(1 << self.tape.below(32)),
            _ => match self.lookup(&DataKind::None) {
                Some((key, set)) => Statement::Lookup { key, set },
                None => Statement::CtStateNew,
            },
        }
    }

    fn prefix(&mut self, side: Side, relation: Relation) -> Statement {
        let longest = if self.family == Family::Ip { 32 } else { 128 };
        let len = 1 + self.tape.below(longest);
        let prefix = Prefix::new(self.addr(), len);
        let prefix = prefix.unwrap_or_else(|| unreachable!("no longer than an address"));
        Statement::Addr { side, relation, prefix }
    }

    fn action(&mut self) -> Statement {
        match self.tape.below(6) {
            0 => Statement::MarkOr(1 << self.tape.below(32)),
            1 => Statement::MarkXor(1 << self.tape.below(32)),
            2 => Statement::PriorityClear,
            3 => self.remember(),
            _ => match self.lookup(&DataKind::Fields(vec![Field::Priority])) {
                Some((key, map)) => Statement::PriorityFrom { key, map },
                None => Statement::Counter,
            },
        }
    }

    /// Changes a map that packets fill, if there is one.
    fn remember(&mut self) -> Statement {
        let dynamic = self.table.sets.iter().find(|(_, set)| set.spec.dynamic);
        let Some(map) = dynamic.map(|(name, _)| name.clone()) else {
            return Statement::Counter;
        };
        let key = remembered(self.family);
        if self.tape.yes() {
            Statement::Update { key, timeout_s: 1 + u32::from(self.tape.below(200)), map }
        } else {
            Statement::Delete { key, map }
        }
    }
}

fn is_proto(statement: &Statement) -> bool {
    matches!(statement, Statement::L4Proto(_))
}

/// Whether it looks up a port: nft mixes those up with a protocol matched before.
fn has_port(statement: &Statement) -> bool {
    statement.lookup().is_some_and(|(_, key)| key.contains(&Field::Dport))
}
