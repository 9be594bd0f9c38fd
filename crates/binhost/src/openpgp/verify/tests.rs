use std::time::Duration;

use gentoo::gpkg::Signer;

use super::*;
use crate::openpgp::SigningKey;

const DAY: Duration = Duration::from_secs(86_400);

fn keyring(keys: &[&SigningKey]) -> Keyring {
    let text: String = keys.iter().map(|key| key.certificate().unwrap()).collect();
    Keyring::from_armored(&text).unwrap()
}

fn detached(keyring: &Keyring, signature: &str, data: &[u8]) -> Result<(), SignatureProblem> {
    keyring.verify_detached(&mut &data[..], signature.as_bytes())
}

#[test]
fn good_signatures_pass_and_altered_content_does_not() {
    let mut key = SigningKey::generate("test").unwrap();
    let other = SigningKey::generate("other").unwrap();
    let ring = keyring(&[&other, &key]);
    let signature = key.detached(&mut &b"content"[..]).unwrap();
    detached(&ring, &signature, b"content").unwrap();
    assert!(matches!(detached(&ring, &signature, b"contents").unwrap_err(), SignatureProblem::Bad { .. }));
    let message = key.clear_sign("DATA a\n- b\n").unwrap();
    assert_eq!(ring.verify_clear_signed(message.as_bytes()).unwrap(), b"DATA a\n- b\n");
    let altered = message.replace("DATA a", "DATA b");
    assert!(matches!(ring.verify_clear_signed(altered.as_bytes()).unwrap_err(), SignatureProblem::Bad { .. }));
    // A plain signed message is not what a Manifest has to be.
    assert!(ring.verify_clear_signed(signature.as_bytes()).is_err());
}

#[test]
fn what_surrounds_a_clear_signed_text_does_not_count() {
    let mut key = SigningKey::generate("test").unwrap();
    let message = key.clear_sign("inside\n").unwrap();
    let surrounded = format!("before\n{message}\nafter\n");
    if let Ok(text) = keyring(&[&key]).verify_clear_signed(surrounded.as_bytes()) {
        assert_eq!(text, b"inside\n");
    }
}

#[test]
fn strangers_are_refused() {
    let mut key = SigningKey::generate("test").unwrap();
    let ring = keyring(&[&SigningKey::generate("other").unwrap()]);
    let signature = key.detached(&mut &b"content"[..]).unwrap();
    let problem = detached(&ring, &signature, b"content").unwrap_err();
    assert!(matches!(problem, SignatureProblem::UnknownKey { .. }), "{problem}");
    let message = key.clear_sign("text\n").unwrap();
    assert!(matches!(ring.verify_clear_signed(message.as_bytes()).unwrap_err(), SignatureProblem::UnknownKey { .. }));
}

#[test]
fn an_expired_key_is_refused_even_for_what_it_signed_in_time() {
    let created = SystemTime::now() - 10 * DAY;
    let key = SigningKey::generate_at("test", created, Some(5 * DAY)).unwrap();
    let signature = key.at(created + DAY).detached(&mut &b"content"[..]).unwrap();
    let ring = keyring(&[&key]);
    assert!(matches!(detached(&ring, &signature, b"content").unwrap_err(), SignatureProblem::ExpiredKey { .. }));
    assert_eq!(ring.complaints().len(), 1);
    let alive = SigningKey::generate_at("test", created, Some(15 * DAY)).unwrap();
    let signature = alive.at(created + DAY).detached(&mut &b"content"[..]).unwrap();
    detached(&keyring(&[&alive]), &signature, b"content").unwrap();
}

#[test]
fn a_revoked_key_is_refused_whenever_it_signed() {
    use openpgp::cert::CertRevocationBuilder;
    use openpgp::serialize::SerializeInto;
    use openpgp::types::ReasonForRevocation;
    let created = SystemTime::now() - 10 * DAY;
    let key = SigningKey::generate_at("test", created, None).unwrap();
    let signature = key.at(created + DAY).detached(&mut &b"content"[..]).unwrap();
    for reason in [ReasonForRevocation::KeyCompromised, ReasonForRevocation::KeyRetired] {
        let cert = Cert::from_bytes(key.to_armored().unwrap().as_bytes()).unwrap();
        let mut primary = cert.primary_key().key().clone().parts_into_secret().unwrap().into_keypair().unwrap();
        let revocation = CertRevocationBuilder::new().set_reason_for_revocation(reason, b"").unwrap();
        let revocation = revocation.build(&mut primary, &cert, None).unwrap();
        let (cert, _) = cert.insert_packets(revocation).unwrap();
        let armored = String::from_utf8(cert.strip_secret_key_material().armored().to_vec().unwrap()).unwrap();
        let ring = Keyring::from_armored(&armored).unwrap();
        let problem = detached(&ring, &signature, b"content").unwrap_err();
        assert!(matches!(problem, SignatureProblem::RevokedKey { .. }), "{reason:?}: {problem}");
    }
}

