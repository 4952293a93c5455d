use super::*;
use crate::config::TokenAlgorithm;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use std::path::PathBuf;

/// The present second of these tests.
const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/keys")
        .join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(fixture(name)).unwrap()
}

fn verifier(change: impl FnOnce(&mut JwtConfig)) -> TokenVerifier {
    let mut config = JwtConfig {
        algorithms: vec![
            TokenAlgorithm::Hs256,
            TokenAlgorithm::Rs256,
            TokenAlgorithm::Es256,
            TokenAlgorithm::EdDsa,
        ],
        jwks_file: Some(fixture("jwks.json")),
        ..JwtConfig::default()
    };
    change(&mut config);
    let keys = KeyStore::open(&config).unwrap();
    TokenVerifier::new(keys, &config, UnixClock::of(|| NOW * 1000))
}

fn header(algorithm: Algorithm, id: Option<&str>) -> Header {
    Header {
        kid: id.map(str::to_owned),
        ..Header::new(algorithm)
    }
}

fn token(claims: &Value) -> String {
    let key = EncodingKey::from_ed_pem(&bytes("ed.pem")).unwrap();
    encode(&header(Algorithm::EdDSA, Some("d1")), claims, &key).unwrap()
}

fn alice() -> Value {
    json!({ "sub": "alice", "exp": NOW + 60 })
}

fn with(key: &str, value: Value) -> Value {
    let mut claims = alice();
    claims[key] = value;
    claims
}

