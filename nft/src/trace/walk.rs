//! The walk: hooks in the order of a packet's way, base chains in the order of
//! their priorities, chains by jump, goto and return.

use super::machine::{Context, End, Flow, Used};
use super::memory::Memory;
use super::program::{Base, Program, Tracer};
use super::views::Views;
use super::{Event, Fate, Host, Origin, Outcome, Packet, Place, Step};
use crate::name::Name;
use crate::ruleset::{ChainType, HookPoint};
use crate::statement::Verdict;
use crate::types::Family;

/// How many chains may wait for their return (`NFT_JUMP_STACK_SIZE`).
const JUMP_STACK_SIZE: usize = 16;

/// How many jumps and gotos one base chain may make. The kernel has no such
/// bound, because it loads no loops; a tracer may be shown anything.
const MOVES_MAX: usize = 100_000;

/// Connection tracking runs in prerouting and output at this priority.
const CONNTRACK_PRIORITY: i32 = -200;

/// The name of the interface by which the host sends to itself.
const LOOPBACK: &str = "lo";

impl Tracer {
    /// Runs the first packet of a connection through the ruleset, which
    /// remembers no packet before it. `draw` is asked for random numbers below
    /// its argument.
    #[must_use]
    pub fn run(
        &self,
        packet: Packet,
        origin: Origin,
        host: &Host,
        draw: &mut dyn FnMut(u32) -> u32,
    ) -> Outcome {
        self.run_after(&mut Memory::default(), packet, origin, host, draw)
    }

    /// The same after the packets that `memory` is of, to which this one's is
    /// added.
    #[must_use]
    pub fn run_after(
        &self,
        memory: &mut Memory,
        packet: Packet,
        origin: Origin,
        host: &Host,
        draw: &mut dyn FnMut(u32) -> u32,
    ) -> Outcome {
        Views::still(self).run(memory, packet, origin, host, draw).0
    }

    /// The same while a transaction makes `after` of the ruleset: it takes
    /// effect when the packet has read `overtaken_at` times. Says, too, whether
    /// the packet was on its way by then.
    #[must_use]
    pub fn run_during(
        &self,
        (after, overtaken_at): (&Self, usize),
        memory: &mut Memory,
        packet: Packet,
        origin: Origin,
        host: &Host,
        draw: &mut dyn FnMut(u32) -> u32,
    ) -> (Outcome, bool) {
        Views::overtaken(self, after, overtaken_at).run(memory, packet, origin, host, draw)
    }
}

impl<'a> Views<'a> {
    fn run(
        self,
        memory: &'a mut Memory,
        packet: Packet,
        origin: Origin,
        host: &'a Host,
        draw: &'a mut dyn FnMut(u32) -> u32,
    ) -> (Outcome, bool) {
        let flow =
            Flow { packet, tracked: false, dnat: None, status_dnat: false, masqueraded: false };
        let mut walk = Walk {
            views: self,
            host,
            draw,
            memory,
            flow,
            destination_decided: false,
            source_decided: false,
            path: Vec::new(),
        };
        let fate = match walk.through(origin) {
            Ok(fate) | Err(fate) => fate,
        };
        let outcome = Outcome {
            fate,
            packet: walk.flow.packet,
            dnat: walk.flow.dnat,
            masqueraded: walk.flow.masqueraded,
            path: walk.path,
        };
        (outcome, walk.views.was_overtaken())
    }
}

/// A packet on its way. Methods give `Err` when its way ends early.
struct Walk<'a> {
    views: Views<'a>,
    host: &'a Host,
    draw: &'a mut dyn FnMut(u32) -> u32,
    memory: &'a mut Memory,
    flow: Flow,
    /// Whether the connection's destination is settled: by a DNAT, or because
    /// the chains that could have done it are over.
    destination_decided: bool,
    /// The same for its source.
    source_decided: bool,
    path: Vec<Step>,
}

impl<'a> Walk<'a> {
    fn through(&mut self, origin: Origin) -> Result<Fate, Fate> {
        match origin {
            Origin::Incoming => {
                self.hook(HookPoint::Prerouting)?;
                if self.for_us() {
                    self.hook(HookPoint::Input)?;
                    return Ok(Fate::Delivered);
                }
                self.hook(HookPoint::Forward)?;
                self.hook(HookPoint::Postrouting)?;
                Ok(Fate::Forwarded)
            }
            Origin::Host => {
                self.hook(HookPoint::Output)?;
                self.hook(HookPoint::Postrouting)?;
                if !self.for_us() {
                    return Ok(Fate::Forwarded);
                }
                // It comes in again by lo, as the same connection: still new,
                // with its NAT settled, so that only filter chains see it.
                self.flow.packet.iif = Some(Name::from(LOOPBACK));
                self.hook(HookPoint::Prerouting)?;
                self.hook(HookPoint::Input)?;
                Ok(Fate::Delivered)
            }
        }
    }

    fn for_us(&self) -> bool {
        self.host.is_local(self.flow.packet.daddr)
    }

    fn hook(&mut self, point: HookPoint) -> Result<(), Fate> {
        let tracer = self.views.read();
        let tracks = matches!(point, HookPoint::Prerouting | HookPoint::Output);
        for base in tracer.bases(Family::of(self.flow.packet.daddr), point) {
            if tracks && base.hook.priority >= CONNTRACK_PRIORITY {
                self.flow.tracked = true;
            }
            if base.hook.kind == ChainType::Nat && *self.decided(point) {
                continue;
            }
            let entered = &tracer.tables[base.table];
            // With the transaction the chain may be gone.
            let program = self.views.read().table(&entered.id);
            let name = &entered.chains[base.chain].name;
            let chain =
                program.and_then(|program| Some((program, *program.chain_index.get(name)?)));
            if let Some((program, chain)) = chain {
                self.base(base, program, chain)?;
            }
        }
        self.flow.tracked |= tracks;
        // There are no nat chains in forward; it decides nothing.
        if point != HookPoint::Forward {
            *self.decided(point) = true;
        }
        Ok(())
    }

