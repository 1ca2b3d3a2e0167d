//! Reads addresses and prefixes as people and Kubernetes write them.
//!
//! One reader for the whole agent: two that understand an address differently
//! are a way around whatever the first one checked (CVE-2021-29922).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use closeby_nft::{Family, Prefix};

use super::note::quoted;

/// Reads an address as Go's `ParseIPSloppy` does: leading zeros of an IPv4
/// octet are decimal, not octal. Blanks around it are trimmed.
///
/// # Errors
///
/// In words: what is wrong with it.
pub fn read_address(text: &str) -> Result<IpAddr, String> {
    let trimmed = text.trim();
    if let Some(addr) = read_ipv4(trimmed) {
        return Ok(IpAddr::V4(addr));
    }
    match trimmed.parse::<Ipv6Addr>() {
        Ok(addr) if addr.to_ipv4_mapped().is_some() => {
            Err(format!("{} is an IPv4 address written as IPv6", quoted(text)))
        }
        Ok(addr) => Ok(IpAddr::V6(addr)),
        Err(_) if trimmed.contains('%') => {
            Err(format!("{} has a zone, which no Service can use", quoted(text)))
        }
        Err(_) if trimmed.contains('/') => Err(format!("{} is no single address", quoted(text))),
        Err(_) => Err(format!("{} is no IP address", quoted(text))),
    }
}

fn read_ipv4(text: &str) -> Option<Ipv4Addr> {
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next()?;
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let significant = part.trim_start_matches('0');
        *octet = if significant.is_empty() { 0 } else { significant.parse().ok()? };
    }
    parts.next().is_none().then(|| octets.into())
}

/// Whether a Service may have this address.
///
/// # Errors
///
/// In words: why not.
pub fn is_service_address(addr: IpAddr) -> Result<(), String> {
    not_special(addr).map_err(|what| format!("{addr} is {what} address, which no Service may have"))
}

/// Whether traffic may be sent to this endpoint: nobody who may write slices
/// may direct it at the node itself (CVE-2021-25737).
///
/// # Errors
///
/// In words: why not.
pub fn is_endpoint(addr: IpAddr) -> Result<(), String> {
    not_special(addr).map_err(|what| format!("{addr} is {what} address, which is no endpoint"))
}

/// Whether an address counts on one link alone.
#[must_use]
pub fn is_link_local(addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(addr) => addr.is_link_local(),
        IpAddr::V6(addr) => addr.is_unicast_link_local(),
    }
}

fn not_special(addr: IpAddr) -> Result<(), &'static str> {
    if addr.is_unspecified() {
        Err("the unspecified")
    } else if addr.is_loopback() {
        Err("a loopback")
    } else if is_link_local(addr) {
        Err("a link-local")
    } else if addr.is_multicast() {
        Err("a multicast")
    } else if addr == IpAddr::V4(Ipv4Addr::BROADCAST) {
        Err("the broadcast")
    } else {
        Ok(())
    }
}

/// Reads a prefix, with an address as sloppy as [`read_address`].
///
/// # Errors
///
/// In words: what is wrong with it.
pub fn read_prefix(text: &str) -> Result<Prefix, String> {
    let problem = || format!("{} is no prefix such as 10.0.0.0/8", quoted(text));
    let (addr, len) = text.trim().split_once('/').ok_or_else(problem)?;
    let addr = read_address(addr)?;
    if len.is_empty() || !len.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(problem());
    }
    len.parse().ok().and_then(|len| Prefix::new(addr, len)).ok_or_else(problem)
}

/// The API's word for a family.
#[must_use]
pub fn family_word(family: Family) -> &'static str {
    match family {
        Family::Ip => "IPv4",
        Family::Ip6 => "IPv6",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_go_reads_them() {
        let cases = [
            ("10.0.0.1", "10.0.0.1"),
            ("010.000.0.5", "10.0.0.5"),
            (" 10.0.0.1\n", "10.0.0.1"),
            ("0377.0.0.1", "\"0377.0.0.1\" is no IP address"),
            ("FD00::A", "fd00::a"),
            ("::ffff:10.0.0.1", "\"::ffff:10.0.0.1\" is an IPv4 address written as IPv6"),
            ("fe80::1%eth0", "\"fe80::1%eth0\" has a zone, which no Service can use"),
            ("10.0.0.0/8", "\"10.0.0.0/8\" is no single address"),
            ("web.example", "\"web.example\" is no IP address"),
            ("10.0.0.256", "\"10.0.0.256\" is no IP address"),
            ("10.0.0", "\"10.0.0\" is no IP address"),
            ("10.0.0.1.2", "\"10.0.0.1.2\" is no IP address"),
            ("10.0.+0.1", "\"10.0.+0.1\" is no IP address"),
            ("", "\"\" is no IP address"),
        ];
        for (text, expected) in cases {
            let read = read_address(text).map_or_else(|problem| problem, |addr| addr.to_string());
            assert_eq!(read, expected);
        }
    }

    #[test]
    fn prefixes_lose_their_host_bits() {
        assert_eq!(read_prefix("010.1.2.3/8").unwrap().to_string(), "10.0.0.0/8");
        for bad in ["10.0.0.0", "10.0.0.0/33", "10.0.0.0/+8", "x/8", "10.0.0.0/"] {
            assert!(read_prefix(bad).is_err(), "{bad}");
        }
    }
}
