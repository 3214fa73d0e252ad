//! The frame of an HTML page, and the parts that it is made of.

use crate::text::escaped;

/// The page's content security policy: it fetches nothing and runs no script.
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

/// A whole HTML document. `style` is CSS that comes after the style of all reports, `body` is HTML.
pub fn document(title: &str, style: &str, body: &str) -> String {
    let title = escaped(title);
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
    )
}

/// A section: a heading, a text below it unless that is empty, and `content`, which is HTML.
pub fn section(title: &str, text: &str, content: &str) -> String {
    let text =
        if text.is_empty() { String::new() } else { format!("<p class=\"soft\">{}</p>\n", escaped(text)) };
    format!("<section>\n<h2>{}</h2>\n{text}{content}</section>\n", escaped(title))
}

/// A figure at the top of a page: its name, its value, and a note.
pub fn tile(name: &str, value: &str, note: &str) -> String {
    let [name, value, note] = [name, value, note].map(escaped);
    format!("<div class=\"tile\">{name}<b>{value}</b><span class=\"soft\">{note}</span></div>\n")
}

/// A plot with a caption: SVG and HTML.
pub fn figure(svg: &str, caption: &str) -> String {
    format!("<figure>\n{svg}<figcaption>{caption}</figcaption>\n</figure>\n")
}

/// A link that holds a whole CSV file and saves it under `file_name`.
pub fn csv_link(file_name: &str, text: &str, csv: &str) -> String {
    let ([file_name, text], csv) = ([file_name, text].map(escaped), percent_encoded(csv));
    format!(
        "<p class=\"screen\"><a download=\"{file_name}\" href=\"data:text/csv;charset=utf-8,{csv}\">{text}</a></p>\n"
    )
}

/// A table. The first cell of each row is its name; what follows a line feed in a cell is shown below it in small
/// letters.
pub fn table(header: &[String], rows: &[Vec<String>]) -> String {
    let cells = |tag: &str, cells: &[String]| -> String {
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

/// Owned texts, as [`table`] takes its header.
pub fn strings<const N: usize>(texts: [&str; N]) -> Vec<String> {
    texts.map(String::from).to_vec()
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
}
