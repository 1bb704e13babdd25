//! The Sidetone room node and its transports.
