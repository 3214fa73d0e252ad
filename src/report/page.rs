//! The frame of a page, and the pieces of HTML that it is made of.

/// Nothing may be fetched, and no script may run.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

const STYLE: &str = "\
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#57606a;--paper:#fff;--box:#f4f6f8;--line:#d8dde3;--link:#0060a8}\
@media screen and (prefers-color-scheme:dark){:root{--ink:#e6e8eb;--soft:#9aa4af;--paper:#16191d;--box:#20252b;\
--line:#333a42;--link:#5cb0f0}}\
*{box-sizing:border-box}\
body{margin:0 auto;padding:1rem 1rem 3rem;max-width:1280px;color:var(--ink);background:var(--paper);\
font:16px/1.5 system-ui,-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif}\
h1{font-size:1.6rem;margin:.5rem 0}h2{font-size:1.2rem;margin:2rem 0 .5rem}p{max-width:75ch;margin:.5rem 0}\
.soft,figcaption{color:var(--soft);font-size:.9rem}a{color:var(--link)}\
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:.75rem;margin:1rem 0}\
.tile{background:var(--box);border:1px solid var(--line);border-radius:8px;padding:.6rem .8rem}\
.tile b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}\
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:1rem;margin:1rem 0}\
figure{margin:0;border:1px solid var(--line);border-radius:8px;padding:.6rem;min-width:0}\
figure svg{display:block;width:100%;height:auto}figcaption{padding:.3rem .3rem 0}\
.wide{overflow-x:auto;margin:.5rem 0 1rem}\
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}\
th,td{padding:.3rem .7rem;text-align:right;border-bottom:1px solid var(--line)}\
td,tbody th{white-space:nowrap}thead th{vertical-align:bottom;font-weight:600;min-width:5.5rem}\
th:first-child{text-align:left;position:sticky;left:0;background:var(--paper)}\
tbody th{font-weight:500}thead th:first-child{white-space:nowrap}small{color:var(--soft);font-size:.8rem}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.15rem 1rem;margin:.5rem 0}dt{color:var(--soft)}\
dd{margin:0;overflow-wrap:anywhere}\
pre{background:var(--box);border:1px solid var(--line);border-radius:8px;padding:.7rem;overflow-x:auto;font-size:.85rem}\
summary{cursor:pointer;color:var(--link);margin:.4rem 0}\
.warn{border-left:4px solid #d55e00;padding:.3rem .8rem;background:var(--box)}.warn ul{margin:.2rem 0;padding-left:1.2rem}\
@media(max-width:600px){body{padding:.6rem .6rem 2rem}th,td{padding:.3rem .45rem}\
dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.35rem}}\
@media print{body{font-size:11px;max-width:none}figure,tr,.tile{break-inside:avoid}.wide{overflow:visible}\
.plots{grid-template-columns:1fr 1fr}table{font-size:7.5px}th,td{padding:.15rem .3rem}thead th{min-width:0}\
th:first-child{position:static}.screen,summary{display:none}}";

