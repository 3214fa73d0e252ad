//! What a server takes on at most, so that no request and no number of them can exhaust it.

use std::time::Duration;

use crate::{At, Error, Result};

/// Connections past the bound that are answered at one time; those past these are closed without an answer.
pub const NUM_ANSWERED: usize = 64;

/// Connections for the operator, which are counted apart: a service that is full can be looked at.
pub const MAX_ADMIN_CONNECTIONS: usize = 32;

/// Open files that are no connections of the service: those of the operator and past the bound, listeners, the
/// runtime's own, a model being loaded.
const OTHER_FILES: u64 = (NUM_ANSWERED + MAX_ADMIN_CONNECTIONS + 32) as u64;

/// A platform stops a server that takes longer to end: Amazon SageMaker after 30 s.
const MAX_DRAIN: Duration = Duration::from_secs(25);

/// Bounds of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a request's body; SageMaker's bound of 6 MiB by default.
    pub max_body_bytes: usize,
    /// Records of a request.
    pub max_records: usize,
    /// How deep JSON may nest.
    pub max_json_depth: usize,
    /// Bytes of a response of embeddings, estimated before it is made.
    pub max_response_bytes: usize,
    /// Connections at one time.
    pub max_connections: usize,
    /// Records that wait to be scored.
    pub max_queue_records: usize,
    /// Bytes of all bodies that are being read or worked on.
    pub max_queue_bytes: usize,
    /// Records that are scored together.
    pub max_batch_records: usize,
    /// Explanations at one time: each scores some 270,000 addresses.
    pub max_explanations: usize,
    /// From the first byte of a request's head to its end; and for a TLS handshake.
    pub header_timeout: Duration,
    /// From the end of a response, or the connection's begin, to the first byte of a request.
    pub idle_timeout: Duration,
    /// From the end of a request's head to the end of its body.
    pub body_timeout: Duration,
    /// How long a client may take nothing of a response.
    pub write_timeout: Duration,
    /// How long requests in flight are waited for at the end.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 6_291_456,
            max_records: 500_000,
            max_json_depth: 16,
            max_response_bytes: 64 << 20,
            max_connections: 4096,
            max_queue_records: 1_000_000,
            max_queue_bytes: 128 << 20,
            max_batch_records: 8192,
            max_explanations: 1,
            header_timeout: Duration::from_secs(10),
            // Load balancers keep connections for 60 s.
            idle_timeout: Duration::from_secs(65),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(20),
        }
    }
}

impl Limits {
    /// Checks the limits against their ranges and against each other, and raises this process's bound of open files
    /// as far as the connections need it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] that names the field, the value and what to do.
    pub fn check(&self) -> Result<()> {
        self.check_each()?;
        self.check_together()?;
        let files = self.max_connections as u64 + OTHER_FILES;
        let refused = |what: String| {
            let what = format!("{} connections need {files} open files, and {what}", self.max_connections);
            Err(Error::config(At::option("max_connections"), what, "lower it, or raise `ulimit -n`"))
        };
        match rlimit::increase_nofile_limit(files) {
            Ok(raised) if raised >= files => Ok(()),
            Ok(raised) => refused(format!("{raised} are allowed")),
            Err(error) => refused(format!("the limit cannot be raised: {error}")),
        }
    }

    fn check_each(&self) -> Result<()> {
        let counts = [
            ("max_body_bytes", self.max_body_bytes, 1 << 30),
            ("max_records", self.max_records, 100_000_000),
            // serde_json itself stops at 128.
            ("max_json_depth", self.max_json_depth, 100),
            ("max_response_bytes", self.max_response_bytes, 1 << 32),
            ("max_connections", self.max_connections, 1_000_000),
            ("max_queue_records", self.max_queue_records, 1 << 32),
            ("max_queue_bytes", self.max_queue_bytes, 1 << 40),
            ("max_batch_records", self.max_batch_records, 1 << 20),
            ("max_explanations", self.max_explanations, 1024),
        ];
        for (name, value, highest) in counts {
            if !(1..=highest).contains(&value) {
                return Err(Error::config(
                    At::option(name),
                    format!("{value} is out of range"),
                    format!("give 1 to {highest}"),
                ));
            }
        }
        let times = [
            ("header_timeout", self.header_timeout, Duration::from_secs(3600)),
            ("idle_timeout", self.idle_timeout, Duration::from_secs(86_400)),
            ("body_timeout", self.body_timeout, Duration::from_secs(3600)),
            ("write_timeout", self.write_timeout, Duration::from_secs(3600)),
            ("drain_timeout", self.drain_timeout, MAX_DRAIN),
        ];
        for (name, value, highest) in times {
            if value.is_zero() || value > highest {
                let what = format!("{} seconds are out of range", value.as_secs_f64());
                return Err(Error::config(
                    At::option(name),
                    what,
                    format!("give more than 0 and at most {}", highest.as_secs()),
                ));
            }
        }
        Ok(())
    }

    fn check_together(&self) -> Result<()> {
        let pairs = [
            ("max_queue_bytes", self.max_queue_bytes, "max_body_bytes", self.max_body_bytes),
            ("max_queue_records", self.max_queue_records, "max_records", self.max_records),
            ("max_queue_records", self.max_queue_records, "max_batch_records", self.max_batch_records),
        ];
        for (name, value, other_name, other) in pairs {
            if value < other {
                let what =
                    format!("{value} is less than {other_name}, {other}: a request could never be accepted");
                return Err(Error::config(
                    At::option(name),
                    what,
                    format!("raise it, or lower {other_name}"),
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_checked_each_and_against_each_other() {
        let limits = Limits::default();
        limits.check().unwrap();
        let wrong = [
            (Limits { max_records: 0, ..limits.clone() }, "max_records"),
            (Limits { max_json_depth: 101, ..limits.clone() }, "max_json_depth"),
            (Limits { max_queue_bytes: 1000, ..limits.clone() }, "max_queue_bytes"),
            (Limits { max_queue_records: 499_999, ..limits.clone() }, "max_queue_records"),
            (Limits { drain_timeout: Duration::from_secs(26), ..limits.clone() }, "drain_timeout"),
            (Limits { body_timeout: Duration::ZERO, ..limits.clone() }, "body_timeout"),
        ];
        for (limits, name) in wrong {
            let error = limits.check().unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().starts_with(name), "{error}");
        }
    }
}
