//! Sidetone nodes that encode and decode.
