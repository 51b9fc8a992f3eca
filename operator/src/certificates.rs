//! The certificates of the internal port: one authority for each collection, one certificate for its pods, one for
//! the operator. Made here, kept in a Secret; the authority's key never reaches a pod.

use std::collections::BTreeMap;

use jiff::{Timestamp, ToSpan, tz::TimeZone};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, date_time_ymd,
};

use crate::error::{Error, Result};
use crate::names;

const CA_YEARS: i16 = 10;
const LEAF_DAYS: i32 = 365;
/// Renewed when less is left: months before anything stops.
const RENEW_DAYS: i32 = 120;
/// When the certificates end; in the Secret, so that nobody has to parse them.
const NOT_AFTER: &str = "quiver.dev/not-after";

/// What the Secret holds.
#[derive(Clone, PartialEq, Eq)]
pub struct PeerCertificates {
    pub ca: String,
    ca_key: String,
    pub node: String,
    pub node_key: String,
    pub operator: String,
    pub operator_key: String,
    pub not_after: Timestamp,
}

/// For whom they are made.
pub struct Subject<'a> {
    pub collection: &'a str,
    pub namespace: &'a str,
}

fn broken(e: rcgen::Error) -> Error {
    Error::Certificates(e.to_string())
}

impl PeerCertificates {
    /// A new authority and certificates of it.
    pub fn generate(subject: &Subject<'_>, now: Timestamp) -> Result<Self> {
        let key = KeyPair::generate().map_err(broken)?;
        let mut params = authority(subject);
        lifetime(&mut params, now, now_plus(now, CA_YEARS.years()));
        let ca = params.self_signed(&key).map_err(broken)?.pem();
        Self::issue(ca, key.serialize_pem(), subject, now)
    }

    /// New certificates of the same authority.
    pub fn renew(&self, subject: &Subject<'_>, now: Timestamp) -> Result<Self> {
        Self::issue(self.ca.clone(), self.ca_key.clone(), subject, now)
    }

    /// Whether it is time for that.
    pub fn due(&self, now: Timestamp) -> bool {
        now_plus(now, RENEW_DAYS.days()) >= self.not_after
    }

    fn issue(ca: String, ca_key: String, subject: &Subject<'_>, now: Timestamp) -> Result<Self> {
        let not_after = now_plus(now, LEAF_DAYS.days());
        let signer = KeyPair::from_pem(&ca_key).map_err(broken)?;
        // Everything that a certificate repeats of its authority follows from the subject and the key.
        let params = authority(subject);
        let issuer = Issuer::from_params(&params, signer);
        let leaf = |name: &str, hosts: Vec<String>, server: bool| -> Result<(String, String)> {
            let key = KeyPair::generate().map_err(broken)?;
            let mut params = CertificateParams::new(hosts).map_err(broken)?;
            params.distinguished_name = named(name);
            params.use_authority_key_identifier_extension = true;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            if server {
                params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            }
            lifetime(&mut params, now, not_after);
            Ok((params.signed_by(&key, &issuer).map_err(broken)?.pem(), key.serialize_pem()))
        };
        let service = names::headless(subject.collection);
        let namespace = subject.namespace;
        let hosts = ["", ".svc", ".svc.cluster.local"].map(|end| format!("*.{service}.{namespace}{end}"));
        let (node, node_key) = leaf("quiver-node", hosts.to_vec(), true)?;
        let (operator, operator_key) = leaf("quiver-operator", Vec::new(), false)?;
        Ok(Self { ca, ca_key, node, node_key, operator, operator_key, not_after })
    }

    /// Reads the Secret; `None` if something is missing, so that it is made again.
    pub fn read(secret: &Secret) -> Option<Self> {
        let data = secret.data.as_ref()?;
        let text = |key: &str| String::from_utf8(data.get(key)?.0.clone()).ok();
        Some(Self {
            ca: text("ca.crt")?,
            ca_key: text("ca.key")?,
            node: text("tls.crt")?,
            node_key: text("tls.key")?,
            operator: text("operator.crt")?,
            operator_key: text("operator.key")?,
            not_after: secret.metadata.annotations.as_ref()?.get(NOT_AFTER)?.parse().ok()?,
        })
    }

    /// The Secret that holds them.
    pub fn secret(&self, metadata: ObjectMeta) -> Secret {
        let entries = [
            ("ca.crt", &self.ca),
            ("ca.key", &self.ca_key),
            ("tls.crt", &self.node),
            ("tls.key", &self.node_key),
            ("operator.crt", &self.operator),
            ("operator.key", &self.operator_key),
        ];
        let data: BTreeMap<_, _> =
            entries.into_iter().map(|(k, v)| (k.to_owned(), ByteString(v.clone().into_bytes()))).collect();
        let mut metadata = metadata;
        metadata.annotations.get_or_insert_default().insert(NOT_AFTER.into(), self.not_after.to_string());
        Secret { metadata, data: Some(data), type_: Some("Opaque".into()), ..Secret::default() }
    }
}

fn authority(subject: &Subject<'_>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(&format!("quiver {}/{}", subject.namespace, subject.collection));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(name: &str) -> DistinguishedName {
    let mut dn = DistinguishedName::new();
    dn.push(DnType::CommonName, name);
    dn
}

fn now_plus(now: Timestamp, span: jiff::Span) -> Timestamp {
    let later = now.to_zoned(TimeZone::UTC).checked_add(span);
    later.expect("a few years from now are a date").timestamp()
}

/// A day of grace at the start, for clocks that are behind.
fn lifetime(params: &mut CertificateParams, now: Timestamp, not_after: Timestamp) {
    let day = |t: Timestamp| {
        let date = t.to_zoned(TimeZone::UTC).date();
        date_time_ymd(date.year().into(), date.month() as u8, date.day() as u8)
    };
    params.not_before = day(now_plus(now, (-1).days()));
    params.not_after = day(not_after);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: Subject<'_> = Subject { collection: "docs", namespace: "search" };

    #[test]
    fn certificates_survive_the_secret_and_are_renewed_under_the_same_authority() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let made = PeerCertificates::generate(&SUBJECT, now).unwrap();
        let secret = made.secret(ObjectMeta::default());
        let read = PeerCertificates::read(&secret).unwrap();
        assert!(read == made);
        assert!(!read.due(now) && !read.due("2026-08-01T00:00:00Z".parse().unwrap()));
        let later: Timestamp = "2026-10-01T00:00:00Z".parse().unwrap();
        assert!(read.due(later));
        let renewed = read.renew(&SUBJECT, later).unwrap();
        assert!(renewed.ca == made.ca && renewed.node != made.node && !renewed.due(later));
    }

    #[test]
    fn a_secret_that_lacks_something_is_not_taken() {
        let made = PeerCertificates::generate(&SUBJECT, crate::clock::now()).unwrap();
        let mut secret = made.secret(ObjectMeta::default());
        secret.data.as_mut().unwrap().remove("operator.key");
        assert!(PeerCertificates::read(&secret).is_none());
    }
}
