//! The register machine: one rule's expressions over one packet.
//!
//! Follows `nft_do_chain` and `nft_*_eval`. Registers hold bytes as the kernel
//! stores them; a load of less than whole words clears the rest of the last.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use arrayvec::ArrayVec;

use super::memory::Memory;
use super::program::{RuleCode, SetContent};
use super::{Event, Host, Packet};
use crate::expr::{Base, CmpOp, CtKey, DynsetOp, Expr, Found, MetaKey, REG_COUNT, Reg, RejectWith};
use crate::ruleset::{Data, KEY_MAX, Key, Value};
use crate::statement::{Side, Verdict};
use crate::types::{Family, L4Proto};

/// Bytes of a register.
const WORD: usize = 4;
/// Bytes of all registers.
const FILE_LEN: usize = WORD * REG_COUNT as usize;
/// Bytes of an interface name in registers (`IFNAMSIZ`).
const IFNAME_LEN: usize = 16;
const MS_PER_S: u64 = 1000;
/// `NF_CT_STATE_BIT(IP_CT_NEW)`.
const STATE_NEW: u32 = 8;
/// `NF_CT_STATE_INVALID_BIT`: no connection tracking has seen the packet.
const STATE_INVALID: u32 = 1;
/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 0x20;
/// `RTN_UNICAST` and `RTN_LOCAL`.
const ROUTE_TYPES: [u32; 2] = [1, 2];

/// The packet and its connection.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) packet: Packet,
    /// Whether connection tracking has seen it.
    pub(super) tracked: bool,
    /// What a DNAT asked for.
    pub(super) dnat: Option<(IpAddr, u16)>,
    /// Whether that was a change: only then does the connection's status say so.
    pub(super) status_dnat: bool,
    pub(super) masqueraded: bool,
}

impl Flow {
    fn dnat(&mut self, addr: IpAddr, port: u16) {
        let before = (self.packet.daddr, self.packet.dport);
        self.packet.daddr = addr;
        if L4Proto::from_number(self.packet.proto).is_some() {
            self.packet.dport = port;
        }
        self.status_dnat |= before != (self.packet.daddr, self.packet.dport);
        self.dnat = Some((addr, port));
    }
}

/// How a rule, or an expression that ends it, comes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    Broke,
    Ran,
    Verdict(Verdict),
    Dnat(IpAddr, u16),
    Masqueraded,
    Rejected(RejectWith),
    /// Nobody knows.
    Unread,
    /// What the kernel does not load.
    Impossible(&'static str),
}

/// A use of a set or map, to be told.
pub(super) struct Used {
    pub(super) event: Event,
    pub(super) statement: usize,
}

/// What a rule runs with.
pub(super) struct Context<'a, 'draw> {
    pub(super) flow: &'a mut Flow,
    pub(super) host: &'a Host,
    pub(super) draw: &'a mut (dyn FnMut(u32) -> u32 + 'draw),
    pub(super) memory: &'a mut Memory,
}

/// The registers of one rule.
struct Registers {
    bytes: [u8; FILE_LEN],
    /// Which words were written: the kernel refuses to load a rule that reads others.
    written: u16,
}

/// Reading what was not written, or past the end.
const BAD_REGISTER: End = End::Impossible("a register is used that was not loaded");

impl Registers {
    fn new() -> Self {
        Self { bytes: [0; FILE_LEN], written: 0 }
    }

    /// The words that `len` bytes from a register take, as a bit set.
    fn words(reg: Reg, len: usize) -> Result<u16, End> {
        let (first, count) = (usize::from(reg.0), len.div_ceil(WORD));
        if len == 0 || first + count > usize::from(REG_COUNT) {
            return Err(BAD_REGISTER);
        }
        let all = (1u32 << count) - 1;
        u16::try_from(all << first).map_err(|_| BAD_REGISTER)
    }

    fn read(&self, reg: Reg, len: usize) -> Result<&[u8], End> {
        let words = Self::words(reg, len)?;
        if self.written & words != words {
            return Err(BAD_REGISTER);
        }
        let start = usize::from(reg.0) * WORD;
        Ok(&self.bytes[start..start + len])
    }

    fn read_word(&self, reg: Reg) -> Result<[u8; WORD], End> {
        self.read(reg, WORD)?.try_into().map_err(|_| BAD_REGISTER)
    }

    fn write(&mut self, reg: Reg, data: &[u8]) -> Result<(), End> {
        self.written |= Self::words(reg, data.len())?;
        let start = usize::from(reg.0) * WORD;
        self.bytes[start..start + data.len().next_multiple_of(WORD)].fill(0);
        self.bytes[start..start + data.len()].copy_from_slice(data);
        Ok(())
    }
}

