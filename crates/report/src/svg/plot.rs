//! A plot under construction: two axes, and what is drawn between them.

use std::fmt::Write;

use super::axis::{Axis, Scale};
use super::document::{document, path_through};
use crate::text::escaped;

/// Size of every plot in its own units: small enough that its text is readable on a phone.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 420.0;

/// The plotting area.
const LEFT: f64 = 62.0;
const RIGHT: f64 = WIDTH - 18.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = HEIGHT - 56.0;

/// Dashes of the curves by their number.
const DASHES: [&str; 7] = ["none", "7 3", "2 3", "9 3 2 3", "5 5", "12 4", "3 2"];

/// Wide enough for the names at the size of letters on a phone.
const LEGEND_WIDTH: f64 = 206.0;

/// How a line looks.
struct Look {
    /// A CSS variable.
    colour: String,
    width: f64,
    dash: &'static str,
}

impl Look {
    /// The first curve is the most important one.
    fn of_curve(curve: usize) -> Self {
        let width = if curve == 0 { 3.0 } else { 1.8 };
        Look { colour: format!("c{}", curve % DASHES.len()), width, dash: DASHES[curve % DASHES.len()] }
    }

    fn of_class(variable: &str) -> Self {
        Look { colour: variable.into(), width: 2.2, dash: "none" }
    }

    fn style(&self) -> String {
        format!("stroke:var(--{});stroke-width:{};stroke-dasharray:{}", self.colour, self.width, self.dash)
    }
}

/// Which part of a text is at its position.
#[derive(Clone, Copy)]
enum Anchor {
    Start,
    Middle,
    End,
}

/// How a value is marked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    /// The form.
    pub outline: Outline,
    /// A CSS variable.
    pub colour: &'static str,
    /// Half of the size, in units of the drawing.
    pub radius: f64,
}

/// The form of a [`Mark`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outline {
    /// A full circle.
    Dot,
    /// A hollow circle.
    Ring,
    /// A hollow square.
    Square,
}

/// Where a legend stands in the plotting area.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corner {
    /// At the left of the top.
    TopLeft,
    /// At the left of the bottom.
    BottomLeft,
    /// At the right of the bottom.
    BottomRight,
}

/// A plot under construction. What is added later lies above. Points are in values of the two axes; a value outside an
/// axis stands at its end.
#[derive(Debug)]
pub struct Plot {
    x: Scale,
    y: Scale,
    /// Where the plotting area begins.
    left: f64,
    body: String,
}

impl Plot {
    /// A plot with round numbers at both axes.
    pub fn new(x: Scale, x_label: &str, y: Scale, y_label: &str) -> Self {
        Plot::in_area(LEFT, &Axis::new(x, x_label), &Axis::new(y, y_label))
    }

    /// A plot with these axes, and with room for their texts.
    pub fn with_axes(x: &Axis, y: &Axis) -> Self {
        Plot::in_area(y.text_width().max(LEFT), x, y)
    }

    fn in_area(left: f64, x: &Axis, y: &Axis) -> Self {
        let mut plot = Plot { x: x.scale, y: y.scale, left, body: String::new() };
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
        let (x, y, label) = (15.0, (TOP + BOTTOM) / 2.0, escaped(&y.label));
        plot.push(format_args!(
            r#"<text class="" x="{x:.1}" y="{y:.1}" text-anchor="middle" transform="rotate(-90 {x} {y})">{label}</text>"#
        ));
        plot
    }

    fn x(&self, value: f64) -> f64 {
        self.left + self.x.share(value) * (RIGHT - self.left)
    }

    fn y(&self, value: f64) -> f64 {
        BOTTOM - self.y.share(value) * (BOTTOM - TOP)
    }

