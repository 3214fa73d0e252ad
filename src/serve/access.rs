//! Who may ask, and where a server may listen.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use axum::http::{HeaderMap, header};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{At, Error, Result};

/// The shortest token: what is shorter can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// The files that say who may ask.
#[derive(Clone, Debug, Default)]
pub struct AccessFiles {
    /// Tokens, one a line; without the file a server is open.
    pub tokens: Option<PathBuf>,
    /// A certificate chain and its private key, both PEM; without them a server speaks no TLS.
    pub tls: Option<(PathBuf, PathBuf)>,
}

/// Who may ask: the tokens and the certificate that are in force.
pub struct Access {
    files: AccessFiles,
    tokens: RwLock<Tokens>,
    tls: RwLock<Option<TlsAcceptor>>,
}

impl Access {
    /// Reads the files.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where one cannot be read, [`Error::Config`] where it holds no token, a short one, or no certificate
    /// and key that belong together.
    pub fn read(files: AccessFiles) -> Result<Self> {
        let (tokens, tls) = (files.read_tokens()?, files.read_tls()?);
        Ok(Self { files, tokens: RwLock::new(tokens), tls: RwLock::new(tls) })
    }

    /// Reads the files again. What was in force stays where one cannot be read; the errors say which.
    pub(super) fn reload(&self) -> Vec<Error> {
        let mut errors = Vec::new();
        match self.files.read_tokens() {
            Ok(tokens) => *self.tokens.write().unwrap_or_else(PoisonError::into_inner) = tokens,
            Err(error) => errors.push(error),
        }
        match self.files.read_tls() {
            Ok(tls) => *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls,
            Err(error) => errors.push(error),
        }
        errors
    }

    /// Whether there is something to read again.
    pub(super) fn has_files(&self) -> bool {
        self.has_tls() || self.files.tokens.is_some()
    }

    /// Whether these headers may pass: `Authorization: Bearer TOKEN`.
    pub(super) fn admits(&self, headers: &HeaderMap) -> bool {
        self.tokens.read().unwrap_or_else(PoisonError::into_inner).admit(headers)
    }

    /// What begins a TLS connection, with the certificate of now; `None` in a server without TLS.
    pub(super) fn acceptor(&self) -> Option<TlsAcceptor> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether connections are TLS.
    pub fn has_tls(&self) -> bool {
        self.files.tls.is_some()
    }

    /// Whether nobody can reach an address but who may: it is one of this machine alone, or TLS and tokens guard it.
    pub fn is_guarded(&self, address: SocketAddr) -> bool {
        address.ip().is_loopback() || (self.has_tls() && self.files.tokens.is_some())
    }
}

impl AccessFiles {
    fn read_tokens(&self) -> Result<Tokens> {
        self.tokens.as_deref().map_or(Ok(Tokens::default()), Tokens::read)
    }

    fn read_tls(&self) -> Result<Option<TlsAcceptor>> {
        self.tls.as_ref().map(|(certificate, key)| tls(certificate, key)).transpose()
    }
}

/// The tokens that open a server; without any it is open.
#[derive(Clone, Debug, Default)]
struct Tokens(Option<Arc<[blake3::Hash]>>);

impl Tokens {
    /// Reads tokens, one a line; more than one, so that a new one can come before the old one goes.
    fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).map_err(Error::io("read", path))?;
        let tokens: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let wrong = |what: &str| {
            let help = "write a random token into it, for example of `openssl rand -hex 32`";
            Error::config(At::option_of("auth_token_file", path.display()), what, help)
        };
        if tokens.is_empty() {
            return Err(wrong("there is no token in it"));
        }
        if tokens.iter().any(|token| token.len() < MIN_TOKEN_BYTES) {
            return Err(wrong("a token has less than 16 characters"));
        }
        Ok(Self(Some(tokens.iter().map(|token| blake3::hash(token.as_bytes())).collect())))
    }

    fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(tokens) = &self.0 else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| blake3::hash(token.trim().as_bytes()))
        });
        // Hashes are compared in constant time, and all of them.
        given.is_some_and(|given| tokens.iter().fold(false, |admitted, token| admitted | (*token == given)))
    }
}

/// A TLS server of a certificate chain and its key: TLS 1.2 and 1.3, HTTP/1.1.
fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let wrong = |name, path: &Path, what: String| {
        Error::config(At::option_of(name, path.display()), what, "give a PEM file")
    };
    let unread = |name, path: &Path, error: pem::Error| match error {
        pem::Error::Io(error) => Error::io("read", path)(error),
        error => wrong(name, path, error.to_string()),
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(|certificates| certificates.collect())
        .map_err(|error| unread("tls_cert", certificate, error))?;
    if chain.is_empty() {
        return Err(wrong("tls_cert", certificate, "there is no certificate in it".into()));
    }
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| unread("tls_key", key, error))?;
    let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| wrong("tls_cert", certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())])
    }

    #[test]
    fn a_token_opens_and_nothing_else_does() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        let files = AccessFiles { tokens: Some(path.clone()), tls: None };
        fs::write(&path, "0123456789abcdef-old\n\n 0123456789abcdef-new \n").unwrap();
        let access = Access::read(files.clone()).unwrap();
        for good in ["Bearer 0123456789abcdef-old", "bearer 0123456789abcdef-new"] {
            assert!(access.admits(&headers(good)), "{good}");
        }
        for bad in
            ["Bearer 0123456789abcdef", "Basic 0123456789abcdef-old", "0123456789abcdef-old", "Bearer "]
        {
            assert!(!access.admits(&headers(bad)), "{bad}");
        }
        assert!(!access.admits(&HeaderMap::new()));
        assert!(Access::read(AccessFiles::default()).unwrap().admits(&HeaderMap::new()));

        for wrong in ["", "\n \n", "short\n"] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(Access::read(files.clone()).err().unwrap().exit_code(), 2, "{wrong:?}");
            // And while it runs, what was in force stays.
            assert_eq!(access.reload().len(), 1);
            assert!(access.admits(&headers("Bearer 0123456789abcdef-old")));
        }
        fs::write(&path, "0123456789abcdef-new\n").unwrap();
        assert!(access.reload().is_empty());
        assert!(!access.admits(&headers("Bearer 0123456789abcdef-old")));
        assert!(access.admits(&headers("Bearer 0123456789abcdef-new")));
        let none = AccessFiles { tokens: Some(folder.path().join("none")), tls: None };
        assert_eq!(Access::read(none).err().unwrap().exit_code(), 4);
    }

    #[test]
    fn only_loopback_is_guarded_by_itself() {
        let check = |address: &str, has_tls: bool, has_tokens: bool| {
            let files = AccessFiles {
                tokens: has_tokens.then(PathBuf::new),
                tls: has_tls.then(|| (PathBuf::new(), PathBuf::new())),
            };
            let access = Access { files, tokens: RwLock::default(), tls: RwLock::default() };
            access.is_guarded(address.parse().unwrap())
        };
        assert!(check("127.0.0.1:1", false, false) && check("[::1]:1", false, false));
        assert!(!check("0.0.0.0:1", false, false) && !check("[::]:1", false, false));
        assert!(!check("192.0.2.1:1", true, false) && !check("192.0.2.1:1", false, true));
        assert!(check("192.0.2.1:1", true, true));
    }
}