    /// Whether what nat chains of this hook could decide is decided.
    fn decided(&mut self, point: HookPoint) -> &mut bool {
        match point {
            HookPoint::Prerouting | HookPoint::Output => &mut self.destination_decided,
            HookPoint::Input | HookPoint::Forward | HookPoint::Postrouting => {
                &mut self.source_decided
            }
        }
    }

    /// One base chain and all it leads to (`nft_do_chain`).
    fn base(&mut self, base: &Base, program: &'a Program, chain: usize) -> Result<(), Fate> {
        let mut chain = chain;
        let mut rule = 0;
        let mut callers: Vec<(usize, usize)> = Vec::new();
        let mut moves = 0;
        self.step(program, chain, None, Event::Entered(base.hook));
        loop {
            let Some(code) = program.chains[chain].rules.get(rule) else {
                let Some(caller) = callers.pop() else {
                    self.step(program, chain, None, Event::Passed);
                    return Ok(());
                };
                (chain, rule) = caller;
                continue;
            };
            let (statement, end) = self.rule(program, chain, rule);
            let place = Place { rule, statement, text: code.text.clone() };
            match self.ended(program, chain, place, end, base)? {
                Next::Rule => rule += 1,
                Next::Accepted => return Ok(()),
                // The end of a chain does what is asked for.
                Next::Return => rule = usize::MAX,
                Next::Chain { target, comes_back } => {
                    moves += 1;
                    if comes_back {
                        callers.push((chain, rule + 1));
                    }
                    if callers.len() > JUMP_STACK_SIZE || moves > MOVES_MAX {
                        return Err(self.impossible(program, chain, "chains without end"));
                    }
                    (chain, rule) = (target, 0);
                }
            }
        }
    }

    fn rule(&mut self, program: &'a Program, chain: usize, rule: usize) -> (usize, End) {
        let code = &program.chains[chain].rules[rule];
        let mut context = Context {
            flow: &mut self.flow,
            host: self.host,
            draw: &mut *self.draw,
            memory: &mut *self.memory,
        };
        let (path, views) = (&mut self.path, &mut self.views);
        code.run(&mut |index| views.set(program, index), &mut context, &mut |used: Used| {
            path.push(Step {
                table: program.id.clone(),
                chain: program.chains[chain].name.clone(),
                place: Some(Place { rule, statement: used.statement, text: code.text.clone() }),
                event: used.event,
            });
        })
    }

    /// Notes how a rule ended and says where to go on.
    fn ended(
        &mut self,
        program: &Program,
        chain: usize,
        place: Place,
        end: End,
        base: &Base,
    ) -> Result<Next, Fate> {
        let name = program.chains[chain].name.clone();
        let (event, next) = match end {
            End::Broke => (Event::Broke, Ok(Next::Rule)),
            End::Unread => (Event::Unread, Ok(Next::Rule)),
            End::Ran => (Event::Ran, Ok(Next::Rule)),
            End::Dnat(addr, port) => {
                *self.decided(base.hook.point) = true;
                (Event::Dnat(addr, port), Ok(Next::Accepted))
            }
            End::Masqueraded => {
                *self.decided(base.hook.point) = true;
                (Event::Masqueraded, Ok(Next::Accepted))
            }
            End::Rejected(with) => {
                (Event::Rejected(with), Err(Fate::Rejected { chain: name, with }))
            }
            End::Impossible(why) => (Event::Impossible(why), Err(Fate::Dropped { chain: name })),
            End::Verdict(verdict) => {
                let next = match &verdict {
                    Verdict::Accept => Ok(Next::Accepted),
                    Verdict::Drop => Err(Fate::Dropped { chain: name }),
                    Verdict::Return => Ok(Next::Return),
                    Verdict::Jump(target) => self.chain(program, chain, target, true),
                    Verdict::Goto(target) => self.chain(program, chain, target, false),
                };
                (Event::Verdict(verdict), next)
            }
        };
        self.step(program, chain, Some(place), event);
        next
    }

    fn chain(
        &mut self,
        program: &Program,
        from: usize,
        target: &Name,
        comes_back: bool,
    ) -> Result<Next, Fate> {
        match program.chain_index.get(target) {
            Some(&target) => Ok(Next::Chain { target, comes_back }),
            // It was not there yet when the packet came: no rules of it count.
            None if self.views.is_chain(&program.id, target) => match comes_back {
                true => Ok(Next::Rule),
                false => Ok(Next::Return),
            },
            None => Err(self.impossible(program, from, "there is no such chain")),
        }
    }

    fn impossible(&mut self, program: &Program, chain: usize, why: &'static str) -> Fate {
        self.step(program, chain, None, Event::Impossible(why));
        Fate::Dropped { chain: program.chains[chain].name.clone() }
    }

    fn step(&mut self, program: &Program, chain: usize, place: Option<Place>, event: Event) {
        let (table, chain) = (program.id.clone(), program.chains[chain].name.clone());
        self.path.push(Step { table, chain, place, event });
    }
}

/// Where to go on after a rule.
enum Next {
    Rule,
    Return,
    Accepted,
    Chain { target: usize, comes_back: bool },
}
