//! Drawings as PNG files. Lines, boxes and dots are painted by the distance of each pixel from them, which is all
//! that the plots are made of; a library for SVG would bring fonts, and features of shared crates with it.

use std::io::{self, Write};

use flate2::Compression;
use flate2::Crc;
use flate2::write::ZlibEncoder;

use super::glyphs;
use super::svg::{HEIGHT, WIDTH};

/// Pixels for each unit of a drawing.
const SCALE: f64 = 2.0;

type Point = (f64, f64);

/// A colour, red, green and blue, and how much it covers, 0..=1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Paint {
    pub(crate) rgb: [u8; 3],
    pub(crate) opacity: f64,
}

/// What a drawing is made of, in its own units, y downwards.
#[derive(Clone, Debug)]
pub(crate) enum Shape {
    /// A line with round ends; the dashes are lengths that are drawn and left out in turn, none for a whole line.
    Line { points: Vec<Point>, width: f64, dashes: Vec<f64>, paint: Paint },
    /// A filled box between two corners.
    Box { from: Point, to: Point, paint: Paint },
    /// A filled circle.
    Dot { at: Point, radius: f64, paint: Paint },
    /// Text that begins at a point on its base line, or is centred there, or ends there; upwards where it is turned.
    Text { at: Point, anchor: Anchor, size: f64, is_turned: bool, text: String, paint: Paint },
}

/// Which part of a text is at its place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// Paints shapes, the first lowest, on white and encodes them as PNG (RFC 2083): 8 bits for each of red, green, blue.
pub(crate) fn png(shapes: &[Shape]) -> io::Result<Vec<u8>> {
    let mut canvas = Canvas::new((WIDTH * SCALE) as usize, (HEIGHT * SCALE) as usize);
    shapes.iter().for_each(|shape| canvas.draw(shape));
    canvas.encoded()
}

struct Canvas {
    width: usize,
    height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Canvas { width, height, pixels: vec![[255; 3]; width * height] }
    }

    fn draw(&mut self, shape: &Shape) {
        match shape {
            Shape::Line { points, width, dashes, paint } => {
                for line in dashed(points, dashes) {
                    self.line(&line, *width, *paint);
                }
            }
            Shape::Box { from, to, paint } => {
                // The distance along both axes, negative inside.
                let centre = ((from.0 + to.0) / 2.0, (from.1 + to.1) / 2.0);
                let half = ((to.0 - from.0).abs() / 2.0, (to.1 - from.1).abs() / 2.0);
                self.fill(*from, *to, *paint, |(x, y)| {
                    ((x - centre.0).abs() - half.0).max((y - centre.1).abs() - half.1)
                });
            }
            Shape::Dot { at, radius, paint } => self.line(&[*at], 2.0 * radius, *paint),
            Shape::Text { at, anchor, size, is_turned, text, paint } => {
                let share = match anchor {
                    Anchor::Start => 0.0,
                    Anchor::Middle => 0.5,
                    Anchor::End => 1.0,
                };
                let shift = share * glyphs::width(text);
                for stroke in glyphs::strokes(text) {
                    let place = |(x, y): &Point| {
                        let (along, down) = (size * (x - shift), size * y);
                        if *is_turned { (at.0 + down, at.1 - along) } else { (at.0 + along, at.1 + down) }
                    };
                    let stroke: Vec<Point> = stroke.iter().map(place).collect();
                    self.line(&stroke, size * 0.09, *paint);
                }
            }
        }
    }

    /// A whole line, or a dot where it has one point only.
    fn line(&mut self, points: &[Point], width: f64, paint: Paint) {
        let alone = [points[0]; 2];
        let segments = if points.len() == 1 { &alone[..] } else { points };
        for pair in segments.windows(2) {
            let (a, b) = (pair[0], pair[1]);
            let (dx, dy) = (b.0 - a.0, b.1 - a.1);
            let length = dx * dx + dy * dy;
            let low = (a.0.min(b.0) - width / 2.0, a.1.min(b.1) - width / 2.0);
            let high = (a.0.max(b.0) + width / 2.0, a.1.max(b.1) + width / 2.0);
            self.fill(low, high, paint, |(x, y)| {
                let along = if length > 0.0 { ((x - a.0) * dx + (y - a.1) * dy) / length } else { 0.0 };
                let along = along.clamp(0.0, 1.0);
                (x - a.0 - along * dx).hypot(y - a.1 - along * dy) - width / 2.0
            });
        }
    }

    /// Paints what lies within a shape between two corners, by its signed distance; at its edge in part.
    fn fill(&mut self, low: Point, high: Point, paint: Paint, distance: impl Fn(Point) -> f64) {
        let range = |low: f64, high: f64, end: usize| {
            // A cast of a float saturates.
            ((low * SCALE - 1.0) as usize).min(end)..((high * SCALE + 2.0) as usize).min(end)
        };
        for row in range(low.1, high.1, self.height) {
            for column in range(low.0, high.0, self.width) {
                let at = ((column as f64 + 0.5) / SCALE, (row as f64 + 0.5) / SCALE);
                let cover = (0.5 - SCALE * distance(at)).clamp(0.0, 1.0) * paint.opacity;
                if cover > 0.0 {
                    let pixel = &mut self.pixels[row * self.width + column];
                    for (value, wanted) in pixel.iter_mut().zip(paint.rgb) {
                        let mixed = f64::from(*value) * (1.0 - cover) + f64::from(wanted) * cover;
                        *value = mixed.round() as u8;
                    }
                }
            }
        }
    }

    fn encoded(&self) -> io::Result<Vec<u8>> {
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
        for row in self.pixels.chunks(self.width) {
            zlib.write_all(&[0])?; // no filter
            zlib.write_all(row.as_flattened())?;
        }
        let mut header = Vec::new();
        header.extend((self.width as u32).to_be_bytes());
        header.extend((self.height as u32).to_be_bytes());
        header.extend([8, 2, 0, 0, 0]); // 8 bits, RGB, deflate, filters by row, not interlaced
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, data) in [(b"IHDR", &header), (b"IDAT", &zlib.finish()?), (b"IEND", &Vec::new())] {
            let mut checksum = Crc::new();
            checksum.update(name);
            checksum.update(data);
            png.extend((data.len() as u32).to_be_bytes());
            png.extend(name);
            png.extend(data);
            png.extend(checksum.sum().to_be_bytes());
        }
        Ok(png)
    }
}

