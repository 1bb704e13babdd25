//! TLS (RFC 8446, RFC 5246) with the certificate and key that the configuration names.
//! Both files are read again when they change, so that a certificate can be renewed
//! while the server runs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{Error as RustlsError, InconsistentKeys, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::server::config::TlsConfig;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("tls.{setting} = \"{}\" cannot be read: {why}", .file.display())]
    Read {
        /// Which setting names it.
        setting: &'static str,
        /// Which.
        file: PathBuf,
        /// Why.
        why: io::Error,
    },
    /// A file has not what it should.
    #[error("tls.{setting} = \"{}\" has no {wanted} ({why}): give a file in PEM", .file.display())]
    Pem {
        /// Which setting names it.
        setting: &'static str,
        /// Which.
        file: PathBuf,
        /// What should be in it.
        wanted: &'static str,
        /// What is wrong.
        why: PemError,
    },
    /// Certificate and key are not of one pair.
    #[error(
        "tls.key = \"{}\" is not the key of the first certificate in tls.cert = \"{}\": \
         give the key that it was made for, and the server's own certificate first",
        .key.display(), .cert.display()
    )]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's.
        cert: PathBuf,
    },
    /// They cannot be used.
    #[error("tls.cert = \"{}\" and tls.key cannot be used: {why}", .cert.display())]
    Unusable {
        /// The certificate's file.
        cert: PathBuf,
        /// Why.
        why: RustlsError,
    },
}

/// A certificate with its key.
pub(super) struct Tls {
    files: TlsConfig,
    /// What was in them.
    texts: [Vec<u8>; 2],
    acceptor: TlsAcceptor,
}

impl Tls {
    /// Reads the files. \[control\]
    ///
    /// # Errors
    /// One cannot be read, or they are no pair: says which, and what would do.
    pub(super) fn load(files: &TlsConfig) -> Result<Self, TlsError> {
        let texts = texts(files)?;
        Ok(Self { acceptor: acceptor(files, &texts)?, files: files.clone(), texts })
    }

    /// Reads the files again; connections from now on have what is in them. Whether
    /// that is something else. \[any\]
    ///
    /// # Errors
    /// As [`Tls::load`]'s; then all stays as it was.
    pub(super) fn renew(&mut self) -> Result<bool, TlsError> {
        let texts = texts(&self.files)?;
        let has_changed = texts != self.texts;
        if has_changed {
            (self.acceptor, self.texts) = (acceptor(&self.files, &texts)?, texts);
        }
        Ok(has_changed)
    }

    /// What takes a connection. \[any\]
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }
}

fn texts(files: &TlsConfig) -> Result<[Vec<u8>; 2], TlsError> {
    let read = |setting, file: &Path| {
        std::fs::read(file).map_err(|why| TlsError::Read { setting, file: file.into(), why })
    };
    Ok([read("cert", &files.cert)?, read("key", &files.key)?])
}

fn acceptor(files: &TlsConfig, [cert, key]: &[Vec<u8>; 2]) -> Result<TlsAcceptor, TlsError> {
    let TlsConfig { cert: cert_file, key: key_file } = files;
    let pem = |setting, file: &Path, wanted, why| TlsError::Pem { setting, file: file.into(), wanted, why };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(cert).collect();
    let chain =
        chain.and_then(|chain| if chain.is_empty() { Err(PemError::NoItemsFound) } else { Ok(chain) });
    let chain = chain.map_err(|why| pem("cert", cert_file, "certificate", why))?;
    let key = PrivateKeyDer::from_pem_slice(key);
    let key = key.map_err(|why| pem("key", key_file, "private key without a password", why))?;
    let unusable = |why| match why {
        RustlsError::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatch { key: key_file.clone(), cert: cert_file.clone() }
        }
        why => TlsError::Unusable { cert: cert_file.clone(), why },
    };
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(unusable)?;
    let mut config = builder.with_no_client_auth().with_single_cert(chain, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A folder of this test's own, for as long as it is there.
    pub(in super::super) struct Folder(PathBuf);

    impl Folder {
        pub(in super::super) fn new(name: &str) -> Self {
            let folder = std::env::temp_dir().join(format!("sidetone-tls-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&folder).expect("a folder");
            Self(folder)
        }

        /// The files of a certificate that signed itself, and of its key.
        pub(in super::super) fn pair(&self, name: &str) -> TlsConfig {
            let made = rcgen::generate_simple_self_signed(["localhost".into()]).expect("a certificate");
            let cert = self.file(&format!("{name}.crt"), &made.cert.pem());
            TlsConfig { cert, key: self.file(&format!("{name}.key"), &made.signing_key.serialize_pem()) }
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let file = self.0.join(name);
            std::fs::write(&file, text).expect("a file");
            file
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            // What is left of it is the system's to clean.
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn why(files: &TlsConfig) -> String {
        Tls::load(files).map(|_| ()).expect_err("no TLS").to_string()
    }

    #[test]
    fn files_that_will_not_do_are_named_with_what_would() {
        let folder = Folder::new("wrong");
        let [one, two] = ["one", "two"].map(|name| folder.pair(name));
        assert!(Tls::load(&one).is_ok() && Tls::load(&two).is_ok());
        let cases = [
            (TlsConfig { cert: folder.0.join("none.crt"), ..one.clone() }, "none.crt\" cannot be read"),
            (TlsConfig { key: folder.0.join("none.key"), ..one.clone() }, "none.key\" cannot be read"),
            (TlsConfig { cert: one.key.clone(), ..one.clone() }, "one.key\" has no certificate"),
            (TlsConfig { key: one.cert.clone(), ..one.clone() }, "one.crt\" has no private key"),
            (TlsConfig { cert: folder.file("empty", ""), ..one.clone() }, "empty\" has no certificate"),
            (TlsConfig { key: two.key.clone(), ..one.clone() }, "two.key\" is not the key of the first"),
        ];
        for (files, expected) in cases {
            let why = why(&files);
            assert!(why.contains(expected), "{expected}: {why}");
        }
        let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let garbage = TlsConfig { cert: folder.file("garbage.crt", garbage), ..one };
        assert!(why(&garbage).contains("garbage.crt\" and tls.key cannot be used"), "{}", why(&garbage));
    }

    #[test]
    fn a_certificate_that_is_replaced_is_taken_and_one_that_is_broken_is_not() {
        let folder = Folder::new("renewed");
        let files = folder.pair("one");
        let mut tls = Tls::load(&files).expect("TLS");
        let before = Arc::clone(tls.acceptor().config());
        assert!(matches!(tls.renew(), Ok(false)));
        folder.pair("one");
        assert!(matches!(tls.renew(), Ok(true)));
        let after = Arc::clone(tls.acceptor().config());
        assert!(!Arc::ptr_eq(&before, &after));
        // Half of a pair is there already.
        std::fs::copy(folder.pair("two").cert, &files.cert).expect("a copy");
        assert!(matches!(tls.renew(), Err(TlsError::Mismatch { .. })));
        assert!(Arc::ptr_eq(&after, tls.acceptor().config()));
    }
}
