//! Random tokens, their comparison, authentication codes, and password hashing.

use hmac::{Hmac, Mac};
use sha_crypt::{Sha512Params, sha512_crypt_b64};
use sha2::{Digest, Sha256};

/// The longest password that is hashed; the work grows with the length.
pub const MAX_PASSWORD: usize = 256;

/// The rounds that a `$6$` hash without a `rounds=` part means.
const ROUNDS: usize = 5_000;
/// The alphabet of crypt(5) salts.
const SALT_ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The kernel gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("the system gave no random bytes ({0}), so no secret could be made")]
pub struct NoRandomness(getrandom::Error);

/// Why a password was not hashed.
#[derive(Debug, thiserror::Error)]
pub enum PasswordError {
    #[error("use at most {MAX_PASSWORD} bytes")]
    TooLong,
    #[error("a password cannot contain control characters such as line breaks")]
    ControlCharacter,
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    #[error("the password could not be hashed")]
    Failed,
}

/// A random token of `BYTES` bytes in lower-case hexadecimal, fit for URLs and file names.
pub fn token<const BYTES: usize>() -> Result<String, NoRandomness> {
    let mut bytes = [0u8; BYTES];
    getrandom::fill(&mut bytes).map_err(NoRandomness)?;
    Ok(hex::encode(bytes))
}

/// Whether two secrets are equal, in a time that tells nothing of where they differ: the hashes are compared, not the secrets.
pub fn same(a: &str, b: &str) -> bool {
    Sha256::digest(a.as_bytes()) == Sha256::digest(b.as_bytes())
}

/// HMAC-SHA256 (RFC 2104) of the parts, one behind the other.
pub fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return Vec::new() };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().to_vec()
}

/// The crypt(5) hash of a password, SHA-512 with a fresh salt (`$6$…`), as /etc/shadow holds it.
pub fn hash_password(password: &str) -> Result<String, PasswordError> {
    if password.len() > MAX_PASSWORD {
        return Err(PasswordError::TooLong);
    }
    if password.chars().any(char::is_control) {
        return Err(PasswordError::ControlCharacter);
    }
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).map_err(NoRandomness)?;
    let salt: Vec<u8> = random.iter().filter_map(|byte| SALT_ALPHABET.get(usize::from(byte & 63)).copied()).collect();
    let params = Sha512Params::new(ROUNDS).map_err(|_| PasswordError::Failed)?;
    let digest = sha512_crypt_b64(password.as_bytes(), &salt, &params).map_err(|_| PasswordError::Failed)?;
    Ok(format!("$6${}${digest}", String::from_utf8_lossy(&salt)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn tokens_are_long_and_differ() {
        let (a, b) = (token::<16>().unwrap(), token::<16>().unwrap());
        assert_eq!(a.len(), 32);
        assert_ne!(a, b);
        assert!(same(&a, &a.clone()));
        assert!(!same(&a, &b));
    }

    #[test]
    fn openssl_makes_the_same_hash_from_the_same_salt() {
        let hash = hash_password("Ottos Mops k{tzt").unwrap();
        let salt = hash.split('$').nth(2).unwrap();
        let Ok(out) =
            Command::new("openssl").args(["passwd", "-6", "-salt", salt, "Ottos Mops k{tzt"]).stderr(Stdio::null()).output()
        else {
            println!("skipped: openssl is not installed");
            return;
        };
        assert_eq!(String::from_utf8(out.stdout).unwrap().trim(), hash);
    }

    #[test]
    fn passwords_that_cannot_be_typed_are_refused() {
        assert!(matches!(hash_password(&"x".repeat(257)), Err(PasswordError::TooLong)));
        assert!(matches!(hash_password("a\nb"), Err(PasswordError::ControlCharacter)));
    }
}
