//! What the reports of `ipsight` are made of: HTML pages that need no other file and run no script, and plots as SVG
//! text. It knows nothing of models or sweeps, and has no dependencies.
//!
//! [`page`] has the frame of a page and its parts, [`svg`] axes and curves, [`text`] numbers and names as both show
//! them. Every text that comes from outside is escaped here, so callers pass it as it is; what a function takes as
//! markup is called HTML or SVG in its documentation.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod page;
pub mod svg;
pub mod text;
