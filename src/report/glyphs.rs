//! Letters as strokes, for drawings without a browser: no font is needed, and every machine draws the same.

/// Strokes of a letter, on a grid: points of two digits, x from the left and y upwards, lines of them divided by
/// blanks. The base line is at 2, small letters end at 7 and capitals at 9. A point alone is a dot.
const GLYPHS: [(char, &str); 74] = [
    ('a', "463717060312324346 4742"),
    ('b', "0902 0617374643321203"),
    ('c', "4637170603123243"),
    ('d', "4942 4637170603123243"),
    ('e', "05454637170603123243"),
    ('f', "39291812 0737"),
    ('g', "4741301001 4637170603123243"),
    ('h', "0902 0617374642"),
    ('i', "0702 09"),
    ('j', "171100 19"),
    ('k', "0902 4704 1542"),
    ('l', "0902"),
    ('m', "0702 0617273632 3647576662"),
    ('n', "0702 0617374642"),
    ('o', "120306173746433212"),
    ('p', "0700 0617374643321203"),
    ('q', "4740 4637170603123243"),
    ('r', "0702 05162737"),
    ('s', "46371706153443321203"),
    ('t', "19132232 0737"),
    ('u', "0703123243 4742"),
    ('v', "072247"),
    ('w', "0712375267"),
    ('x', "0742 4702"),
    ('y', "0722 472210"),
    ('z', "07470242"),
    ('A', "022942 1434"),
    ('B', "02093948473606 3645433202"),
    ('C', "4839190803123243"),
    ('D', "02092947442202"),
    ('E', "49090242 0636"),
    ('F', "490902 0636"),
    ('G', "48391908031232434525"),
    ('H', "0902 4942 0646"),
    ('I', "0902"),
    ('J', "3933221203"),
    ('K', "0902 4905 1642"),
    ('L', "090242"),
    ('M', "0209346962"),
    ('N', "02094249"),
    ('O', "190803124253584919"),
    ('P', "02093948463505"),
    ('Q', "190803124253584919 3452"),
    ('R', "02093948463505 2542"),
    ('S', "483919080716364543321203"),
    ('T', "0949 2922"),
    ('U', "090312324349"),
    ('V', "092249"),
    ('W', "0912375269"),
    ('X', "0942 4902"),
    ('Y', "092649 2622"),
    ('Z', "09490242"),
    ('0', "190803123243483919"),
    ('1', "172922 1232"),
    ('2', "08193948460242"),
    ('3', "0819394847364543321203 1636"),
    ('4', "390444 3932"),
    ('5', "490906364543321203"),
    ('6', "483919080312324345361605"),
    ('7', "094912"),
    ('8', "1607081939484736160503123243453616"),
    ('9', "463515060819394843321203"),
    ('(', "19070412"),
    (')', "09171402"),
    ('%', "5902 0819281708 3344534233"),
    ('_', "0141"),
    ('.', "02"),
    (',', "1200"),
    (':', "02 06"),
    ('-', "0535"),
    ('\u{2212}', "0545"),
    ('/', "0139"),
    ('=', "0444 0646"),
    (' ', ""),
];

/// A box, for what has no strokes here.
const UNKNOWN: &str = "0209494202";

/// Sizes of the grid's units, and the space behind a letter, as parts of the font's size.
const UNIT_X: f64 = 0.082;
const UNIT_Y: f64 = 0.1;
const SPACE: f64 = 0.175;
const BLANK: f64 = 0.12;

/// The width of a text, in units of the font's size.
pub(super) fn width(text: &str) -> f64 {
    text.chars().map(advance).sum::<f64>() - SPACE
}

/// The lines of a text that begins at x = 0 on the base line y = 0, with y downwards, in units of the font's size.
pub(super) fn strokes(text: &str) -> Vec<Vec<(f64, f64)>> {
    let mut lines = Vec::new();
    let mut start = 0.0;
    for char in text.chars() {
        for stroke in glyph(char).split(' ').filter(|stroke| !stroke.is_empty()) {
            let point = |[x, y]: &[u8; 2]| {
                (start + UNIT_X * f64::from(x - b'0'), -UNIT_Y * (f64::from(y - b'0') - 2.0))
            };
            lines.push(stroke.as_bytes().as_chunks().0.iter().map(point).collect());
        }
        start += advance(char);
    }
    lines
}

fn glyph(char: char) -> &'static str {
    GLYPHS.iter().find(|(known, _)| *known == char).map_or(UNKNOWN, |(_, strokes)| strokes)
}

fn advance(char: char) -> f64 {
    let columns = glyph(char).split(' ').flat_map(|stroke| stroke.bytes().step_by(2));
    let width = columns.max().map_or(BLANK, |x| UNIT_X * f64::from(x - b'0'));
    width + SPACE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stroke_is_on_the_grid_and_no_letter_comes_twice() {
        for (i, (char, strokes)) in GLYPHS.iter().enumerate() {
            assert!(strokes.split(' ').all(|stroke| stroke.len() % 2 == 0), "{char}");
            assert!(strokes.bytes().all(|byte| byte == b' ' || byte.is_ascii_digit()), "{char}");
            assert!(GLYPHS[..i].iter().all(|(other, _)| other != char), "{char}");
        }
        assert!(('a'..='z').chain('A'..='Z').chain('0'..='9').all(|char| glyph(char) != UNKNOWN));
    }

    #[test]
    fn a_text_is_as_wide_as_its_letters() {
        let height = 7.0 * UNIT_Y;
        assert_eq!(strokes("l"), [[(0.0, -height), (0.0, 0.0)]]);
        let last = strokes("ll").pop().unwrap()[0].0;
        assert!((last - width("ll")).abs() < 1e-12 && last > 0.1, "{last}");
        assert_eq!(strokes("\u{fc}"), strokes("\u{df}"));
    }
}