    fn line(&mut self, class: &str, (x1, y1): (f64, f64), (x2, y2): (f64, f64)) {
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    fn text(&mut self, class: &str, (x, y): (f64, f64), anchor: Anchor, text: &str) {
        let text = escaped(text);
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        self.push(format_args!(
            r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#
        ));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        let _ = self.body.write_fmt(text); // writing to memory does not fail
        self.body.push('\n');
    }

    /// A curve through points, in steps: along x first, then along y.
    pub fn steps(&mut self, curve: usize, points: impl Iterator<Item = (f64, f64)>) {
        self.path(&Look::of_curve(curve), points, true);
    }

    /// As [`Plot::steps`], but along y first: between two points the value of the second holds.
    pub fn steps_back(&mut self, curve: usize, points: impl Iterator<Item = (f64, f64)>) {
        self.path(&Look::of_curve(curve), points, false);
    }

    /// A curve in the colour of a class of events, a CSS variable, in steps along x first.
    pub fn steps_of_class(&mut self, colour: &str, points: impl Iterator<Item = (f64, f64)>) {
        self.path(&Look::of_class(colour), points, true);
    }

    fn path(&mut self, look: &Look, points: impl Iterator<Item = (f64, f64)>, x_first: bool) {
        let mut path = String::new();
        let mut last: Option<(String, String)> = None;
        for (x, y) in points {
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
        let style = look.style();
        self.push(format_args!(r#"<path class="curve" style="{style}" d="{path}"/>"#));
    }

    /// An invisible spot that shows `text` while a pointer is over it.
    pub fn hover(&mut self, at: (f64, f64), text: &str) {
        let ((x, y), text) = ((self.x(at.0), self.y(at.1)), escaped(text));
        self.push(format_args!(
            r#"<circle class="hover" cx="{x:.1}" cy="{y:.1}" r="5"><title>{text}</title></circle>"#
        ));
    }

    /// A dot in the colour of a curve, which shows `text` while a pointer is over it.
    pub fn dot(&mut self, curve: usize, at: (f64, f64), text: &str) {
        let ((x, y), text, colour) =
            ((self.x(at.0), self.y(at.1)), escaped(text), Look::of_curve(curve).colour);
        self.push(format_args!(
            r#"<circle style="fill:var(--{colour})" cx="{x:.1}" cy="{y:.1}" r="4.5"><title>{text}</title></circle>"#
        ));
    }

    /// A mark, which shows `text` while a pointer is over it.
    pub fn spot(&mut self, mark: Mark, at: (f64, f64), text: &str) {
        let Mark { outline, colour, radius } = mark;
        let ((x, y), text) = ((self.x(at.0), self.y(at.1)), escaped(text));
        // A hollow mark is filled with a transparent colour: an empty one would not notice a pointer inside.
        let hollow = format!("fill:transparent;stroke:var(--{colour});stroke-width:1.6");
        match outline {
            Outline::Dot => self.push(format_args!(
                r#"<circle style="fill:var(--{colour});fill-opacity:.8" cx="{x:.1}" cy="{y:.1}" r="{radius}"><title>{text}</title></circle>"#
            )),
            Outline::Ring => self.push(format_args!(
                r#"<circle style="{hollow}" cx="{x:.1}" cy="{y:.1}" r="{radius}"><title>{text}</title></circle>"#
            )),
            Outline::Square => self.push(format_args!(
                r#"<rect style="{hollow}" x="{:.1}" y="{:.1}" width="{side}" height="{side}"><title>{text}</title></rect>"#,
                x - radius,
                y - radius,
                side = 2.0 * radius
            )),
        }
    }

    /// A line from point to point, which shows `text` while a pointer is over it.
    pub fn line_through(
        &mut self,
        colour: &str,
        (width, opacity): (f64, f64),
        points: impl Iterator<Item = (f64, f64)>,
        text: &str,
    ) {
        let points: Vec<_> = points.map(|(x, y)| (self.x(x), self.y(y))).collect();
        let style = format!("stroke:var(--{colour});stroke-width:{width};stroke-opacity:{opacity:.2}");
        let (path, text) = (path_through(&points), escaped(text));
        self.push(format_args!(
            r#"<path class="curve line" style="{style}" d="{path}"><title>{text}</title></path>"#
        ));
    }

    /// A vertical line between two values at one place, with a short bar at each end, in the colour of a curve.
    pub fn whisker(&mut self, curve: usize, at: f64, (low, high): (f64, f64)) {
        let (x, low, high) = (self.x(at), self.y(low), self.y(high));
        let (left, right, colour) = (x - 4.0, x + 4.0, Look::of_curve(curve).colour);
        self.push(format_args!(
            r#"<path class="curve" style="stroke:var(--{colour});stroke-width:1.8" d="M{left:.1} {low:.1}H{right:.1}M{x:.1} {low:.1}V{high:.1}M{left:.1} {high:.1}H{right:.1}"/>"#
        ));
    }

    /// A dashed line from one corner to the other: where both values are equal, if both axes have the same scale.
    pub fn diagonal(&mut self) {
        self.line("mark", (self.left, BOTTOM), (RIGHT, TOP));
    }

    /// A bar from 0 to `height` over `from..to`, which shows `text` while a pointer is over it. The colour is a CSS
    /// variable.
    pub fn bar(&mut self, colour: &str, (from, to): (f64, f64), height: f64, text: &str) {
        let (x, width, y) = (self.x(from), self.x(to) - self.x(from), self.y(height));
        let (height, text) = (BOTTOM - y, escaped(text));
        self.push(format_args!(
            r#"<rect class="bar" style="fill:var(--{colour})" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{text}</title></rect>"#
        ));
    }

    /// A dashed vertical line with a note at its top.
    pub fn mark(&mut self, at: f64, text: &str) {
        let x = self.x(at);
        self.line("mark", (x, TOP), (x, BOTTOM));
        self.text("tick", (x + 4.0, TOP + 11.0), Anchor::Start, text);
    }

    /// The names of the curves by their numbers, in a box in a corner.
    pub fn curve_legend<'a>(&mut self, names: impl Iterator<Item = &'a str>, corner: Corner) {
        let entries: Vec<_> = names.enumerate().map(|(i, name)| (name, Look::of_curve(i))).collect();
        let (left, right) = (self.left + 8.0, RIGHT - LEGEND_WIDTH - 8.0);
        let (x, top) = match corner {
            Corner::TopLeft => (left, Some(TOP + 6.0)),
            Corner::BottomLeft => (left, None),
            Corner::BottomRight => (right, None),
        };
        self.legend(&entries, x, top);
    }

    /// The names of two classes of events, each with the CSS variable of its colour, in a box at the top.
    pub fn class_legend(&mut self, entries: [(&str, &str); 2]) {
        let entries = entries.map(|(colour, name)| (name, Look { width: 10.0, ..Look::of_class(colour) }));
        self.legend(&entries, RIGHT - LEGEND_WIDTH, Some(TOP + 20.0));
    }

    /// `top` is where the box begins; without it, it stands at the bottom.
    fn legend(&mut self, entries: &[(&str, Look)], x: f64, top: Option<f64>) {
        const LINE: f64 = 21.0;
        let height = LINE * entries.len() as f64 + 8.0;
        let top = top.unwrap_or(BOTTOM - height - 8.0);
        self.push(format_args!(
            r#"<rect class="legend" x="{x:.1}" y="{top:.1}" width="{LEGEND_WIDTH}" height="{height:.1}" rx="4"/>"#
        ));
        for (i, (name, look)) in entries.iter().enumerate() {
            let style = look.style();
            let y = top + 18.0 + LINE * i as f64;
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

    /// The finished plot, an SVG document; `title` is a text for screen readers.
    pub fn finish(self, title: &str) -> String {
        document((WIDTH, HEIGHT), title, &self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::STYLE;
    use super::*;

    const UNIT: Scale = Scale::Linear(0.0, 1.0);

    /// A plot with everything that there is, and a text that would end attributes and tags.
    fn everything(text: &str) -> String {
        let axis = Axis { scale: UNIT, ticks: vec![(0.5, text.into())], label: text.into() };
        let mut plot = Plot::with_axes(&axis, &axis);
        let points = || [(0.0, 0.5), (1.0, 1.0)].into_iter();
        for curve in 0..DASHES.len() + 1 {
            plot.steps(curve, points());
        }
        plot.steps_back(1, points());
        for class in ["normal", "attack"] {
            plot.steps_of_class(class, points());
            plot.bar(class, (0.0, 0.5), 0.3, text);
        }
        plot.hover((0.1, 0.1), text);
        plot.dot(0, (0.1, 0.1), text);
        for outline in [Outline::Dot, Outline::Ring, Outline::Square] {
            plot.spot(Mark { outline, colour: "soft", radius: 4.0 }, (f64::NAN, f64::INFINITY), text);
        }
        plot.line_through("ink", (1.5, 0.5), points(), text);
        plot.whisker(2, 0.5, (0.25, 0.75));
        plot.diagonal();
        plot.mark(0.5, text);
        plot.curve_legend([text].into_iter(), Corner::BottomRight);
        plot.class_legend([("normal", text), ("attack", text)]);
        plot.finish(text)
    }

    #[test]
    fn steps_go_along_one_axis_at_a_time() {
        let points = || [(0.0, 0.0), (0.5, 0.25), (1.0, 0.25), (1.0, 1.0)].into_iter();
        let mut plot = Plot::new(UNIT, "x", UNIT, "y");
        plot.steps(0, points());
        plot.steps_back(1, points());
        let svg = plot.finish("");
        // The plotting area is 62 to 582 and, downwards, 364 to 16.
        assert!(svg.contains(r#"d="M62.0 364.0H322.0V277.0H582.0V16.0""#), "{svg}");
        assert!(svg.contains(r#"d="M62.0 364.0V277.0H322.0H582.0V16.0""#), "{svg}");
    }

    #[test]
    fn every_colour_is_defined_in_both_schemes() {
        let (light, rest) = STYLE.split_once("@media").unwrap();
        let (dark, _) = rest.split_once("}}").unwrap();
        let svg = everything("x");
        let used: Vec<&str> =
            svg.split("var(--").skip(1).map(|rest| rest.split_once(')').unwrap().0).collect();
        assert!(
            ["c0", "c6", "normal", "attack", "soft", "ink", "paper"].iter().all(|name| used.contains(name))
        );
        for name in used {
            let definition = format!("--{name}:#");
            assert!(light.contains(&definition) && dark.contains(&definition), "{name}");
        }
    }

    #[test]
    fn texts_do_not_become_markup_and_positions_are_numbers() {
        let svg = everything("</svg><script>\"'&");
        assert!(!svg.contains("<script") && svg.matches("</svg>").count() == 1, "{svg}");
        assert!(svg.contains("&lt;/svg&gt;&lt;script&gt;&quot;&#39;&amp;"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