impl RuleCode {
    /// Runs the rule; the statement at which it ended, and how. Sets are asked
    /// for at each lookup.
    pub(super) fn run<'a>(
        &self,
        sets: &mut impl FnMut(usize) -> Option<&'a SetContent>,
        context: &mut Context<'_, '_>,
        tell: &mut impl FnMut(Used),
    ) -> (usize, End) {
        if let Some(statement) = self.unread {
            return (statement, End::Unread);
        }
        let mut registers = Registers::new();
        for instruction in &self.exprs {
            let set = instruction.set.and_then(&mut *sets);
            let mut tell = |event| tell(Used { event, statement: instruction.statement });
            let end = match (&instruction.expr, set) {
                (Expr::Lookup { sreg, found, .. }, Some(set)) => {
                    context.lookup(set, *sreg, *found, &mut registers, &mut tell)
                }
                (Expr::Dynset { op, key, data, timeout_ms, .. }, Some(set)) => {
                    let data = (*op == DynsetOp::Update).then_some((*data, *timeout_ms));
                    context.dynset(set, *key, data, &registers, &mut tell)
                }
                (Expr::Lookup { .. } | Expr::Dynset { .. }, None) => {
                    Err(End::Impossible("there is no such set"))
                }
                (expr, _) => context.execute(expr, &mut registers),
            };
            if let Err(end) = end {
                return (instruction.statement, end);
            }
        }
        (self.text.len().saturating_sub(1), End::Ran)
    }
}

/// The key of an element in registers.
fn key(set: &SetContent, reg: Reg, registers: &Registers) -> Result<Key, End> {
    let bytes = registers.read(reg, set.key_len)?;
    let key: ArrayVec<u8, KEY_MAX> =
        bytes.try_into().map_err(|_| End::Impossible("a key is too long"))?;
    Ok(Key(key))
}

/// Expressions that use sets.
impl Context<'_, '_> {
    fn lookup(
        &self,
        set: &SetContent,
        sreg: Reg,
        wanted: Found,
        registers: &mut Registers,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), End> {
        let key = key(set, sreg, registers)?;
        let found = if set.declared.spec.dynamic {
            self.memory.get(&set.table, &set.declared.name, &key).cloned()
        } else {
            set.content.get(&key).ok_or(End::Unread)?
        };
        tell(Event::LookedUp { set: set.declared.clone(), key, found: found.clone() });
        if wanted == Found::Absent {
            return if found.is_some() { Err(End::Broke) } else { Ok(()) };
        }
        match (found.ok_or(End::Broke)?, wanted) {
            (_, Found::Member) => Ok(()),
            (Data::Value(value), Found::Data(dreg)) => registers.write(dreg, &value.0),
            (Data::Verdict(verdict), Found::Verdict) => Err(End::Verdict(verdict)),
            (Data::None | Data::Value(_) | Data::Verdict(_), _) => {
                Err(End::Impossible("an element has other data than the rule wants"))
            }
        }
    }

    /// Updates with this data and time-out, or deletes.
    fn dynset(
        &mut self,
        set: &SetContent,
        sreg: Reg,
        data: Option<(Option<Reg>, u64)>,
        registers: &Registers,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), End> {
        let spec = &set.declared.spec;
        if !spec.dynamic {
            return Err(End::Impossible("packets cannot fill this set"));
        }
        let key = key(set, sreg, registers)?;
        let (table, name) = (&set.table, &set.declared.name);
        let declared = set.declared.clone();
        let Some((reg, timeout_ms)) = data else {
            return if self.memory.delete(table, name, &key) {
                tell(Event::Deleted { set: declared, key });
                Ok(())
            } else {
                Err(End::Broke)
            };
        };
        let data = match reg {
            Some(reg) => Data::Value(Value(ArrayVec::from_iter(registers.read_word(reg)?))),
            None => Data::None,
        };
        let size = usize::try_from(spec.size).unwrap_or(usize::MAX);
        let kept =
            self.memory.update((table, name, size), key.clone(), data, timeout_ms / MS_PER_S);
        let data = kept.ok_or(End::Broke)?;
        tell(Event::Updated { set: declared, key, data });
        Ok(())
    }
}

impl Context<'_, '_> {
    /// Runs one expression; `Err` ends the rule.
    fn execute(&mut self, expr: &Expr, registers: &mut Registers) -> Result<(), End> {
        match expr {
            Expr::Payload { base, offset, len, dreg } => {
                let header = headers(&self.flow.packet, *base);
                let start = usize::try_from(*offset).unwrap_or(usize::MAX);
                let end = start.saturating_add(usize::try_from(*len).unwrap_or(usize::MAX));
                registers.write(*dreg, header.get(start..end).ok_or(End::Broke)?)
            }
            Expr::Meta { key, dreg } => self.load_meta(*key, *dreg, registers),
            Expr::MetaSet { key, sreg } => self.store_meta(*key, *sreg, registers),
            Expr::Ct { key, dreg } => registers.write(*dreg, &self.ct(*key)?.to_ne_bytes()),
            Expr::FibType { side, dreg } => {
                let addr = match side {
                    Side::Saddr => self.flow.packet.saddr,
                    Side::Daddr => self.flow.packet.daddr,
                };
                let route_type = ROUTE_TYPES[usize::from(self.host.is_local(addr))];
                registers.write(*dreg, &route_type.to_ne_bytes())
            }
            Expr::NumgenRandom { dreg, modulus } => {
                // A draw out of range is brought into it: the kernel never makes one.
                let drawn = (self.draw)(*modulus).checked_rem(*modulus);
                let drawn = drawn.ok_or(End::Impossible("a random number below 0"))?;
                registers.write(*dreg, &drawn.to_ne_bytes())
            }
            Expr::Bitwise { sreg, dreg, mask, xor } => {
                let source = registers.read(*sreg, mask.len())?;
                let result =
                    source.iter().zip(mask).zip(xor).map(|((byte, mask), xor)| byte & mask ^ xor);
                let result: ArrayVec<u8, FILE_LEN> = result.collect();
                registers.write(*dreg, &result)
            }
            Expr::Cmp { op, sreg, data } => {
                let equal = registers.read(*sreg, data.len())? == data.as_slice();
                if equal == (*op == CmpOp::Eq) { Ok(()) } else { Err(End::Broke) }
            }
            Expr::Lookup { .. } | Expr::Dynset { .. } => {
                Err(End::Impossible("a lookup without sets"))
            }
            Expr::Immediate { dreg, data } => registers.write(*dreg, data),
            Expr::Verdict(verdict) => Err(End::Verdict(verdict.clone())),
            Expr::Dnat { family, addr, proto } => {
                Err(self.dnat(*family, *addr, *proto, registers)?)
            }
            Expr::Masquerade => {
                self.flow.masqueraded = true;
                Err(End::Masqueraded)
            }
            Expr::Reject(with) => Err(End::Rejected(*with)),
            Expr::Counter => Ok(()),
        }
    }

