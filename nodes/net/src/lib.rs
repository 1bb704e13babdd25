//! Sidetone nodes that impair and record packet links.
