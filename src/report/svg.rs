//! Scales, axes and curves as SVG text, without a plotting library: the pages must stand alone.

use std::fmt::Write;

use super::page::{escaped, significant};
use super::raster::{Anchor, Paint, Shape};

/// Size of every drawing in its own units: small enough that its text is readable on a phone.
pub(crate) const WIDTH: f64 = 600.0;
pub(crate) const HEIGHT: f64 = 420.0;

/// The plotting area.
const LEFT: f64 = 62.0;
const RIGHT: f64 = WIDTH - 18.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = HEIGHT - 56.0;

/// Colours follow the reader's scheme, paper is always white. The palette is that of Okabe & Ito (2008), which
/// the colour-blind can tell apart; dashes tell the curves apart in greys.
pub(crate) const STYLE: &str = "\
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

/// Dashes of the curves by their number.
const DASHES: [&str; 7] = ["none", "7 3", "2 3", "9 3 2 3", "5 5", "12 4", "3 2"];

/// Wide enough for the names in the letters of a phone.
const LEGEND_WIDTH: f64 = 206.0;

/// How a line looks.
struct Look {
    /// A variable of [`STYLE`].
    colour: String,
    width: f64,
    dash: &'static str,
}

impl Look {
    /// The first curve is the one that matters.
    fn of_curve(curve: usize) -> Self {
        let width = if curve == 0 { 3.0 } else { 1.8 };
        Look { colour: format!("c{}", curve % DASHES.len()), width, dash: DASHES[curve % DASHES.len()] }
    }

    fn of_class(variable: &str) -> Self {
        Look { colour: variable.into(), width: 2.2, dash: "none" }
    }

    fn line(&self, points: Vec<(f64, f64)>) -> Shape {
        // `none` has no numbers.
        let dashes = self.dash.split(' ').filter_map(|dash| dash.parse().ok()).collect();
        Shape::Line { points, width: self.width, dashes, paint: paint(&self.colour, 1.0) }
    }

    fn style(&self) -> String {
        format!("stroke:var(--{});stroke-width:{};stroke-dasharray:{}", self.colour, self.width, self.dash)
    }
}

/// How values become positions along one axis.
#[derive(Clone, Copy)]
pub(crate) enum Scale {
    /// From the first value to the second.
    Linear(f64, f64),
    /// Powers of ten, from the first exponent to the second; smaller values stand at the beginning.
    Log10(i32, i32),
}

impl Scale {
    /// How far along the axis, 0..=1, whatever the value.
    pub(crate) fn share(self, value: f64) -> f64 {
        let share = match self {
            Scale::Linear(low, high) => (value - low) / (high - low),
            Scale::Log10(low, high) => (value.max(1e-300).log10() - f64::from(low)) / f64::from(high - low),
        };
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// Where lines and numbers stand.
    pub(crate) fn ticks(self) -> Vec<f64> {
        match self {
            Scale::Log10(low, high) => (low..=high).map(power_of_ten).collect(),
            // All values are one, or there are none.
            Scale::Linear(low, high) if low >= high => vec![low],
            Scale::Linear(low, high) => {
                let rough = (high - low) / 6.0;
                let unit = 10f64.powf(rough.log10().floor());
                let step =
                    unit * [1.0, 2.0, 5.0, 10.0].into_iter().find(|m| m * unit >= rough).unwrap_or(10.0);
                let first = (low / step).ceil() as i64;
                (first..).map(|i| i as f64 * step).take_while(|tick| *tick <= high + 1e-9 * step).collect()
            }
        }
    }
}

/// As the decimal reads, and not as a product of roundings.
fn power_of_ten(exponent: i32) -> f64 {
    format!("1e{exponent}").parse().unwrap_or(1.0)
}

/// An axis with its name and with texts at some of its values.
pub(crate) struct Axis {
    pub(crate) scale: Scale,
    pub(crate) ticks: Vec<(f64, String)>,
    pub(crate) label: String,
}

impl Axis {
    /// With round numbers.
    pub(crate) fn new(scale: Scale, label: &str) -> Self {
        let ticks = scale.ticks().into_iter().map(|tick| (tick, tick_text(tick))).collect();
        Axis { scale, ticks, label: label.into() }
    }