    fn load_meta(&self, key: MetaKey, dreg: Reg, registers: &mut Registers) -> Result<(), End> {
        let packet = &self.flow.packet;
        match key {
            MetaKey::L4Proto => registers.write(dreg, &[packet.proto]),
            MetaKey::Priority => registers.write(dreg, &packet.priority.to_ne_bytes()),
            MetaKey::Mark => registers.write(dreg, &packet.mark.to_ne_bytes()),
            MetaKey::Iifname => {
                let mut padded = [0; IFNAME_LEN];
                let name = packet.iif.as_ref().map_or("", |name| name.as_str());
                // The last byte stays NUL, as in the kernel.
                for (to, from) in padded[..IFNAME_LEN - 1].iter_mut().zip(name.bytes()) {
                    *to = from;
                }
                registers.write(dreg, &padded)
            }
        }
    }

    fn store_meta(&mut self, key: MetaKey, sreg: Reg, registers: &Registers) -> Result<(), End> {
        let value = u32::from_ne_bytes(registers.read_word(sreg)?);
        match key {
            MetaKey::Priority => self.flow.packet.priority = value,
            MetaKey::Mark => self.flow.packet.mark = value,
            MetaKey::L4Proto | MetaKey::Iifname => {
                return Err(End::Impossible("this part of a packet cannot be set"));
            }
        }
        Ok(())
    }

    /// Before connection tracking the state is "invalid" and there is no status.
    fn ct(&self, key: CtKey) -> Result<u32, End> {
        match (key, self.flow.tracked) {
            (CtKey::State, true) => Ok(STATE_NEW),
            (CtKey::State, false) => Ok(STATE_INVALID),
            (CtKey::Status, true) if self.flow.status_dnat => Ok(STATUS_DNAT),
            (CtKey::Status, true) => Ok(0),
            (CtKey::Status, false) => Err(End::Broke),
        }
    }

    fn dnat(
        &mut self,
        family: Family,
        addr: Reg,
        proto: Reg,
        registers: &Registers,
    ) -> Result<End, End> {
        let bytes = registers.read(addr, family.addr_len())?;
        let addr = address(bytes).ok_or(BAD_REGISTER)?;
        let [high, low, ..] = registers.read_word(proto)?;
        let port = u16::from_be_bytes([high, low]);
        self.flow.dnat(addr, port);
        Ok(End::Dnat(addr, port))
    }
}

/// The packet's headers as far as rules read them; the rest is zero.
fn headers(packet: &Packet, base: Base) -> ArrayVec<u8, 40> {
    let mut bytes = ArrayVec::new();
    match (base, packet.saddr, packet.daddr) {
        (Base::Network, IpAddr::V4(saddr), IpAddr::V4(daddr)) => {
            bytes.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, packet.proto, 0, 0]);
            bytes.extend(saddr.octets());
            bytes.extend(daddr.octets());
        }
        (Base::Network, saddr, daddr) => {
            bytes.extend([0x60, 0, 0, 0, 0, 0, packet.proto, 64]);
            bytes.extend(wide(saddr).octets());
            bytes.extend(wide(daddr).octets());
        }
        (Base::Transport, ..) => {
            let ports = L4Proto::from_number(packet.proto).map(|_| (packet.sport, packet.dport));
            let (sport, dport) = ports.unwrap_or_default();
            bytes.extend(sport.to_be_bytes());
            bytes.extend(dport.to_be_bytes());
            bytes.extend([0; 4]);
        }
    }
    bytes
}

fn wide(addr: IpAddr) -> Ipv6Addr {
    match addr {
        IpAddr::V4(addr) => addr.to_ipv6_mapped(),
        IpAddr::V6(addr) => addr,
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|octets| Ipv6Addr::from(octets).into())
}
