//! The cases, by what they are about.

pub(super) mod frames;
pub(super) mod life;
pub(super) mod loading;
pub(super) mod params;
pub(super) mod promises;
pub(super) mod state;
pub(super) mod stream;
