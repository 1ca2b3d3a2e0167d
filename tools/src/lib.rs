//! Tools around closeby.