#[test]
fn a_second_signature_by_a_stranger_spoils_a_good_one() {
    let (mut key, mut stranger) = (SigningKey::generate("test").unwrap(), SigningKey::generate("stranger").unwrap());
    let ring = keyring(&[&key]);
    let packets = |armored: &str| {
        let mut reader = openpgp::armor::Reader::from_bytes(armored.as_bytes(), None);
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    };
    let mut both = packets(&key.detached(&mut &b"content"[..]).unwrap());
    ring.verify_detached(&mut &b"content"[..], &both).unwrap();
    both.extend(packets(&stranger.detached(&mut &b"content"[..]).unwrap()));
    let problem = ring.verify_detached(&mut &b"content"[..], &both).unwrap_err();
    assert!(matches!(problem, SignatureProblem::UnknownKey { .. }), "{problem}");
}

#[test]
fn a_signature_that_is_none_is_malformed() {
    let ring = keyring(&[&SigningKey::generate("test").unwrap()]);
    for signature in ["", "hello", "-----BEGIN PGP SIGNATURE-----\n\n-----END PGP SIGNATURE-----\n"] {
        assert!(
            matches!(detached(&ring, signature, b"content").unwrap_err(), SignatureProblem::Malformed { .. }),
            "{signature:?}"
        );
    }
}

#[test]
fn keyrings_are_read_with_care() {
    let key = SigningKey::generate("test").unwrap();
    assert!(matches!(Keyring::from_armored("").unwrap_err(), KeyringError::Empty));
    assert!(matches!(Keyring::from_armored(&key.to_armored().unwrap()).unwrap_err(), KeyringError::Secret));
    let certificate = key.certificate().unwrap();
    assert!(matches!(Keyring::from_armored(&certificate[..certificate.len() / 2]).unwrap_err(), KeyringError::Malformed(_)));
    let ring = Keyring::from_armored(&format!("comment\n{certificate}\nmore\n")).unwrap();
    assert_eq!(ring.fingerprints(), [key.fingerprint()]);
    assert!(ring.complaints().is_empty());
}

#[test]
fn a_key_survives_its_armor() {
    let key = SigningKey::generate("test").unwrap();
    let mut again = SigningKey::from_armored(&key.to_armored().unwrap()).unwrap();
    let signature = again.detached(&mut &b"content"[..]).unwrap();
    detached(&keyring(&[&key]), &signature, b"content").unwrap();
    assert!(SigningKey::from_armored(&key.certificate().unwrap()).is_err());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(200))]

    #[test]
    fn garbage_is_an_error_and_never_a_panic(
        bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        at in proptest::prelude::any::<proptest::sample::Index>(),
    ) {
        thread_local! {
            static SIGNED: (Keyring, Vec<u8>, Vec<u8>) = {
                let mut key = SigningKey::generate("test").unwrap();
                let detached = key.detached(&mut &b"content"[..]).unwrap().into_bytes();
                (keyring(&[&key]), detached, key.clear_sign("text\n").unwrap().into_bytes())
            };
        }
        SIGNED.with(|(ring, detached, clear)| {
            assert!(ring.verify_detached(&mut &b"content"[..], &bytes).is_err());
            assert!(ring.verify_clear_signed(&bytes).is_err());
            // Damage in the middle of real ones: what still passes has the content that was signed.
            let damage = |whole: &[u8]| {
                let mut damaged = whole.to_vec();
                let at = at.index(damaged.len());
                damaged.splice(at..(at + bytes.len()).min(whole.len()), bytes.iter().copied());
                damaged
            };
            assert!(ring.verify_detached(&mut &b"contents"[..], &damage(detached)).is_err());
            if let Ok(text) = ring.verify_clear_signed(&damage(clear)) {
                assert_eq!(text, b"text\n");
            }
            let _ = Keyring::from_armored(&String::from_utf8_lossy(&damage(detached)));
        });
    }
}
