//! Scales, axes and curves as SVG text, without a plotting library: the pages must stand alone.

use std::fmt::Write;

use super::raster::{Anchor, Paint, Shape};

/// Size of every drawing in its own units: small enough that its text is readable on a phone.
pub(super) const WIDTH: f64 = 600.0;
pub(super) const HEIGHT: f64 = 420.0;

/// The plotting area.
const LEFT: f64 = 62.0;
const RIGHT: f64 = WIDTH - 18.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = HEIGHT - 56.0;

/// Colours follow the reader's scheme, paper is always white. The palette is that of Okabe & Ito (2008), which
/// the colour-blind can tell apart; dashes tell the curves apart in greys.
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
pub(super) enum Scale {
    /// From the first value to the second.
    Linear(f64, f64),
    /// Powers of ten, from the first exponent to the second; smaller values stand at the beginning.
    Log10(i32, i32),
}

impl Scale {
    fn share(self, value: f64) -> f64 {
        let share = match self {
            Scale::Linear(low, high) => (value - low) / (high - low),
            Scale::Log10(low, high) => (value.max(1e-300).log10() - f64::from(low)) / f64::from(high - low),
        };
        if share.is_nan() { 0.0 } else { share.clamp(0.0, 1.0) }
    }

    /// Where lines and numbers stand.
    fn ticks(self) -> Vec<f64> {
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

/// Where a legend stands.
#[derive(Clone, Copy)]
pub(super) enum Corner {
    TopLeft,
    BottomLeft,
    BottomRight,
}

/// A drawing under construction: as SVG text, and as shapes in the colours of paper.
pub(super) struct Plot {
    x: Scale,
    y: Scale,
    body: String,
    shapes: Vec<Shape>,
}

/// A finished drawing.
pub(super) struct Drawing {
    /// An SVG document.
    pub(super) svg: String,
    /// The same for a file of pixels; without what is seen only when it is pointed at.
    pub(super) shapes: Vec<Shape>,
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
    pub(super) fn new(x: Scale, x_label: &str, y: Scale, y_label: &str) -> Self {
        let mut plot = Plot { x, y, body: String::new(), shapes: Vec::new() };
        for tick in x.ticks() {
            let at = plot.x(tick);
            plot.line("grid", (at, TOP), (at, BOTTOM));
            plot.text("tick", (at, BOTTOM + 20.0), Anchor::Middle, &tick_text(tick));
        }
        for tick in y.ticks() {
            let at = plot.y(tick);
            plot.line("grid", (LEFT, at), (RIGHT, at));
            plot.text("tick", (LEFT - 8.0, at + 4.5), Anchor::End, &tick_text(tick));
        }
        plot.line("axis", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        plot.line("axis", (LEFT, TOP), (LEFT, BOTTOM));
        plot.text("", ((LEFT + RIGHT) / 2.0, HEIGHT - 10.0), Anchor::Middle, x_label);
        let middle = (TOP + BOTTOM) / 2.0;
        plot.text_with("", (15.0, middle), Anchor::Middle, y_label, true);
        plot
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + self.x.share(value) * (RIGHT - LEFT)
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
    pub(super) fn steps(&mut self, curve: usize, points: impl Iterator<Item = (f64, f64)>) {
        self.path(&Look::of_curve(curve), points, true);
    }

    /// As [`Plot::steps`], but along y first: between two points the value of the second holds.
    pub(super) fn steps_back(&mut self, curve: usize, points: impl Iterator<Item = (f64, f64)>) {
        self.path(&Look::of_curve(curve), points, false);
    }

    /// A curve in the colour of a class of events, in steps along x first.
    pub(super) fn steps_of_class(&mut self, variable: &str, points: impl Iterator<Item = (f64, f64)>) {
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
    pub(super) fn hover(&mut self, at: (f64, f64), text: &str) {
        let ((x, y), text) = ((self.x(at.0), self.y(at.1)), escaped(text));
        self.push(format_args!(
            r#"<circle class="hover" cx="{x:.1}" cy="{y:.1}" r="5"><title>{text}</title></circle>"#
        ));
    }

    /// A spot that is always seen.
    pub(super) fn dot(&mut self, curve: usize, at: (f64, f64), text: &str) {
        let ((x, y), text, colour) =
            ((self.x(at.0), self.y(at.1)), escaped(text), Look::of_curve(curve).colour);
        self.shapes.push(Shape::Dot { at: (x, y), radius: 4.5, paint: paint(&colour, 1.0) });
        self.push(format_args!(
            r#"<circle style="fill:var(--{colour})" cx="{x:.1}" cy="{y:.1}" r="4.5"><title>{text}</title></circle>"#
        ));
    }

    /// A bar between two heights at one place.
    pub(super) fn whisker(&mut self, curve: usize, at: f64, (low, high): (f64, f64)) {
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
    pub(super) fn diagonal(&mut self) {
        self.line("mark", (LEFT, BOTTOM), (RIGHT, TOP));
    }

    /// A bar from 0 to `height` over `from..to`.
    pub(super) fn bar(&mut self, variable: &str, (from, to): (f64, f64), height: f64, text: &str) {
        let (x, width, y) = (self.x(from), self.x(to) - self.x(from), self.y(height));
        let (from, to, paint) = ((x, y), (x + width, BOTTOM), paint(variable, 0.55));
        self.shapes.push(Shape::Box { from, to, paint });
        let (height, text) = (BOTTOM - y, escaped(text));
        self.push(format_args!(
            r#"<rect class="bar" style="fill:var(--{variable})" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{text}</title></rect>"#
        ));
    }

    /// An upright line with a note.
    pub(super) fn mark(&mut self, at: f64, text: &str) {
        let x = self.x(at);
        self.line("mark", (x, TOP), (x, BOTTOM));
        self.text("tick", (x + 4.0, TOP + 11.0), Anchor::Start, text);
    }

    /// The names of the curves, in a box in a corner.
    pub(super) fn curve_legend<'a>(&mut self, names: impl Iterator<Item = &'a str>, corner: Corner) {
        let entries: Vec<_> = names.enumerate().map(|(i, name)| (name, Look::of_curve(i))).collect();
        let (left, right) = (LEFT + 8.0, RIGHT - LEGEND_WIDTH - 8.0);
        let (x, top) = match corner {
            Corner::TopLeft => (left, Some(TOP + 6.0)),
            Corner::BottomLeft => (left, None),
            Corner::BottomRight => (right, None),
        };
        self.legend(&entries, x, top);
    }

    /// The names of classes of events by their colours, in a box at the top.
    pub(super) fn class_legend(&mut self, entries: [(&str, &str); 2]) {
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
    pub(super) fn finish(self, title: &str) -> Drawing {
        let title = escaped(title);
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"{title}\">\n<style>{STYLE}</style>\n\
             <rect style=\"fill:var(--paper)\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>\n{}</svg>\n",
            self.body
        );
        Drawing { svg, shapes: self.shapes }
    }
}

fn tick_text(value: f64) -> String {
    // Sums of steps have a last digit too many.
    let text = format!("{value:.10}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".into() } else { text.replace('-', "\u{2212}") }
}

/// Text as it may stand in XML and HTML, in attributes too.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // XML has no place for these, not even escaped.
            char if char.is_control() && !matches!(char, '\n' | '\t') => escaped.push('\u{FFFD}'),
            char => escaped.push(char),
        }
    }
    escaped
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

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<a b='c'>&\"\u{1}"), "&lt;a b=&#39;c&#39;&gt;&amp;&quot;\u{FFFD}");
    }
}