/// The drawn parts of a line.
fn dashed(points: &[Point], dashes: &[f64]) -> Vec<Vec<Point>> {
    if dashes.is_empty() || dashes.iter().any(|dash| *dash <= 0.0) {
        return if points.is_empty() { Vec::new() } else { vec![points.to_vec()] };
    }
    let mut parts = Vec::new();
    let (mut dash, mut left) = (0, dashes[0]);
    let mut part: Vec<Point> = points.first().copied().into_iter().collect();
    for pair in points.windows(2) {
        let (mut from, to) = (pair[0], pair[1]);
        loop {
            let length = (to.0 - from.0).hypot(to.1 - from.1);
            if length <= left {
                left -= length;
                part.push(to);
                break;
            }
            let share = left / length;
            from = (from.0 + share * (to.0 - from.0), from.1 + share * (to.1 - from.1));
            part.push(from);
            if dash % 2 == 0 {
                parts.push(std::mem::take(&mut part));
            }
            dash = (dash + 1) % (2 * dashes.len());
            left = dashes[dash % dashes.len()];
            part = vec![from];
        }
    }
    if dash % 2 == 0 && !part.is_empty() {
        parts.push(part);
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    const RED: Paint = Paint { rgb: [255, 0, 0], opacity: 1.0 };

    fn pixel(canvas: &Canvas, at: Point) -> [u8; 3] {
        canvas.pixels[(at.1 * SCALE) as usize * canvas.width + (at.0 * SCALE) as usize]
    }

    #[test]
    fn shapes_cover_what_they_enclose_and_nothing_else() {
        let mut canvas = Canvas::new(200, 100);
        canvas.draw(&Shape::Box { from: (10.0, 10.0), to: (20.0, 20.0), paint: RED });
        canvas.draw(&Shape::Dot { at: (50.0, 20.0), radius: 5.0, paint: RED });
        let half = Paint { opacity: 0.5, ..RED };
        let points = vec![(70.0, 10.0), (90.0, 10.0), (90.0, 40.0)];
        canvas.draw(&Shape::Line { points, width: 4.0, dashes: vec![], paint: half });
        // What lies outside is cut off.
        canvas.draw(&Shape::Box { from: (-9.0, 45.0), to: (5.0, 900.0), paint: RED });
        for inside in [(11.0, 11.0), (19.0, 19.0), (50.0, 20.0), (53.0, 23.0), (1.0, 49.0)] {
            assert_eq!(pixel(&canvas, inside), RED.rgb, "{inside:?}");
        }
        for outside in [(9.0, 11.0), (21.0, 19.0), (54.0, 24.0), (80.0, 20.0), (6.0, 49.0), (90.0, 43.0)] {
            assert_eq!(pixel(&canvas, outside), [255; 3], "{outside:?}");
        }
        assert_eq!(pixel(&canvas, (80.0, 10.0)), [255, 128, 128]);
    }

    #[test]
    fn dashes_go_on_around_corners() {
        let parts = dashed(&[(0.0, 0.0), (5.0, 0.0), (5.0, 5.0)], &[4.0, 2.0]);
        assert_eq!(parts, [vec![(0.0, 0.0), (4.0, 0.0)], vec![(5.0, 1.0), (5.0, 5.0)]]);
        assert_eq!(dashed(&[(0.0, 0.0), (9.0, 0.0)], &[]).len(), 1);
        assert!(dashed(&[], &[]).is_empty() && dashed(&[], &[1.0, 1.0]).len() <= 1);
        // Patterns of an odd number go on inverted, as in SVG.
        let odd = dashed(&[(0.0, 0.0), (4.0, 0.0)], &[1.0]);
        assert_eq!(odd, [vec![(0.0, 0.0), (1.0, 0.0)], vec![(2.0, 0.0), (3.0, 0.0)]]);
    }

    #[test]
    fn a_png_decodes_to_its_pixels() {
        let shapes = [Shape::Box { from: (0.0, 0.0), to: (WIDTH, 1.0), paint: RED }];
        let png = png(&shapes).unwrap();
        let (signature, mut rest) = png.split_at(8);
        assert_eq!(signature, b"\x89PNG\r\n\x1a\n");
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let len = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
            let mut checksum = Crc::new();
            checksum.update(&rest[4..8 + len]);
            assert_eq!(rest[8 + len..12 + len], checksum.sum().to_be_bytes());
            chunks.push((&rest[4..8], &rest[8..8 + len]));
            rest = &rest[12 + len..];
        }
        assert_eq!(chunks.iter().map(|(name, _)| *name).collect::<Vec<_>>(), [b"IHDR", b"IDAT", b"IEND"]);
        assert_eq!(chunks[0].1, [0, 0, 4, 176, 0, 0, 3, 72, 8, 2, 0, 0, 0]);
        let mut bytes = Vec::new();
        flate2::read::ZlibDecoder::new(chunks[1].1).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 840 * (1 + 3 * 1200));
        let rows: Vec<&[u8]> = bytes.chunks(3601).collect();
        assert_eq!((rows[1][0], &rows[1][1..4], &rows[5][1..4]), (0, &[255, 0, 0][..], &[255; 3][..]));
    }

    #[test]
    fn text_stands_where_it_is_anchored() {
        let ink = |anchor: Anchor, is_turned: bool| {
            let mut canvas = Canvas::new(400, 400);
            let text = "false positive rate".into();
            canvas.draw(&Shape::Text { at: (100.0, 100.0), anchor, size: 10.0, is_turned, text, paint: RED });
            let inked = canvas.pixels.iter().enumerate().filter(|(_, pixel)| **pixel != [255; 3]);
            let (columns, rows): (Vec<usize>, Vec<usize>) = inked.map(|(i, _)| (i % 400, i / 400)).unzip();
            let range = |all: &[usize]| (*all.iter().min().unwrap(), *all.iter().max().unwrap());
            (range(&columns), range(&rows))
        };
        let ((left, right), (top, bottom)) = ink(Anchor::Start, false);
        assert!((198..=200).contains(&left) && right > 300 && top > 180 && bottom < 208);
        let ((left, right), _) = ink(Anchor::Middle, false);
        assert!((left + right).abs_diff(400) < 4, "{left} {right}");
        assert!(ink(Anchor::End, false).0.1 <= 202);
        let ((left, right), (top, bottom)) = ink(Anchor::Middle, true);
        assert!(
            (top + bottom).abs_diff(400) < 4 && left > 180 && right < 208,
            "{left} {right} {top} {bottom}"
        );
    }
}
