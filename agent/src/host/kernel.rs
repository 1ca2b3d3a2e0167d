//! What the kernel of this network namespace can do.

use std::collections::BTreeSet;
use std::fs;
use std::io;

use closeby_nft::Family;

/// Where IPv6 is switched off; it is there if the kernel has IPv6 at all.
const DISABLE_IPV6: &str = "/proc/sys/net/ipv6/conf/all/disable_ipv6";

/// The families to program, and why one of them is not.
#[must_use]
pub fn families() -> (BTreeSet<Family>, Option<String>) {
    families_of(fs::read_to_string(DISABLE_IPV6))
}

fn families_of(disable_ipv6: io::Result<String>) -> (BTreeSet<Family>, Option<String>) {
    let ip_alone = BTreeSet::from([Family::Ip]);
    match disable_ipv6 {
        Ok(value) if value.trim() == "0" => (Family::BOTH.into(), None),
        Ok(value) => {
            let value = value.trim();
            (
                ip_alone,
                Some(format!("IPv6 is off ({DISABLE_IPV6} is {value}); IPv4 alone is served")),
            )
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let note = "the kernel has no IPv6; IPv4 alone is served".to_owned();
            (ip_alone, Some(note))
        }
        // Better to be refused by the kernel than to leave a family out unasked.
        Err(error) => {
            let note = format!("cannot read {DISABLE_IPV6}: {error}; IPv6 is taken to be on");
            (Family::BOTH.into(), Some(note))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_is_on_unless_it_is_off() {
        let told = |read| {
            let (families, note) = families_of(read);
            (families.len(), note.unwrap_or_default())
        };
        assert_eq!(told(Ok("0\n".to_owned())), (2, String::new()));
        let (count, note) = told(Ok("1\n".to_owned()));
        assert_eq!((count, note.contains("disable_ipv6 is 1")), (1, true));
        assert_eq!(told(Err(io::ErrorKind::NotFound.into())).0, 1);
        assert_eq!(told(Err(io::ErrorKind::PermissionDenied.into())).0, 2);
    }
}
