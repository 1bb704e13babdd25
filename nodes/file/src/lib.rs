//! Sidetone nodes that read and write media files.
