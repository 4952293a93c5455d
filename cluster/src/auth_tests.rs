use super::*;
use crate::wire::VERSION_MAX;
use crate::{Incarnation, NodeName};

fn secret(byte: u8) -> Secrets {
    Secret::new(&[byte; 32]).unwrap().into()
}

fn both(first: u8, second: u8) -> Secrets {
    let line = |byte: u8| format!("{}\n", char::from(byte).to_string().repeat(32));
    Secrets::from_lines((line(first) + &line(second)).as_bytes()).unwrap()
}

fn member(name: &str) -> Member {
    Member {
        name: NodeName::new(name).unwrap(),
        incarnation: Incarnation(7),
        mesh_address: "10.0.0.1:7400".parse().unwrap(),
        client_url: String::new(),
    }
}

fn until_proof(
    dialler_nonce: u8,
    acceptor_nonce: u8,
    secret: &Secrets,
) -> (DiallerProved, Proof, Acceptor) {
    let dialler = Dialler::new([dialler_nonce; 32], Versions::ALL, Binding::NONE);
    let (acceptor, challenge) = Acceptor::new(
        dialler.hello(),
        [acceptor_nonce; 32],
        Versions::ALL,
        Binding::NONE,
    )
    .unwrap();
    let (proved, proof) = dialler
        .prove(&challenge, secret, member("a"), 1, LinkClaim::default())
        .unwrap();
    (proved, proof, acceptor)
}

#[test]
fn both_sides_learn_who_the_other_is() {
    let (proved, proof, acceptor) = until_proof(1, 2, &secret(1));
    let verified = acceptor.verify(&proof, &secret(1)).unwrap();
    let welcome = verified.welcome(member("b"), Reached::default());
    assert_eq!(
        proved.welcomed(welcome),
        Ok((member("b"), Reached::default()))
    );
}

#[test]
fn a_wrong_secret_is_noticed_on_either_side() {
    let (proved, proof, acceptor) = until_proof(1, 2, &secret(1));
    assert_eq!(
        acceptor.verify(&proof, &secret(2)).unwrap_err(),
        AuthError::Secret
    );

    let (_, proof, acceptor) = until_proof(1, 2, &secret(1));
    let mut verified = acceptor.verify(&proof, &secret(1)).unwrap();
    verified.secret = secret(2).first().clone();
    let forged = verified.welcome(member("b"), Reached::default());
    assert_eq!(proved.welcomed(forged), Err(AuthError::Secret));
    let forged = verified.refuse(Refusal::SelfConnection);
    assert_eq!(proved.refused(forged), Err(AuthError::Secret));
}

#[test]
fn a_replayed_proof_fails() {
    let (_, recorded, _) = until_proof(1, 2, &secret(1));
    let (_, _, acceptor) = until_proof(1, 3, &secret(1));
    assert_eq!(
        acceptor.verify(&recorded, &secret(1)).unwrap_err(),
        AuthError::Secret
    );
}

#[test]
fn a_reflected_proof_fails() {
    // The acceptor's nonce equals the dialler's, and the proof comes back as the welcome.
    let (proved, proof, _) = until_proof(1, 1, &secret(1));
    let reflected = Welcome {
        identity: proof.identity,
        reached: Reached::default(),
        mac: proof.mac,
    };
    assert_eq!(proved.welcomed(reflected), Err(AuthError::Secret));
}

#[test]
fn the_identity_is_bound() {
    let (_, mut proof, acceptor) = until_proof(1, 2, &secret(1));
    proof.identity.name = NodeName::new("someone").unwrap();
    assert_eq!(
        acceptor.verify(&proof, &secret(1)).unwrap_err(),
        AuthError::Secret
    );

    let (proved, proof, acceptor) = until_proof(1, 2, &secret(1));
    let verified = acceptor.verify(&proof, &secret(1)).unwrap();
    let mut welcome = verified.welcome(member("b"), Reached::default());
    welcome.identity.incarnation = Incarnation(8);
    assert_eq!(proved.welcomed(welcome), Err(AuthError::Secret));
}

