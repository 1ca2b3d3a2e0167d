//! The Service that somebody means, and near ones where there is none.

use std::sync::Arc;

use crate::model::{Cluster, Service, ServiceName, shown};
use crate::watch::known::nearest;

/// The most names that are told.
const TOLD_MAX: usize = 3;

/// No Service is meant, or several are.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotFound {
    /// None has this name.
    #[error(
        "no Service {} is known here{}; headless ones, those of type ExternalName and those of \
         other proxies are not served",
        shown(.name),
        meant(&near(.name, .known))
    )]
    None {
        /// What was asked for.
        name: String,
        /// All that there are; which is near is looked for when it is told, for that takes long.
        known: Vec<ServiceName>,
    },
    /// Several namespaces have one of this name.
    #[error("several namespaces have a Service {}: ask for one of {}", shown(.name), told(.all))]
    Several {
        /// What was asked for.
        name: String,
        /// All of them.
        all: Vec<String>,
    },
}

fn meant(near: &[String]) -> String {
    if near.is_empty() { String::new() } else { format!(" (did you mean {}?)", near.join(" or ")) }
}

fn told(all: &[String]) -> String {
    let first: Vec<&str> = all.iter().take(TOLD_MAX).map(String::as_str).collect();
    let rest = all.len() - first.len();
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    format!("{}{more}", first.join(", "))
}

/// The Service of this name: `NAMESPACE/NAME`, or the name alone where one namespace has it.
///
/// # Errors
/// If there is none, or several.
pub fn find<'a>(name: &str, cluster: &'a Cluster) -> Result<&'a Arc<Service>, NotFound> {
    let (namespace, own) = match name.split_once('/') {
        Some((namespace, own)) => (Some(namespace), own),
        None => (None, name),
    };
    if let Some(namespace) = namespace
        && let Some(service) = cluster.service(&ServiceName::new(namespace, own))
    {
        return Ok(service);
    }
    let mut alike = cluster.services().values().filter(|known| *known.name.name == *own);
    match (namespace, alike.next(), alike.next()) {
        (None, Some(only), None) => Ok(only),
        (None, Some(_), Some(_)) => {
            let all = cluster.services().keys().filter(|known| *known.name == *own);
            Err(NotFound::Several {
                name: name.to_owned(),
                all: all.map(ToString::to_string).collect(),
            })
        }
        _ => Err(NotFound::None {
            name: name.to_owned(),
            known: cluster.services().keys().cloned().collect(),
        }),
    }
}

/// The same name elsewhere, else one that differs by a slip of the finger.
fn near(name: &str, known: &[ServiceName]) -> Vec<String> {
    let own = name.split_once('/').map_or(name, |(_, own)| own);
    let known = || known.iter();
    let elsewhere = known().filter(|known| *known.name == *own).take(TOLD_MAX);
    let elsewhere: Vec<String> = elsewhere.map(ToString::to_string).collect();
    if !elsewhere.is_empty() {
        return elsewhere;
    }
    let full: Vec<String> = known().map(ToString::to_string).collect();
    let full: Vec<&str> = full.iter().map(String::as_str).collect();
    if let Some(near) = nearest(name, &full).filter(|_| name.contains('/')) {
        return vec![near.to_owned()];
    }
    let names: Vec<&str> = known().map(|known| &*known.name).collect();
    let near = nearest(own, &names);
    let alike = known().filter(|known| near == Some(&*known.name)).take(TOLD_MAX);
    alike.map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Change;

    #[test]
    fn a_name_leads_to_one_service_or_to_near_ones() {
        let mut cluster = Cluster::default();
        for (namespace, name) in [("shop", "web"), ("shop", "catalog"), ("blog", "web")] {
            cluster.apply(Change::Service(Service::new(ServiceName::new(namespace, name))));
        }
        let found = |name: &str| find(name, &cluster).map(|found| found.name.to_string());
        let not = |name: &str| found(name).unwrap_err().to_string();
        assert_eq!(found("shop/web").unwrap(), "shop/web");
        assert_eq!(found("catalog").unwrap(), "shop/catalog");
        assert_eq!(
            not("web"),
            "several namespaces have a Service web: ask for one of blog/web, shop/web"
        );
        for (name, near) in [
            ("shopp/web", " (did you mean blog/web or shop/web?)"),
            ("catalogue", " (did you mean shop/catalog?)"),
            ("shop/catalg", " (did you mean shop/catalog?)"),
            ("other/catalg", " (did you mean shop/catalog?)"),
            ("something/else", ""),
        ] {
            let expected = format!("no Service {name} is known here{near}; ");
            assert!(not(name).starts_with(&expected), "{}", not(name));
        }
    }
}
