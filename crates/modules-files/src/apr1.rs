//! Apache's MD5-based password hash, the default of `htpasswd`.

use md5::{Digest, Md5};
use rand::RngExt;

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Hashes with a new salt.
pub(super) fn hash(password: &str) -> String {
    let mut rng = rand::rng();
    let salt: String = (0..8).map(|_| char::from(ALPHABET[rng.random_range(0..64)])).collect();
    with_salt(password, &salt)
}

/// Whether the password has this hash.
pub(super) fn verify(password: &str, hash: &str) -> bool {
    hash.strip_prefix("$apr1$")
        .and_then(|rest| rest.split_once('$'))
        .is_some_and(|(salt, _)| with_salt(password, salt) == hash)
}

fn with_salt(password: &str, salt: &str) -> String {
    let (password, salt_bytes) = (password.as_bytes(), salt.as_bytes());
    let mut inner: [u8; 16] =
        Md5::new().chain_update(password).chain_update(salt_bytes).chain_update(password).finalize().into();
    let mut md5 = Md5::new().chain_update(password).chain_update("$apr1$").chain_update(salt_bytes);
    for chunk in password.chunks(16) {
        md5.update(&inner[..chunk.len()]);
    }
    let mut length = password.len();
    while length > 0 {
        md5.update(if length & 1 == 1 { &[0] } else { &password[..1] });
        length >>= 1;
    }
    inner = md5.finalize().into();
    for round in 0..1000 {
        let mut md5 = Md5::new();
        md5.update(if round % 2 == 1 { password } else { &inner });
        if round % 3 != 0 {
            md5.update(salt_bytes);
        }
        if round % 7 != 0 {
            md5.update(password);
        }
        md5.update(if round % 2 == 1 { &inner } else { password });
        inner = md5.finalize().into();
    }
    let mut out = format!("$apr1${salt}$");
    let mut write = |mut bits: u32, characters: usize| {
        for _ in 0..characters {
            out.push(char::from(ALPHABET[(bits & 63) as usize]));
            bits >>= 6;
        }
    };
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        write(u32::from(inner[a]) << 16 | u32::from(inner[b]) << 8 | u32::from(inner[c]), 4);
    }
    write(u32::from(inner[11]), 2);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_what_openssl_makes() {
        assert_eq!(with_salt("myPassword", "r31....."), "$apr1$r31.....$HqJZimcKQFAMYayBlzkrA/");
        assert!(verify("pw", &hash("pw")));
        assert!(!verify("other", &hash("pw")));
    }
}
