//! The certificate of the internal port. Each collection has an authority of its own, so that no pod of another
//! collection is ever a peer.

use anyhow::{Context, Result};
use jiff::{SignedDuration, Timestamp, ToSpan, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// How long an authority lasts.
const AUTHORITY_YEARS: i64 = 10;
/// How long a certificate lasts.
const CERTIFICATE_DAYS: i64 = 365;
/// A certificate with less than this left is made anew.
pub const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(24 * 120);

/// Midnight of that day: certificates are dated by day. A macro, because the type is of a crate that we don't name.
macro_rules! day {
    ($at:expr) => {{
        let date = $at.to_zoned(TimeZone::UTC).date();
        let part = |n: i8| u8::try_from(n).expect("months and days are positive");
        date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()))
    }};
}

/// What the Secret holds, all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerTls {
    pub ca_crt: String,
    pub ca_key: String,
    pub tls_crt: String,
    pub tls_key: String,
    /// When it has to be made anew at the latest.
    pub not_after: Timestamp,
}

/// Makes a certificate for the pods of a node set; with the authority that is there, if one is.
pub fn make(headless: &str, namespace: &str, now: Timestamp, before: Option<&PeerTls>) -> Result<PeerTls> {
    let (ca_crt, ca_key) = match before {
        Some(before) => (before.ca_crt.clone(), before.ca_key.clone()),
        None => authority(headless, namespace, now)?,
    };
    let signer = KeyPair::from_pem(&ca_key).context("the key of the peers' authority")?;
    let params = authority_params(headless, namespace)?;
    let issuer = Issuer::from_params(&params, signer);
    let key = KeyPair::generate().context("making a key")?;
    let hosts = vec![
        format!("*.{headless}.{namespace}.svc"),
        format!("{headless}.{namespace}.svc"),
        "localhost".to_owned(),
    ];
    let mut params = CertificateParams::new(hosts).context("the names of the peers")?;
    params.distinguished_name.push(DnType::CommonName, format!("{headless}.{namespace}"));
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let not_after = now + SignedDuration::from_hours(24 * CERTIFICATE_DAYS);
    params.not_before = day!(now - SignedDuration::from_hours(24));
    params.not_after = day!(not_after);
    let certificate = params.signed_by(&key, &issuer).context("signing the peers' certificate")?;
    Ok(PeerTls { ca_crt, ca_key, tls_crt: certificate.pem(), tls_key: key.serialize_pem(), not_after })
}

fn authority(headless: &str, namespace: &str, now: Timestamp) -> Result<(String, String)> {
    let key = KeyPair::generate().context("making a key")?;
    let mut params = authority_params(headless, namespace)?;
    params.not_before = day!(now - SignedDuration::from_hours(24));
    let end =
        now.to_zoned(TimeZone::UTC).checked_add(AUTHORITY_YEARS.years()).context("ten years from now")?;
    params.not_after = day!(end.timestamp());
    let certificate = params.self_signed(&key).context("signing the peers' authority")?;
    Ok((certificate.pem(), key.serialize_pem()))
}

/// What an authority always is: with its key this is enough to sign in its name.
fn authority_params(headless: &str, namespace: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new()).context("an authority has no names")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, format!("peers of {headless}.{namespace}"));
    Ok(params)
}
