//! Who may ask, and where a server may listen.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::{At, Error, Result};

/// The shortest token: what is shorter can be guessed.
const MIN_TOKEN_BYTES: usize = 16;

/// The tokens that open a server; without any it is open.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Option<Arc<[blake3::Hash]>>);

impl Tokens {
    /// Reads tokens, one a line; more than one, so that a new one can come before the old one goes.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] where that fails, [`Error::Config`] where there is none or a short one.
    pub fn read(path: &Path) -> Result<Self> {
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

    /// Whether these headers may pass: `Authorization: Bearer TOKEN`.
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let Some(tokens) = &self.0 else { return true };
        let given = headers.get(header::AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then(|| blake3::hash(token.trim().as_bytes()))
        });
        // Hashes are compared in constant time, and all of them.
        given.is_some_and(|given| tokens.iter().fold(false, |admitted, token| admitted | (*token == given)))
    }

    fn are_there(&self) -> bool {
        self.0.is_some()
    }
}

/// A TLS server of a certificate chain and its key, both PEM: TLS 1.2 and 1.3, HTTP/1.1.
///
/// # Errors
///
/// [`Error::Config`] that names the file.
pub fn tls(certificate: &Path, key: &Path) -> Result<TlsAcceptor> {
    let wrong = |name, path: &Path, what: String| {
        Error::config(At::option_of(name, path.display()), what, "give a PEM file")
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
        .and_then(|certificates| certificates.collect())
        .map_err(|error| wrong("tls_cert", certificate, error.to_string()))?;
    if chain.is_empty() {
        return Err(wrong("tls_cert", certificate, "there is no certificate in it".into()));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("tls_key", key, error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
        .map_err(|error| wrong("tls_cert", certificate, error.to_string()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Whether nobody can reach an address but who may: it is one of this machine alone, or TLS and tokens guard it.
pub fn is_guarded(address: SocketAddr, has_tls: bool, tokens: &Tokens) -> bool {
    address.ip().is_loopback() || (has_tls && tokens.are_there())
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
        fs::write(&path, "0123456789abcdef-old\n\n 0123456789abcdef-new \n").unwrap();
        let tokens = Tokens::read(&path).unwrap();
        for good in ["Bearer 0123456789abcdef-old", "bearer 0123456789abcdef-new"] {
            assert!(tokens.admit(&headers(good)), "{good}");
        }
        for bad in
            ["Bearer 0123456789abcdef", "Basic 0123456789abcdef-old", "0123456789abcdef-old", "Bearer "]
        {
            assert!(!tokens.admit(&headers(bad)), "{bad}");
        }
        assert!(!tokens.admit(&HeaderMap::new()));
        assert!(Tokens::default().admit(&HeaderMap::new()));

        for wrong in ["", "\n \n", "short\n"] {
            fs::write(&path, wrong).unwrap();
            assert_eq!(Tokens::read(&path).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
        assert_eq!(Tokens::read(&folder.path().join("none")).unwrap_err().exit_code(), 4);
    }

    #[test]
    fn only_loopback_is_guarded_by_itself() {
        let (tokens, none) = (Tokens(Some(Arc::new([blake3::hash(b"t")]))), Tokens::default());
        let check =
            |address: &str, has_tls, tokens: &Tokens| is_guarded(address.parse().unwrap(), has_tls, tokens);
        assert!(check("127.0.0.1:1", false, &none) && check("[::1]:1", false, &none));
        assert!(!check("0.0.0.0:1", false, &none) && !check("[::]:1", false, &none));
        assert!(!check("192.0.2.1:1", true, &none) && !check("192.0.2.1:1", false, &tokens));
        assert!(check("192.0.2.1:1", true, &tokens));
    }
}
