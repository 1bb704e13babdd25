//! Sidetone nodes that make test signals.
