//! TLS on the links of whole nodes: the three files, their exchange while running, and a configuration that cannot work.

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};

use halley::Node;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use support::{metric, metric_becomes, node};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// The authority of a mesh, and a folder with the files of its nodes.
struct Mesh {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: tempfile::TempDir,
}

impl Mesh {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "mesh");
        let key = KeyPair::generate().expect("a key");
        let this = Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("an issuer"),
            folder: tempfile::tempdir().expect("a folder"),
        };
        std::fs::write(this.path("ca.crt"), this.issuer.pem()).expect("writes");
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A certificate for a node, which ends with the year, and its key.
    fn issue(&self, node: &str, year: i32) {
        let key = KeyPair::generate().expect("a key");
        let mut params =
            CertificateParams::new(vec!["halley-mesh".to_owned()]).expect("parameters");
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let certificate = params.signed_by(&key, &self.issuer).expect("signs");
        std::fs::write(self.path(&format!("{node}.key")), key.serialize_pem()).expect("writes");
        std::fs::write(self.path(&format!("{node}.crt")), certificate.pem()).expect("writes");
    }

    fn toml(&self, node: &str, more: &str) -> String {
        let file = |end: &str| self.path(&format!("{node}.{end}")).display().to_string();
        format!(
            "[mesh.tls]\ncertificate = {:?}\nkey = {:?}\nca = {:?}\nserver_name = \"halley-mesh\"\nreload_interval_ms = 20\n{more}\n",
            file("crt"),
            file("key"),
            self.path("ca.crt").display().to_string(),
        )
    }
}

fn toml(name: &str, others: &[&Node], tls: &str) -> String {
    let siblings: Vec<String> = others
        .iter()
        .map(|node| node.mesh_address().expect("clustered").to_string())
        .collect();
    format!(
        "[node]\nname = {name:?}\n[mesh]\nlisten = \"127.0.0.1:0\"\nsecret = \"{SECRET}\"\nsiblings = {siblings:?}\n\
         join_wait_ms = 300\nheartbeat_ms = 100\ndetection_ms = 1000\n{tls}"
    )
}

#[tokio::test]
async fn nodes_join_over_tls_and_take_new_certificates() {
    let mesh = Mesh::new();
    mesh.issue("one", 2100);
    mesh.issue("two", 2100);
    let one = node(&toml("one", &[], &mesh.toml("one", ""))).await;
    let two = node(&toml("two", &[&one], &mesh.toml("two", ""))).await;
    metric_becomes(&one, "halley_members", 2.0).await;
    metric_becomes(&two, "halley_members", 2.0).await;
    let expiry = "halley_mesh_tls_certificate_expiry_seconds";
    assert_eq!(metric(&one, expiry).await, 4_102_444_800.0);

    // Whoever has no TLS is refused, and both count it.
    let plain = node(&toml("plain", &[&one], "")).await;
    metric_becomes(&plain, "halley_members", 1.0).await;
    for refused in [&plain, &one] {
        let failures = "halley_mesh_tls_failures_total";
        support::eventually("counted", async || {
            (metric(refused, failures).await > 0.0).then_some(())
        })
        .await;
    }
    plain.shutdown().await;

    mesh.issue("one", 2090);
    metric_becomes(&one, expiry, 3_786_912_000.0).await;
    let changed = "halley_mesh_tls_reloads_total{result=\"changed\"}";
    let failed = "halley_mesh_tls_reloads_total{result=\"failed\"}";
    assert!(metric(&one, changed).await >= 1.0);
    std::fs::write(mesh.path("one.crt"), "nonsense").expect("writes");
    support::eventually("the bad one is counted", async || {
        (metric(&one, failed).await > 0.0).then_some(())
    })
    .await;
    assert_eq!(metric(&one, expiry).await, 3_786_912_000.0);
    // The old one stays: another node can still join.
    mesh.issue("three", 2100);
    let three = node(&toml("three", &[&one], &mesh.toml("three", ""))).await;
    metric_becomes(&three, "halley_members", 3.0).await;
    metric_becomes(&one, "halley_members", 3.0).await;
    assert_eq!(metric(&two, "halley_link_up{sibling=\"one\"}").await, 1.0);
}

fn check(text: &str) -> (bool, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("halley.toml");
    std::fs::write(&file, text).expect("writes");
    let output = Command::new(env!("CARGO_BIN_EXE_halley"))
        .args(["config", "--check"])
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .expect("runs");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

#[test]
fn files_that_cannot_serve_are_found_by_the_check() {
    let mesh = Mesh::new();
    mesh.issue("one", 2100);
    mesh.issue("two", 2100);
    let good = toml("one", &[], &mesh.toml("one", "mode = \"accepted\""));
    assert_eq!(check(&good).0, true, "{}", check(&good).1);
    let key = mesh.path("one.key").display().to_string();
    for (text, says) in [
        (good.replace("one.key", "two.key"), "mesh.tls.key"),
        (good.replace("ca.crt", "one.key"), "mesh.tls.ca"),
        (
            good.replace("one.crt", "absent.crt"),
            "mesh.tls.certificate",
        ),
        (
            good.replace(&format!("key = {key:?}\n"), ""),
            "mesh.tls.key: is needed",
        ),
        (
            good.replace("halley-mesh", "not a name"),
            "mesh.tls.server_name",
        ),
        (good.replace("\"accepted\"", "\"perhaps\""), "mesh.tls.mode"),
        (
            format!(
                "{good}[mesh.oort]\nenabled = true\nsecret = \"{}\"\n",
                "j".repeat(32)
            ),
            "mesh.oort.enabled: cannot be true together with mesh.tls",
        ),
        (
            toml("one", &[], "[mesh.tls]\nserver_name = \"a\"\n"),
            "mesh.tls.certificate: is needed",
        ),
    ] {
        let (passes, said) = check(&text);
        assert!(!passes && said.contains(says), "{says}: {said}");
    }
}