    /// The place for the texts of an upright axis: for long ones more than [`LEFT`], in the letters of a phone.
    fn width(&self) -> f64 {
        let longest = self.ticks.iter().map(|(_, text)| text.chars().count()).max().unwrap_or(0);
        (30.0 + 9.5 * longest as f64).max(LEFT)
    }
}

/// How a value is marked.
#[derive(Clone, Copy)]
pub(crate) struct Mark {
    pub(crate) outline: Outline,
    /// A variable of [`STYLE`].
    pub(crate) colour: &'static str,
    pub(crate) radius: f64,
}

/// The form of a [`Mark`]: full, or hollow.
#[derive(Clone, Copy)]
pub(crate) enum Outline {
    Dot,
    Ring,
    Square,
}

/// Where a legend stands.
#[derive(Clone, Copy)]
pub(crate) enum Corner {
    TopLeft,
    BottomLeft,
    BottomRight,
}

/// A drawing under construction: as SVG text, and as shapes in the colours of paper.
pub(crate) struct Plot {
    x: Scale,
    y: Scale,
    /// Where the plotting area begins.
    left: f64,
    body: String,
    shapes: Vec<Shape>,
}

/// A finished drawing.
pub(crate) struct Drawing {
    /// An SVG document.
    pub(crate) svg: String,
    /// The same for a file of pixels; without what is seen only when it is pointed at.
    pub(crate) shapes: Vec<Shape>,
}

/// A colour of [`STYLE`] by its variable, in the light scheme, which comes first there.
fn paint(variable: &str, opacity: f64) -> Paint {
    let hex = STYLE.split_once(&format!("--{variable}:#")).map_or("000", |(_, rest)| rest);
    let digits: Vec<u8> =
        hex.chars().map_while(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    let rgb = match digits[..] {
        [r, g, b] => [r, g, b].map(|digit| 17 * digit),
        [r, s, g, h, b, c, ..] => [16 * r + s, 16 * g + h, 16 * b + c],
        _ => [0; 3],
    };
    Paint { rgb, opacity }
}

impl Plot {
    pub(crate) fn new(x: Scale, x_label: &str, y: Scale, y_label: &str) -> Self {
        Plot::in_area(LEFT, &Axis::new(x, x_label), &Axis::new(y, y_label))
    }

    /// With axes of one's own, and room for their texts.
    pub(crate) fn with_axes(x: &Axis, y: &Axis) -> Self {
        Plot::in_area(y.width(), x, y)
    }

    fn in_area(left: f64, x: &Axis, y: &Axis) -> Self {
        let mut plot = Plot { x: x.scale, y: y.scale, left, body: String::new(), shapes: Vec::new() };
        for (tick, text) in &x.ticks {
            let at = plot.x(*tick);
            plot.line("grid", (at, TOP), (at, BOTTOM));
            plot.text("tick", (at, BOTTOM + 20.0), Anchor::Middle, text);
        }
        for (tick, text) in &y.ticks {
            let at = plot.y(*tick);
            plot.line("grid", (left, at), (RIGHT, at));
            plot.text("tick", (left - 8.0, at + 4.5), Anchor::End, text);
        }
        plot.line("axis", (left, BOTTOM), (RIGHT, BOTTOM));
        plot.line("axis", (left, TOP), (left, BOTTOM));
        plot.text("", ((left + RIGHT) / 2.0, HEIGHT - 10.0), Anchor::Middle, &x.label);
        let middle = (TOP + BOTTOM) / 2.0;
        plot.text_with("", (15.0, middle), Anchor::Middle, &y.label, true);
        plot
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.x.share(value) * (RIGHT - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - self.y.share(value) * (BOTTOM - TOP)
    }

    fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let (variable, dashes) = match class {
            "grid" => ("grid", vec![]),
            "mark" => ("soft", vec![4.0, 3.0]),
            _ => ("soft", vec![]),
        };
        self.shapes.push(Shape::Line {
            points: vec![from, to],
            width: 1.0,
            dashes,
            paint: paint(variable, 1.0),
        });
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    fn text(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str) {
        self.text_with(class, at, anchor, text, false);
    }

    fn text_with(&mut self, class: &str, at: (f64, f64), anchor: Anchor, text: &str, is_turned: bool) {
        let (variable, size) = if class == "tick" { ("soft", 13.0) } else { ("ink", 15.0) };
        let paint = paint(variable, 1.0);
        self.shapes.push(Shape::Text { at, anchor, size, is_turned, text: text.into(), paint });
        let ((x, y), text) = (at, escaped(text));
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let turned = if is_turned { format!(r#" transform="rotate(-90 {x} {y})""#) } else { String::new() };
        self.push(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}"{turned}>{text}</text>"#
        ));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(text); // writing to memory does not fail
        self.body.push('\n');
    }

    /// A curve through points, in steps: along x first, then along y.
    pub(crate) fn steps(&mut self, curve: usize, points: impl Iterator<Item = (f64, f64)>) {
        self.path(&Look::of_curve(curve), points, true);
    }

    /// As [`Plot::steps`], but along y first: between two points the value of the second holds.
    pub(crate) fn steps_back(&mut self, curve: usize, points: impl Iterator<Item = (f64, f64)>) {
        self.path(&Look::of_curve(curve), points, false);
    }

    /// A curve in the colour of a class of events, in steps along x first.
    pub(crate) fn steps_of_class(&mut self, variable: &str, points: impl Iterator<Item = (f64, f64)>) {
        self.path(&Look { width: 2.2, ..Look::of_class(variable) }, points, true);
    }

    fn path(&mut self, look: &Look, points: impl Iterator<Item = (f64, f64)>, x_first: bool) {
        let mut path = String::new();
        let mut corners: Vec<(f64, f64)> = Vec::new();
        let mut last = None;
        for (x, y) in points {
            let place = (self.x(x), self.y(y));
            if let Some(last) = corners.last().copied() {
                corners.push(if x_first { (place.0, last.1) } else { (last.0, place.1) });
            }
            corners.push(place);
            let (x, y) = (format!("{:.1}", self.x(x)), format!("{:.1}", self.y(y)));
            match &last {
                None => path += &format!("M{x} {y}"),
                Some((last_x, last_y)) => {
                    let along_x = if *last_x != x { format!("H{x}") } else { String::new() };
                    let along_y = if *last_y != y { format!("V{y}") } else { String::new() };
                    path += &if x_first { along_x + &along_y } else { along_y + &along_x };
                }
            }
            last = Some((x, y));
        }
        self.shapes.push(look.line(corners));
        let style = look.style();
        self.push(format_args!(r#"<path class="curve" style="{style}" d="{path}"/>"#));
    }

    /// A spot that shows `text` when it is pointed at.
    pub(crate) fn hover(&mut self, at: (f64, f64), text: &str) {
        let ((x, y), text) = ((self.x(at.0), self.y(at.1)), escaped(text));
        self.push(format_args!(
            r#"<circle class="hover" cx="{x:.1}" cy="{y:.1}" r="5"><title>{text}</title></circle>"#
        ));
    }

    /// A spot that is always seen.
    pub(crate) fn dot(&mut self, curve: usize, at: (f64, f64), text: &str) {
        let ((x, y), text, colour) =
            ((self.x(at.0), self.y(at.1)), escaped(text), Look::of_curve(curve).colour);
        self.shapes.push(Shape::Dot { at: (x, y), radius: 4.5, paint: paint(&colour, 1.0) });
        self.push(format_args!(
            r#"<circle style="fill:var(--{colour})" cx="{x:.1}" cy="{y:.1}" r="4.5"><title>{text}</title></circle>"#
        ));
    }

    /// A mark that is always seen.
    pub(crate) fn spot(&mut self, mark: Mark, at: (f64, f64), text: &str) {
        let Mark { outline, colour, radius } = mark;
        let ((x, y), text) = ((self.x(at.0), self.y(at.1)), escaped(text));
        let corners = |number: u32, from: f64, radius: f64| -> Vec<(f64, f64)> {
            let angle = |i: u32| std::f64::consts::TAU * (f64::from(i) / f64::from(number) + from);
            (0..=number).map(|i| (x + radius * angle(i).cos(), y + radius * angle(i).sin())).collect()
        };
        let outlined = |points| Shape::Line { points, width: 1.6, dashes: vec![], paint: paint(colour, 1.0) };
        // What is hollow is transparent instead of empty: it can be pointed at.
        let hollow = format!("fill:transparent;stroke:var(--{colour});stroke-width:1.6");
        match outline {
            Outline::Dot => {
                self.shapes.push(Shape::Dot { at: (x, y), radius, paint: paint(colour, 0.8) });
                self.push(format_args!(
                    r#"<circle style="fill:var(--{colour});fill-opacity:.8" cx="{x:.1}" cy="{y:.1}" r="{radius}"><title>{text}</title></circle>"#
                ));
            }
            Outline::Ring => {
                self.shapes.push(outlined(corners(16, 0.0, radius)));
                self.push(format_args!(
                    r#"<circle style="{hollow}" cx="{x:.1}" cy="{y:.1}" r="{radius}"><title>{text}</title></circle>"#
                ));
            }
            Outline::Square => {
                self.shapes.push(outlined(corners(4, 0.125, radius * std::f64::consts::SQRT_2)));
                self.push(format_args!(
                    r#"<rect style="{hollow}" x="{:.1}" y="{:.1}" width="{side}" height="{side}"><title>{text}</title></rect>"#,
                    x - radius,
                    y - radius,
                    side = 2.0 * radius
                ));
            }
        }
    }

    /// A line from point to point, which shows `text` when it is pointed at.
    pub(crate) fn line_through(
        &mut self,
        colour: &str,
        (width, opacity): (f64, f64),
        points: impl Iterator<Item = (f64, f64)>,
        text: &str,
    ) {
        let points: Vec<_> = points.map(|(x, y)| (self.x(x), self.y(y))).collect();
        let style = format!("stroke:var(--{colour});stroke-width:{width};stroke-opacity:{opacity:.2}");
        let (path, text) = (path_through(&points), escaped(text));
        self.shapes.push(Shape::Line { points, width, dashes: vec![], paint: paint(colour, opacity) });
        self.push(format_args!(
            r#"<path class="curve line" style="{style}" d="{path}"><title>{text}</title></path>"#
        ));
    }

    /// A bar between two heights at one place.
    pub(crate) fn whisker(&mut self, curve: usize, at: f64, (low, high): (f64, f64)) {
        let (x, low, high) = (self.x(at), self.y(low), self.y(high));
        let colour = Look::of_curve(curve).colour;
        for points in [
            vec![(x - 4.0, low), (x + 4.0, low)],
            vec![(x, low), (x, high)],
            vec![(x - 4.0, high), (x + 4.0, high)],
        ] {
            self.shapes.push(Shape::Line { points, width: 1.8, dashes: vec![], paint: paint(&colour, 1.0) });
        }
        self.push(format_args!(
            r#"<path class="curve" style="stroke:var(--{colour});stroke-width:1.8" d="M{:.1} {low:.1}H{:.1}M{x:.1} {low:.1}V{high:.1}M{:.1} {high:.1}H{:.1}"/>"#,
            x - 4.0,
            x + 4.0,
            x - 4.0,
            x + 4.0
        ));
    }

    /// The line on which both axes have one value, where they have one scale.
    pub(crate) fn diagonal(&mut self) {
        self.line("mark", (self.left, BOTTOM), (RIGHT, TOP));
    }

    /// A bar from 0 to `height` over `from..to`.
    pub(crate) fn bar(&mut self, variable: &str, (from, to): (f64, f64), height: f64, text: &str) {
        let (x, width, y) = (self.x(from), self.x(to) - self.x(from), self.y(height));
        let (from, to, paint) = ((x, y), (x + width, BOTTOM), paint(variable, 0.55));
        self.shapes.push(Shape::Box { from, to, paint });
        let (height, text) = (BOTTOM - y, escaped(text));
        self.push(format_args!(
            r#"<rect class="bar" style="fill:var(--{variable})" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{text}</title></rect>"#
        ));
    }

    /// An upright line with a note.
    pub(crate) fn mark(&mut self, at: f64, text: &str) {
        let x = self.x(at);
        self.line("mark", (x, TOP), (x, BOTTOM));
        self.text("tick", (x + 4.0, TOP + 11.0), Anchor::Start, text);
    }

    /// The names of the curves, in a box in a corner.
    pub(crate) fn curve_legend<'a>(&mut self, names: impl Iterator<Item = &'a str>, corner: Corner) {
        let entries: Vec<_> = names.enumerate().map(|(i, name)| (name, Look::of_curve(i))).collect();
        let (left, right) = (self.left + 8.0, RIGHT - LEGEND_WIDTH - 8.0);
        let (x, top) = match corner {
            Corner::TopLeft => (left, Some(TOP + 6.0)),
            Corner::BottomLeft => (left, None),
            Corner::BottomRight => (right, None),
        };
        self.legend(&entries, x, top);
    }

    /// The names of classes of events by their colours, in a box at the top.
    pub(crate) fn class_legend(&mut self, entries: [(&str, &str); 2]) {
        let entries =
            entries.map(|(variable, name)| (name, Look { width: 10.0, ..Look::of_class(variable) }));
        self.legend(&entries, RIGHT - LEGEND_WIDTH, Some(TOP + 20.0));
    }

    fn legend(&mut self, entries: &[(&str, Look)], x: f64, top: Option<f64>) {
        const LINE: f64 = 21.0;
        let height = LINE * entries.len() as f64 + 8.0;
        let top = top.unwrap_or(BOTTOM - height - 8.0);
        let (from, to) = ((x, top), (x + LEGEND_WIDTH, top + height));
        self.shapes.push(Shape::Box { from, to, paint: paint("paper", 0.85) });
        self.push(format_args!(
            r#"<rect class="legend" x="{x:.1}" y="{top:.1}" width="{LEGEND_WIDTH}" height="{height:.1}" rx="4"/>"#
        ));
        for (i, (name, look)) in entries.iter().enumerate() {
            let style = look.style();
            let y = top + 18.0 + LINE * i as f64;
            self.shapes.push(look.line(vec![(x + 6.0, y - 5.0), (x + 38.0, y - 5.0)]));
            self.push(format_args!(
                r#"<line style="{style}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
                x + 6.0,
                y - 5.0,
                x + 38.0,
                y - 5.0
            ));
            self.text("", (x + 46.0, y), Anchor::Start, name);
        }
    }

    /// The drawing; `title` is for those who cannot see it.
    pub(crate) fn finish(self, title: &str) -> Drawing {
        let svg = document((WIDTH, HEIGHT), title, &self.body);
        Drawing { svg, shapes: self.shapes }
    }
}

/// What an SVG file needs and a drawing inside of HTML does not.
pub(crate) const NAMESPACE: &str = " xmlns=\"http://www.w3.org/2000/svg\"";

/// An SVG document of a size; `title` is for those who cannot see it.
pub(crate) fn document((width, height): (f64, f64), title: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<svg{NAMESPACE} class=\"plot\" viewBox=\"0 0 {width} {height}\" \
         role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
         <rect style=\"fill:var(--paper)\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n"
    )
}

/// The data of a path through points. A single one is a dot, where line ends are round.
pub(crate) fn path_through(points: &[(f64, f64)]) -> String {
    let mut path = String::new();
    for (i, (x, y)) in points.iter().enumerate() {
        let letter = if i == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{x:.1} {y:.1}"); // writing to memory does not fail
    }
    if points.len() == 1 { path + "h0" } else { path }
}

/// A number at an axis.
pub(crate) fn tick_text(value: f64) -> String {
    // More digits than there is room for, or than are written below.
    if value != 0.0 && !(1e-9..1e9).contains(&value.abs()) {
        return significant(value).replace('-', "\u{2212}");
    }
    // Sums of steps have a last digit too many.
    let text = format!("{value:.10}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.replace('-', "\u{2212}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(Scale::Linear(0.0, 1.0).ticks().len(), 6);
        assert_eq!(Scale::Log10(-3, 0).ticks(), [0.001, 0.01, 0.1, 1.0]);
        assert_eq!(Scale::Linear(2.0, 2.0).ticks(), [2.0]);
        let ticks = Scale::Linear(-13.7, 8.2).ticks();
        assert_eq!(ticks, [-10.0, -5.0, 0.0, 5.0]);
        assert_eq!(tick_text(-0.30000000000000004), "\u{2212}0.3");
        assert_eq!(tick_text(0.00001), "0.00001");
    }

    #[test]
    fn colours_are_those_of_the_light_scheme() {
        assert_eq!(paint("c0", 1.0).rgb, [0, 0x60, 0xa8]);
        assert_eq!(paint("paper", 0.5), Paint { rgb: [255; 3], opacity: 0.5 });
        let (light, _) = STYLE.split_once("@media").unwrap();
        for variable in ["ink", "soft", "grid", "normal", "attack", "c6"] {
            assert!(light.contains(&format!("--{variable}:#")), "{variable}");
        }
    }

    #[test]
    fn values_outside_stand_at_the_ends() {
        let scale = Scale::Log10(-4, 0);
        assert_eq!([0.0, 1e-9, 1e-4, 1e-2, 1.0, 7.0].map(|x| scale.share(x)), [0.0, 0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!(Scale::Linear(3.0, 3.0).share(3.0), 0.0);
    }
}