fn invalid(verifier: &TokenVerifier, token: &str) -> &'static str {
    match verifier.verify(token) {
        Err(TokenRefusal::Invalid(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_algorithm_verifies() {
    let directory = tempfile::tempdir().unwrap();
    let secret = directory.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let verifier = verifier(|config| config.secret_file = Some(secret));
    for (algorithm, id, key) in [
        (Algorithm::HS256, None, EncodingKey::from_secret(SECRET)),
        (
            Algorithm::RS256,
            Some("r1"),
            EncodingKey::from_rsa_pem(&bytes("rsa.pem")).unwrap(),
        ),
        (
            Algorithm::ES256,
            Some("e1"),
            EncodingKey::from_ec_pem(&bytes("ec.pem")).unwrap(),
        ),
        (
            Algorithm::EdDSA,
            Some("d1"),
            EncodingKey::from_ed_pem(&bytes("ed.pem")).unwrap(),
        ),
        (
            Algorithm::EdDSA,
            None,
            EncodingKey::from_ed_pem(&bytes("ed.pem")).unwrap(),
        ),
    ] {
        let token = encode(&header(algorithm, id), &alice(), &key).unwrap();
        let claims = verifier
            .verify(&token)
            .unwrap_or_else(|error| panic!("{algorithm:?}: {error:?}"));
        assert_eq!(claims.user.as_str(), "alice");
        assert_eq!(claims.expires_at_ms, (NOW + 60 + 30) * 1000);
        // Any change of the signed part is seen.
        let mut parts: Vec<&str> = token.split('.').collect();
        let forged = URL_SAFE_NO_PAD.encode(with("sub", json!("mallory")).to_string());
        parts[1] = &forged;
        assert_eq!(
            invalid(&verifier, &parts.join(".")),
            "no key verifies the token"
        );
    }
    let foreign = EncodingKey::from_ed_pem(&bytes("other.pem")).unwrap();
    for id in [Some("d1"), Some("unheard"), None] {
        let token = encode(&header(Algorithm::EdDSA, id), &alice(), &foreign).unwrap();
        assert_eq!(invalid(&verifier, &token), "no key verifies the token");
    }
}

#[test]
fn the_algorithm_is_never_the_tokens_choice() {
    // Everybody has the public key; a node that takes HS256 from the header would accept it as a secret.
    let rsa = verifier(|config| {
        config.jwks_file = None;
        config.public_key_file = Some(fixture("rsa.pub.pem"));
    });
    for text in [
        bytes("rsa.pub.pem"),
        bytes("rsa.pub.pem").trim_ascii().to_vec(),
    ] {
        let token = encode(
            &header(Algorithm::HS256, None),
            &alice(),
            &EncodingKey::from_secret(&text),
        )
        .unwrap();
        assert_eq!(invalid(&rsa, &token), "no key verifies the token");
    }
    // An algorithm of the same family that is not allowed.
    let key = EncodingKey::from_rsa_pem(&bytes("rsa.pem")).unwrap();
    for algorithm in [Algorithm::RS512, Algorithm::PS256] {
        let token = encode(&header(algorithm, None), &alice(), &key).unwrap();
        assert_eq!(invalid(&rsa, &token), "no key verifies the token");
    }
    assert!(
        rsa.verify(&encode(&header(Algorithm::RS256, None), &alice(), &key).unwrap())
            .is_ok()
    );
    // A key of the set that is not allowed.
    let only_ec = verifier(|config| config.algorithms = vec![TokenAlgorithm::Es256]);
    assert_eq!(
        invalid(&only_ec, &token(&alice())),
        "no key verifies the token"
    );
}

#[test]
fn a_token_without_signature_is_none() {
    let verifier = verifier(|_| {});
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    for algorithm in ["none", "None", "NONE", "", "HS256 "] {
        for signature in ["", "AAAA"] {
            let token = format!(
                "{}.{}.{signature}",
                part(&json!({ "alg": algorithm })),
                part(&alice())
            );
            assert_eq!(invalid(&verifier, &token), "not a token", "{algorithm}");
        }
    }
    for text in [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d",
        &"a".repeat(100_000),
        "é.é.é",
        "\0.\0.\0",
    ] {
        assert!(matches!(
            invalid(&verifier, text),
            "not a token" | "no key verifies the token"
        ));
    }
    let token = token(&alice());
    assert!(!invalid(&verifier, &token[..token.len() - 4]).is_empty());
    assert_eq!(
        invalid(&verifier, &token[..token.rfind('.').unwrap() + 1]),
        "no key verifies the token"
    );
}

#[test]
fn a_header_that_demands_more_is_refused() {
    let key = EncodingKey::from_ed_pem(&bytes("ed.pem")).unwrap();
    let header = Header {
        crit: Some(vec!["b64".into()]),
        ..header(Algorithm::EdDSA, None)
    };
    let token = encode(&header, &alice(), &key).unwrap();
    assert_eq!(
        invalid(&verifier(|_| {}), &token),
        "the token demands an extension"
    );
}

#[test]
fn times_with_leeway() {
    let verifier = verifier(|config| config.leeway_s = 10);
    assert!(
        verifier
            .verify(&token(&with("exp", json!(NOW - 9))))
            .is_ok()
    );
    for over in [json!(NOW - 10), json!(NOW - 10_000), json!(0)] {
        assert_eq!(
            verifier.verify(&token(&with("exp", over))),
            Err(TokenRefusal::Expired)
        );
    }
    for none in [json!(null), json!("tomorrow"), json!(-1), json!([])] {
        assert_eq!(
            invalid(&verifier, &token(&with("exp", none))),
            "no date of expiry in the token"
        );
    }
    assert_eq!(
        invalid(&verifier, &token(&json!({ "sub": "alice" }))),
        "no date of expiry in the token"
    );
    let far = verifier
        .verify(&token(&with("exp", json!(u64::MAX))))
        .unwrap();
    assert_eq!(far.expires_at_ms, u64::MAX);
    let fraction = verifier
        .verify(&token(&with("exp", json!(NOW as f64 + 0.5))))
        .unwrap();
    assert_eq!(fraction.expires_at_ms, NOW * 1000 + 500 + 10_000);
    assert!(
        verifier
            .verify(&token(&with("nbf", json!(NOW + 10))))
            .is_ok()
    );
    for early in [json!(NOW + 11), json!("soon"), json!(null)] {
        assert_eq!(
            invalid(&verifier, &token(&with("nbf", early))),
            "the token does not count yet"
        );
    }
}

#[test]
fn issuer_and_audience() {
    let strict = verifier(|config| {
        config.issuer = vec!["https://a".into(), "https://b".into()];
        config.audience = vec!["halley".into()];
    });
    let ours =
        |iss: Value, aud: Value| json!({ "sub": "alice", "exp": NOW + 60, "iss": iss, "aud": aud });
    for aud in [json!("halley"), json!(["x", "halley"])] {
        assert!(
            strict
                .verify(&token(&ours(json!("https://b"), aud)))
                .is_ok()
        );
    }
    for iss in [json!("https://c"), json!(null), json!(["https://a"])] {
        assert_eq!(
            invalid(&strict, &token(&ours(iss, json!("halley")))),
            "another issuer"
        );
    }
    for aud in [json!("x"), json!([]), json!(null), json!([["halley"]])] {
        assert_eq!(
            invalid(&strict, &token(&ours(json!("https://a"), aud))),
            "for another audience"
        );
    }
    assert_eq!(
        invalid(&strict, &token(&with("iss", json!("https://a")))),
        "for another audience"
    );
    // Without a configured audience nothing that is for somebody else is accepted.
    assert_eq!(
        invalid(&verifier(|_| {}), &token(&with("aud", json!("halley")))),
        "for another audience"
    );
}

#[test]
fn users_and_roles() {
    let plain = verifier(|_| {});
    for (roles, expected) in [
        (json!(["a", "b c"]), vec!["a", "b c"]),
        (json!("a  b"), vec!["a", "b"]),
        (json!(null), vec![]),
        (json!([]), vec![]),
    ] {
        assert_eq!(
            plain.verify(&token(&with("roles", roles))).unwrap().roles,
            expected
        );
    }
    for roles in [json!(1), json!({ "a": 1 }), json!(["a", 1])] {
        assert_eq!(
            invalid(&plain, &token(&with("roles", roles))),
            "the roles are neither a list nor text"
        );
    }
    for user in [
        json!(""),
        json!(7),
        json!(null),
        json!("a\nb"),
        json!("x".repeat(257)),
    ] {
        assert_eq!(
            invalid(&plain, &token(&with("sub", user))),
            "no user in the token"
        );
    }
    let elsewhere = verifier(|config| {
        config.user_claim = "https://app.example/user".into();
        config.roles_claim = "realm_access.roles".into();
    });
    let claims = elsewhere
        .verify(&token(
            &json!({ "exp": NOW + 1, "https://app.example/user": "bob",
            "realm_access": { "roles": ["admin"] } }),
        ))
        .unwrap();
    assert_eq!(
        (claims.user.as_str(), claims.roles),
        ("bob", vec!["admin".to_owned()])
    );
}