/// A whole page. `style` comes after that of all reports.
pub(crate) fn document(title: &str, style: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// A heading, a text under it where there is one, and the content, which is HTML.
pub(crate) fn section(title: &str, text: &str, content: &str) -> String {
    let text =
        if text.is_empty() { String::new() } else { format!("<p class=\"soft\">{}</p>\n", escaped(text)) };
    format!("<section>\n<h2>{}</h2>\n{text}{content}</section>\n", escaped(title))
}

/// A figure at the top of a page: its name, the value, and a note.
pub(crate) fn tile(name: &str, value: &str, note: &str) -> String {
    let [name, value, note] = [name, value, note].map(escaped);
    format!("<div class=\"tile\">{name}<b>{value}</b><span class=\"soft\">{note}</span></div>\n")
}

/// A drawing with a caption, both of them markup.
pub(crate) fn figure(svg: &str, caption: &str) -> String {
    format!("<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>\n")
}

/// A link that holds a CSV file.
pub(crate) fn csv_link(file_name: &str, text: &str, csv: &str) -> String {
    let csv = percent_encoded(csv);
    format!(
        "<p class=\"screen\"><a download=\"{file_name}\" href=\"data:text/csv;charset=utf-8,{csv}\">{text}</a></p>\n"
    )
}

/// A table whose first column names the rows.
pub(crate) fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &[String]| -> String {
        // What stands behind a line feed, an interval, goes below in small letters.
        let cell = |cell: &String| match cell.split_once('\n') {
            Some((value, more)) => {
                format!("<{tag}>{}<br><small>{}</small></{tag}>", escaped(value), escaped(more))
            }
            None => format!("<{tag}>{}</{tag}>", escaped(cell)),
        };
        cells.iter().map(cell).collect()
    };
    let body: String = rows
        .iter()
        .map(|row| {
            let (name, rest) = row.split_first().map_or(("", &[][..]), |(name, rest)| (name.as_str(), rest));
            format!("<tr><th scope=\"row\">{}</th>{}</tr>\n", escaped(name), cells("td", rest))
        })
        .collect();
    let head = cells("th", header);
    format!(
        "<div class=\"wide\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )
}

pub(crate) fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(String::from).to_vec()
}

/// A count with thousands separated.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// A number to six significant digits.
pub(crate) fn significant(value: f64) -> String {
    const DIGITS: i32 = 6;
    if value == 0.0 || !value.is_finite() {
        return (value + 0.0).to_string(); // a negative 0 becomes one without a sign
    }
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    let scientific = format!("{:.*e}", DIGITS as usize - 1, value);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>() {
        // What is rounded up to the next power of ten has its exponent.
        Ok(exponent) if (-4..=DIGITS).contains(&exponent) => {
            trimmed(&format!("{:.*}", (DIGITS - 1 - exponent).max(0) as usize, value))
        }
        _ => format!("{}e{exponent}", trimmed(mantissa)),
    }
}

/// Text of at most so many characters.
pub(crate) fn shortened(text: &str, num_chars: usize) -> String {
    if text.chars().count() <= num_chars {
        return text.into();
    }
    text.chars().take(num_chars.saturating_sub(1)).chain(['\u{2026}']).collect()
}

/// Text as it may stand in XML and HTML, in attributes too.
pub(crate) fn escaped(text: &str) -> String {
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

/// Text as it may stand in a URL, all but letters, digits and a few marks encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3 / 2);
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b',' | b':' => {
                encoded.push(byte as char);
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_hold_nothing_that_ends_them() {
        assert_eq!(percent_encoded("a,1.5\n\"é#&"), "a,1.5%0A%22%C3%A9%23%26");
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<a b='c'>&\"\u{1}"), "&lt;a b=&#39;c&#39;&gt;&amp;&quot;\u{FFFD}");
    }

    #[test]
    fn numbers_have_six_digits() {
        let numbers = [
            (0.0, "0"),
            (-0.0, "0"),
            (0.98765449, "0.987654"),
            (-1.5, "-1.5"),
            (0.0001234, "0.0001234"),
            (0.00001234567, "1.23457e-5"),
            (999_999.7, "1000000"),
            (1_234_567.0, "1234567"),
            (2e7, "2e7"),
            (123_456_789.0, "1.23457e8"),
            (f64::NAN, "NaN"),
        ];
        for (number, text) in numbers {
            assert_eq!(significant(number), text);
        }
    }

    #[test]
    fn long_texts_are_cut_between_characters() {
        assert_eq!(shortened("\u{e9}t\u{e9}s", 4), "\u{e9}t\u{e9}s");
        assert_eq!(shortened("\u{e9}t\u{e9}s!", 4), "\u{e9}t\u{e9}\u{2026}");
        assert_eq!(shortened("ab", 0), "\u{2026}");
    }
}
