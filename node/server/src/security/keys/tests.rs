use super::*;
use std::path::PathBuf;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

fn config(algorithms: &[TokenAlgorithm]) -> JwtConfig {
    JwtConfig {
        algorithms: algorithms.to_vec(),
        ..JwtConfig::default()
    }
}

const ALL: [TokenAlgorithm; 4] = [
    TokenAlgorithm::Hs256,
    TokenAlgorithm::Rs256,
    TokenAlgorithm::Es256,
    TokenAlgorithm::EdDsa,
];

fn pem_fault(file: &str, algorithms: &[TokenAlgorithm]) -> String {
    let config = JwtConfig {
        public_key_file: Some(fixture(file)),
        ..config(algorithms)
    };
    let faults = load(&config).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].key, "security.jwt.public_key_file");
    faults[0].what.clone()
}

#[test]
fn a_pem_key_has_one_algorithm() {
    for (file, algorithm) in [
        ("rsa.pub.pem", Algorithm::RS256),
        ("ec.pub.pem", Algorithm::ES256),
        ("ed.pub.pem", Algorithm::EdDSA),
    ] {
        let config = JwtConfig {
            public_key_file: Some(fixture(file)),
            ..config(&ALL)
        };
        let set = load(&config).unwrap();
        assert_eq!(set.keys[0].algorithm, algorithm, "{file}");
        for other in [
            Algorithm::HS256,
            Algorithm::RS256,
            Algorithm::ES256,
            Algorithm::EdDSA,
        ] {
            let found = set.candidates(other, None).count();
            assert_eq!(found, usize::from(other == algorithm), "{file} {other:?}");
        }
    }
}

#[test]
fn keys_that_cannot_be_used_are_refused() {
    for (file, algorithms, part) in [
        ("rsa.pem", &ALL[..], "holds a private key"),
        ("ec384.pub.pem", &ALL[..], "not on the curve P-256"),
        ("jwks.json", &ALL[..], "does not hold a public key"),
        ("absent.pem", &ALL[..], "cannot read"),
        ("rsa.pub.pem", &[TokenAlgorithm::Es256][..], "is for RS256"),
    ] {
        let told = pem_fault(file, algorithms);
        assert!(told.contains(part), "{file}: {told}");
    }
}

#[test]
fn secrets_are_long_and_no_public_keys() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("secret");
    let config = JwtConfig {
        secret_file: Some(file.clone()),
        ..config(&ALL)
    };
    for (text, part) in [
        (b"short\n".to_vec(), "has 5 bytes"),
        (
            std::fs::read(fixture("rsa.pub.pem")).unwrap(),
            "not a secret",
        ),
    ] {
        std::fs::write(&file, text).unwrap();
        let faults = load(&config).unwrap_err();
        assert!(faults[0].what.contains(part), "{faults:?}");
    }
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    assert_eq!(load(&config).unwrap().len(), 1);
    let big = std::fs::File::create(&file).unwrap();
    big.set_len(FILE_BYTES_MAX + 1).unwrap();
    assert!(load(&config).unwrap_err()[0].what.contains("larger"));
}

#[test]
fn a_set_gives_what_can_be_used_and_no_more() {
    let with = |algorithms: &[TokenAlgorithm]| {
        load(&JwtConfig {
            jwks_file: Some(fixture("jwks.json")),
            ..config(algorithms)
        })
    };
    let set = with(&ALL).unwrap();
    let ids: Vec<_> = set
        .keys
        .iter()
        .filter_map(|key| key.id.as_deref())
        .collect();
    assert_eq!(
        ids,
        ["r1", "e1", "d1"],
        "not the one for encryption, not PS256, not an unknown type"
    );
    assert_eq!(set.candidates(Algorithm::RS256, Some("r1")).count(), 1);
    assert_eq!(set.candidates(Algorithm::RS256, Some("e1")).count(), 0);
    assert_eq!(set.candidates(Algorithm::RS256, None).count(), 1);
    assert_eq!(with(&[TokenAlgorithm::EdDsa]).unwrap().len(), 1);
    assert!(
        with(&[TokenAlgorithm::Hs256]).unwrap_err()[0]
            .what
            .contains("no key in it")
    );
}

#[test]
fn sets_that_are_none() {
    let allowed = [Algorithm::HS256];
    for (text, part) in [
        ("", "is not JSON"),
        ("[]", "no list"),
        ("{\"keys\":{}}", "no list"),
        ("{\"keys\":[]}", "no key in it"),
        (
            "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c2hvcnQ\"}]}",
            "no key in it",
        ),
    ] {
        let told = jwks(text.as_bytes(), &allowed).unwrap_err();
        assert!(told.contains(part), "{text}: {told}");
    }
    let many = format!("{{\"keys\":[{}]}}", vec!["1"; KEYS_MAX + 1].join(","));
    assert!(
        jwks(many.as_bytes(), &allowed)
            .unwrap_err()
            .contains("more than")
    );
}

#[test]
fn a_changed_file_counts_and_a_broken_one_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("key.pem");
    std::fs::copy(fixture("rsa.pub.pem"), &file).unwrap();
    let store = KeyStore::open(&JwtConfig {
        public_key_file: Some(file.clone()),
        ..config(&ALL)
    })
    .unwrap();
    let first = store.current.load_full();
    let mut told = None;
    store.reload(&mut told);
    assert!(
        Arc::ptr_eq(&first, &store.current.load_full()),
        "nothing changed"
    );
    std::fs::write(&file, "half a key").unwrap();
    store.reload(&mut told);
    assert!(told.is_some());
    assert!(Arc::ptr_eq(&first, &store.current.load_full()));
    std::fs::copy(fixture("ed.pub.pem"), &file).unwrap();
    store.reload(&mut told);
    assert!(told.is_none());
    assert_eq!(store.current.load().keys[0].algorithm, Algorithm::EdDSA);
}
