//! Reading tables that others made, as they run.

use std::collections::BTreeMap;

use nix::errno::Errno;

use super::listing::{Failure, Request};
use super::{LIST_ATTEMPTS, Netlink};
use crate::foreign::{Chain, Content, Listing, Table};
use crate::kernel::{Kernel as _, ListError};
use crate::name::Name;
use crate::ruleset::TableId;
use crate::wire::FOREIGN_HOOK;
use crate::wire::consts::{chain, elem, msg, rule, set};
use crate::wire::decode::{self, DecodeError};

impl Netlink {
    /// What these tables hold, whoever made them, from one generation; tables
    /// that do not exist are absent. It takes a request for each set and map,
    /// also for each that lives inside a rule.
    ///
    /// # Errors
    /// When the kernel cannot be asked, others keep committing, or a base chain
    /// is of a kind that we do not know.
    pub fn list_foreign(&mut self, tables: &[TableId]) -> Result<Listing, ListError> {
        for _ in 0..LIST_ATTEMPTS {
            let gen_id = self.generation()?;
            match self.foreign_once(tables) {
                Err(Failure::Interrupted | Failure::Errno(Errno::ENOENT)) => {}
                Err(other) => return Err(other.into_list_error()),
                Ok(tables) if self.generation()? == gen_id => {
                    odd_hook(&tables)?;
                    return Ok(Listing { tables, gen_id });
                }
                Ok(_) => {}
            }
        }
        Err(ListError::Restless(LIST_ATTEMPTS))
    }

    fn foreign_once(&mut self, ids: &[TableId]) -> Result<BTreeMap<TableId, Table>, Failure> {
        let mut tables = BTreeMap::new();
        for id in ids {
            if self.is_there(id)? {
                tables.insert(id.clone(), self.foreign_table(id)?);
            }
        }
        Ok(tables)
    }

    fn foreign_table(&mut self, id: &TableId) -> Result<Table, Failure> {
        let mut found = Table::default();
        let dump = |kind, names| Request { kind, dump: true, family: Some(id.family), names };
        let names = [(chain::TABLE, id.name.as_str())];
        self.ask(&dump(msg::GETCHAIN, &names), |message| {
            // The kernel filters chains by family alone; other tables may have any names.
            if let Ok(Some((table, name, hook))) = decode::chain(message)
                && table == *id
            {
                found.chains.insert(name, Chain { hook, rules: Vec::new() });
            }
            Ok(())
        })?;
        let names = [(rule::TABLE, id.name.as_str())];
        self.ask(&dump(msg::GETRULE, &names), |message| {
            let (table, chain, rule) = decode::foreign::rule(message)?;
            if let Some(chain) = found.chains.get_mut(&chain)
                && table == *id
            {
                chain.rules.push(rule);
            }
            Ok(())
        })?;
        let names = [(set::TABLE, id.name.as_str())];
        self.ask(&dump(msg::GETSET, &names), |message| {
            let (table, name, set) = decode::foreign::set(message)?;
            if table == *id {
                found.sets.insert(name, set);
            }
            Ok::<_, DecodeError>(())
        })?;
        for (name, set) in found.sets.iter_mut().filter(|(_, set)| !set.dynamic) {
            self.foreign_elements(id, name, &mut set.content)?;
        }
        Ok(found)
    }

    fn foreign_elements(
        &mut self,
        id: &TableId,
        set: &Name,
        content: &mut Content,
    ) -> Result<(), Failure> {
        if *content == Content::Unread {
            return Ok(());
        }
        let names = [(elem::LIST_TABLE, id.name.as_str()), (elem::LIST_SET, set.as_str())];
        let family = Some(id.family);
        let request = Request { kind: msg::GETSETELEM, dump: true, family, names: &names };
        self.ask(&request, |message| decode::foreign::fill(content, message))
    }
}

/// Where the kernel enters a chain must be known.
fn odd_hook(tables: &BTreeMap<TableId, Table>) -> Result<(), ListError> {
    for (id, table) in tables {
        let mut chains = table.chains.iter();
        if let Some((name, _)) = chains.find(|(_, chain)| chain.hook == Some(FOREIGN_HOOK)) {
            let what = format!("the base chain {name} of table {id} is of no kind that is known");
            return Err(ListError::Garbled(what));
        }
    }
    Ok(())
}
