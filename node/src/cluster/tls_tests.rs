//! Who gets through to the internal port.

use std::path::Path;

use axum::Router;
use axum::routing::get;
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};

use super::*;
use crate::server::{self, Options};
use crate::shutdown::Shutdown;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority() -> Authority {
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let pem = params.self_signed(&key).expect("a certificate").pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

impl Authority {
    /// A folder as the Secret is mounted; `trusts` is the authority in its ca.crt.
    fn write(&self, dir: &Path, trusts: &Authority) {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(vec!["127.0.0.1".into()]).expect("a name");
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let certificate = params.signed_by(&key, &self.issuer).expect("signed").pem();
        for (name, text) in
            [("ca.crt", &trusts.pem), ("tls.crt", &certificate), ("tls.key", &key.serialize_pem())]
        {
            std::fs::create_dir_all(dir).expect("made");
            #[allow(clippy::disallowed_methods)] // A certificate for this test.
            std::fs::File::create(dir.join(name))
                .and_then(|mut f| std::io::Write::write_all(&mut f, text.as_bytes()))
                .expect("written");
        }
    }
}

fn settings(dir: &Path) -> Settings {
    Settings { tls_dir: dir.into(), ..Settings::default() }
}

#[tokio::test]
async fn only_certificates_of_the_own_authority_get_through() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let folder = tempfile::tempdir().expect("a folder");
    let (ours, others) = (authority(), authority());
    ours.write(&folder.path().join("server"), &ours);
    ours.write(&folder.path().join("peer"), &ours);
    // Trusts our server, and shows a certificate of somebody else.
    others.write(&folder.path().join("stranger"), &ours);
    // Shows a good certificate, and trusts only somebody else.
    ours.write(&folder.path().join("doubter"), &others);
    let listener = server::listen("127.0.0.1", 0).await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let options = Options {
        connections_max: 10,
        first_request: Duration::from_secs(10),
        drain: Duration::from_secs(1),
        tls: files(&settings(&folder.path().join("server"))).expect("files"),
    };
    let shutdown = Shutdown::default();
    let app = Router::new().route("/", get(|| async { "in" }));
    let served = tokio::spawn(server::serve(listener, app, options, shutdown.clone()));
    let ask = async |name: &str| {
        let client = PeerClient::start(&settings(&folder.path().join(name))).expect("a client");
        let url = client.url(&address, "/");
        assert!(url.starts_with("https://"));
        client.client().get(url).send().await.map(|r| r.status().as_u16()).map_err(|e| format!("{e:?}"))
    };
    assert_eq!(ask("peer").await, Ok(200));
    assert!(ask("stranger").await.is_err(), "a certificate of another authority");
    let doubts = ask("doubter").await.expect_err("refused");
    assert!(doubts.contains("InvalidCertificate"), "{doubts}");
    let bare = reqwest::Client::builder()
        .no_proxy()
        .tls_danger_accept_invalid_certs(true)
        .build()
        .expect("a client");
    assert!(bare.get(format!("https://{address}/")).send().await.is_err(), "no certificate at all");
    assert!(bare.get(format!("http://{address}/")).send().await.is_err(), "no TLS at all");
    shutdown.begin();
    served.await.expect("joined").expect("stopped");
}

#[test]
fn without_certificates_only_the_loopback_is_served() {
    let open = |host: &str| files(&Settings { p2p_host: host.into(), ..Settings::default() });
    assert!(open("127.0.0.1").expect("allowed").is_none());
    assert!(open("0.0.0.0").expect_err("refused").to_string().contains("cluster.tls_dir is not set"));
}
