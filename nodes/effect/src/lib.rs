//! Sidetone nodes that change or compose pictures.