#[test]
fn versions_are_negotiated() {
    let hello = |min, max| Hello {
        version_min: min,
        version_max: max,
        nonce: [0; 32],
    };
    let (_, challenge) =
        Acceptor::new(hello(0, 200), [0; 32], Versions::ALL, Binding::NONE).unwrap();
    assert_eq!(challenge.version, VERSION_MAX);
    assert_eq!(
        Acceptor::new(
            hello(VERSION_MAX + 1, 200),
            [0; 32],
            Versions::ALL,
            Binding::NONE
        )
        .unwrap_err()
        .to_string(),
        "no common version of the mesh protocol: this node speaks 1 to 2, the other one 3 to 200"
    );
    // A downgrade by somebody in between changes the transcript, and the proof fails.
    let dialler = Dialler::new([1; 32], Versions::ALL, Binding::NONE);
    let mut tampered = dialler.hello();
    tampered.version_max = 9;
    let (acceptor, challenge) =
        Acceptor::new(tampered, [2; 32], Versions::ALL, Binding::NONE).unwrap();
    let (_, proof) = dialler
        .prove(&challenge, &secret(1), member("a"), 1, LinkClaim::default())
        .unwrap();
    assert_eq!(
        acceptor.verify(&proof, &secret(1)).unwrap_err(),
        AuthError::Secret
    );
}

#[test]
fn of_several_secrets_the_first_proves_and_all_are_accepted() {
    // In every mixture of a rotation both directions work: the answer is made with what the dialler knows.
    let (old, new) = (b'o', b'n');
    for (dialler, acceptor_side) in [
        (secret(old), both(old, new)),
        (both(old, new), secret(old)),
        (both(old, new), both(new, old)),
        (both(new, old), both(old, new)),
        (both(new, old), secret(new)),
        (secret(new), both(new, old)),
    ] {
        let (proved, proof, acceptor) = until_proof(1, 2, &dialler);
        let verified = acceptor.verify(&proof, &acceptor_side).unwrap();
        let welcome = verified.welcome(member("b"), Reached::default());
        assert_eq!(
            proved.welcomed(welcome),
            Ok((member("b"), Reached::default()))
        );
        let refused = verified.refuse(Refusal::Leaving);
        assert_eq!(proved.refused(refused), Ok(Refusal::Leaving));
    }
    // Who proves with what the other does not accept is a stranger, whatever else it knows.
    let (_, proof, acceptor) = until_proof(1, 2, &both(new, old));
    let refused = acceptor.verify(&proof, &secret(old)).unwrap_err();
    assert_eq!(refused, AuthError::Secret);
}

#[test]
fn a_proof_holds_for_the_tls_session_below_it_and_no_other() {
    let (mine, other) = (Binding::to([1; 32]), Binding::to([2; 32]));
    let proof_over = |here, there| {
        let dialler = Dialler::new([1; 32], Versions::ALL, here);
        let nonce = [2; 32];
        let (acceptor, challenge) =
            Acceptor::new(dialler.hello(), nonce, Versions::ALL, there).unwrap();
        let claim = LinkClaim::default();
        let proving = dialler.prove(&challenge, &secret(1), member("a"), 1, claim);
        let (proved, proof) = proving.unwrap();
        let verified = acceptor.verify(&proof, &secret(1))?;
        proved.welcomed(verified.welcome(member("b"), Reached::default()))
    };
    for same in [Binding::NONE, mine] {
        assert!(proof_over(same, same).is_ok());
    }
    // A relay has two sessions, or one and a side in clear text.
    for (here, there) in [(mine, other), (Binding::NONE, mine), (mine, Binding::NONE)] {
        assert_eq!(proof_over(here, there), Err(AuthError::Secret));
    }
    // The acceptor's answers are bound too.
    let (mut proved, proof, acceptor) = until_proof(1, 2, &secret(1));
    let verified = acceptor.verify(&proof, &secret(1)).unwrap();
    proved.transcript.binding = mine;
    let welcome = verified.welcome(member("b"), Reached::default());
    assert_eq!(proved.welcomed(welcome), Err(AuthError::Secret));
    let refused = verified.refuse(Refusal::Leaving);
    assert_eq!(proved.refused(refused), Err(AuthError::Secret));
}
