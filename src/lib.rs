//! Sidetone.
