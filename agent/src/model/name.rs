//! Names as types, so that a node is never taken for a zone.
//!
//! All are shared text: cheap to clone, compared by content. A name from a file
//! may hold anything; shown with `Display` it is fit for a terminal and a log.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use closeby_nft::L4Proto;
use serde::{Deserialize, Serialize};

use super::note::shown;

/// The text of a name. One word wide: of 100,000 endpoints, each names its node
/// and its zone.
type Text = Arc<Box<str>>;

macro_rules! text_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(Text);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Whether another copy of it is alive.
            #[must_use]
            pub fn is_shared(&self) -> bool {
                Arc::strong_count(&self.0) > 1
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(Arc::new(text.into()))
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&shown(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

text_name!(
    /// A Node's `metadata.name`.
    NodeName
);
text_name!(
    /// A ServiceCIDR's `metadata.name`.
    ServiceCidrName
);
text_name!(
    /// A value of `topology.kubernetes.io/zone`; never empty.
    Zone
);
text_name!(
    /// A Namespace's `metadata.name`.
    NamespaceName
);
text_name!(
    /// A value of `topology.kubernetes.io/region`; never empty.
    Region
);
text_name!(
    /// A value of `topology.istio.io/subzone`; never empty.
    Subzone
);
text_name!(
    /// A value of `topology.istio.io/network`; never empty.
    Network
);
text_name!(
    /// A port's name in a Service and in its slices; empty when it has none.
    PortName
);

macro_rules! namespaced_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name {
            /// `metadata.namespace`.
            pub namespace: Arc<str>,
            /// `metadata.name`.
            pub name: Arc<str>,
        }

        impl $name {
            /// The name `namespace/name`.
            #[must_use]
            pub fn new(namespace: &str, name: &str) -> Self {
                Self { namespace: namespace.into(), name: name.into() }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}/{}", shown(&self.namespace), shown(&self.name))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "\"{self}\"")
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

namespaced_name!(
    /// A Service.
    ServiceName
);
namespaced_name!(
    /// An EndpointSlice.
    SliceName
);

/// One port of one Service, as kube-proxy names it: `namespace/name:port/proto`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServicePortName {
    /// The Service.
    pub service: ServiceName,
    /// The port's name.
    pub port: PortName,
    /// Its protocol.
    pub proto: L4Proto,
}

impl fmt::Display for ServicePortName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.service)?;
        if !self.port.as_str().is_empty() {
            write!(f, ":{}", self.port)?;
        }
        write!(f, "/{}", self.proto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_shown_without_control_characters() {
        let name = ServicePortName {
            service: ServiceName::new("sh\u{202e}op", "we\u{1b}[31mb\n"),
            port: PortName::from("\r"),
            proto: L4Proto::Tcp,
        };
        assert_eq!(name.to_string(), r"sh\u{202e}op/we\u{1b}[31mb\n:\r/tcp");
        assert_eq!(format!("{:?}", SliceName::new("a", "\0")), r#""a/\0""#);
    }
}
