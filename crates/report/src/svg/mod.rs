//! Plots as SVG text, written without a plotting library, so that each is one element that needs no other file.
//!
//! Colours are CSS variables that every drawing defines: `ink`, `soft`, `grid` and `paper` of the page, `c0` to `c6` of
//! curves, `normal` and `attack` of the two classes of events. They follow the reader's light or dark scheme; on paper
//! they are those of the light one.

mod axis;
mod document;
mod plot;

pub use axis::{Axis, Scale, tick_text};
pub use document::{NAMESPACE, document, path_through};
pub use plot::{Corner, Mark, Outline, Plot};
