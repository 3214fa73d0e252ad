//! What the reports of evaluations and of sweeps are made of: pages that need nothing else, and drawings.

mod glyphs;
pub(crate) mod page;
pub(crate) mod raster;
pub(crate) mod svg;
