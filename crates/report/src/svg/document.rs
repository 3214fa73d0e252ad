//! The SVG document around a drawing, with the style of all drawings.

use std::fmt::Write;

use crate::text::escaped;

/// The palette is that of Okabe & Ito (2008), which colour-blind readers can tell apart; dashes tell the curves apart
/// without colours.
pub(super) const STYLE: &str = "\
.plot{--ink:#1b1f24;--soft:#6a737d;--grid:#e3e6ea;--paper:#fff;--c0:#0060a8;--c1:#8a6d00;--c2:#00805c;\
--c3:#c25100;--c4:#a8518a;--c5:#3a91c9;--c6:#1b1f24;--normal:#0072b2;--attack:#d55e00;\
font:15px system-ui,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif;background:var(--paper)}\
@media screen and (prefers-color-scheme:dark){.plot{--ink:#e6e8eb;--soft:#9aa4af;--grid:#333a42;--paper:#16191d;\
--c0:#5cb0f0;--c1:#e6c34a;--c2:#3ec9a0;--c3:#f08a4b;--c4:#e09cc8;--c5:#8fd0f5;--c6:#e6e8eb;\
--normal:#4aa8e8;--attack:#f08a4b}}\
.plot text{fill:var(--ink)}.plot .tick{fill:var(--soft);font-size:13px}\
.plot .grid{stroke:var(--grid);stroke-width:1}.plot .axis{stroke:var(--soft);stroke-width:1}\
.plot .curve{fill:none}\
.plot .hover{fill:transparent;stroke:none}.plot .hover:hover{fill:var(--ink)}\
.plot .legend{fill:var(--paper);fill-opacity:.85}.plot .mark{stroke:var(--soft);stroke-dasharray:4 3}\
.plot .bar{fill-opacity:.55}.plot .bar:hover{fill-opacity:1}\
@media screen and (max-width:600px){.plot{font-size:19px}.plot .tick{font-size:16px}}\
@media print{.plot{print-color-adjust:exact;-webkit-print-color-adjust:exact}}";

/// The attribute that an SVG file needs. A drawing inside HTML does not, so a page may leave it out.
pub const NAMESPACE: &str = " xmlns=\"http://www.w3.org/2000/svg\"";

/// A whole SVG document, `width` and `height` in its own units. `body` is SVG, `title` a text for screen readers.
pub fn document((width, height): (f64, f64), title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg{NAMESPACE} class=\"plot\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
         <rect style=\"fill:var(--paper)\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

/// The `d` attribute of a path through points. One point alone becomes a line of length 0, which is a dot where line
/// ends are round.
pub fn path_through(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let letter = if i == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{x:.1} {y:.1}"); // writing to memory does not fail
    }
    if points.len() == 1 { path + "h0" } else { path }
}
