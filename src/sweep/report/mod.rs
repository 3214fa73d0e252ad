//! The report of a sweep: one HTML page that needs no other file, and its trials as CSV.
//!
//! The page has no script, and its content security policy forbids every request; values appear while a pointer is over
//! a mark or a line.

mod domains;
mod html;
mod parallel;
mod plots;
mod subject;
mod tables;
#[cfg(test)]
mod tests;

pub use html::page;
pub use subject::Subject;
pub use tables::trials_csv;
