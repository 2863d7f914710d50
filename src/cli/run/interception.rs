//! The certificate authority of one run: made at its start, kept in memory, gone with it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::cli::failure::Failure;
use crate::cli::files::{random, write_private};
use crate::clock::Timestamp;

/// How many hosts a run remembers certificates for; services are few.
const HOSTS_MAX: usize = 256;
const DAY_S: i64 = 86_400;

/// Signs the certificates by which the program believes the proxy, and is believed by nobody else.
pub(super) struct RunAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    began: Timestamp,
    folder: Folder,
    configs: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl RunAuthority {
    /// Makes a fresh one, and writes its certificate where the program can read it.
    pub(super) fn new(now: Timestamp) -> Result<Self, Failure> {
        let mut params = params(Vec::new(), now)?;
        params.distinguished_name.push(DnType::CommonName, "writ run (this program only)");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;
        let folder = Folder::new()?;
        write_private(&folder.bundle(), issuer.pem().as_bytes())?;
        Ok(Self { issuer, began: now, folder, configs: Mutex::new(HashMap::new()) })
    }

    /// The file with its certificate.
    pub(super) fn bundle(&self) -> PathBuf {
        self.folder.bundle()
    }

    /// How to speak TLS as `host`.
    pub(super) fn server(&self, host: &str) -> Result<Arc<ServerConfig>, Failure> {
        let mut configs = self.configs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(config) = configs.get(host) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.config(host)?);
        if configs.len() < HOSTS_MAX {
            configs.insert(host.to_owned(), Arc::clone(&config));
        }
        Ok(config)
    }

    fn config(&self, host: &str) -> Result<ServerConfig, Failure> {
        let key = KeyPair::generate()?;
        let mut params = params(vec![host.to_owned()], self.began)?;
        params.distinguished_name.push(DnType::CommonName, host);
        // Both key identifiers: Python 3.13 refuses a certificate without them.
        params.is_ca = IsCa::ExplicitNoCa;
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}

fn params(names: Vec<String>, now: Timestamp) -> Result<CertificateParams, Failure> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    let ((year, month, day), (end_year, end_month, end_day)) = (ymd(now.secs() - DAY_S), ymd(now.secs() + 90 * DAY_S));
    params.not_before = date_time_ymd(year, month, day);
    params.not_after = date_time_ymd(end_year, end_month, end_day);
    Ok(params)
}

/// The day of a moment.
fn ymd(secs: i64) -> (i32, u8, u8) {
    let date = jiff::Timestamp::from_second(secs).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC).date();
    (i32::from(date.year()), date.month().unsigned_abs(), date.day().unsigned_abs())
}

/// A folder of this run's own; removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self, Failure> {
        use std::os::unix::fs::DirBuilderExt as _;
        let path = std::env::temp_dir().join(format!("writ-run-{}", hex::encode(random::<8>()?)));
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }

    fn bundle(&self) -> PathBuf {
        self.0.join("ca.pem")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_dir_all(path) {
        tracing::warn!(%error, "a temporary folder stays behind");
    }
}
