//! Digests and password hashes.

use minijinja::Error;
use rand::seq::IndexedRandom;
use sha_crypt::Params;
use sha2::Digest;

use super::failure::{error, hinted};

/// A digest in hexadecimal.
pub(super) fn digest(kind: &str, data: &[u8]) -> Result<String, Error> {
    Ok(match kind {
        "md5" => hex::encode(md5::Md5::digest(data)),
        "sha1" => hex::encode(sha1::Sha1::digest(data)),
        "sha224" => hex::encode(sha2::Sha224::digest(data)),
        "sha256" => hex::encode(sha2::Sha256::digest(data)),
        "sha384" => hex::encode(sha2::Sha384::digest(data)),
        "sha512" => hex::encode(sha2::Sha512::digest(data)),
        other => {
            return Err(error(format!(
                "there is no digest '{other}': it is md5, sha1, sha224, sha256, sha384 or sha512"
            )));
        }
    })
}

/// Sixteen characters that a salt may have.
pub(super) fn random_salt() -> String {
    let chars: Vec<char> = ('a'..='z').chain('A'..='Z').chain('0'..='9').chain("./".chars()).collect();
    let mut rng = rand::rng();
    (0..16).filter_map(|_| chars.choose(&mut rng)).collect()
}

/// More rounds than the specification's own 5000 times a thousand keep a template for minutes.
const MOST_ROUNDS: u32 = 5_000_000;

/// As Ansible's library has it: each round goes through the whole password.
const MOST_PASSWORD: usize = 4096;

/// A password's hash as `/etc/shadow` holds it.
pub(super) fn crypt(
    password: &str,
    scheme: &str,
    salt: Option<&str>,
    rounds: Option<u32>,
) -> Result<String, Error> {
    let long = match scheme {
        "sha512" | "sha512_crypt" => true,
        "sha256" | "sha256_crypt" => false,
        other => {
            return Err(hinted(
                format!("the password hash '{other}' is not supported"),
                Some("use sha512 or sha256".into()),
            ));
        }
    };
    let random = random_salt();
    let salt = salt.unwrap_or(&random);
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '/';
    if salt.is_empty() || salt.len() > 16 || !salt.chars().all(allowed) {
        return Err(error("a salt has one to sixteen letters, digits, dots or slashes"));
    }
    if password.len() > MOST_PASSWORD {
        return Err(error(format!(
            "a password to hash has at most {MOST_PASSWORD} bytes, not {}",
            password.len()
        )));
    }
    let rounds = rounds.unwrap_or(if long { 656_000 } else { 535_000 });
    let params = Params::new(rounds).ok().filter(|_| rounds <= MOST_ROUNDS).ok_or_else(|| {
        hinted(
            format!("rounds must be between 1000 and {MOST_ROUNDS}, not {rounds}"),
            Some("each login takes as long as this hash: without rounds= it is what Ansible takes".into()),
        )
    })?;
    let (password, salt_bytes) = (password.as_bytes(), salt.as_bytes());
    let (tag, hash) = if long {
        (6, encode(&sha_crypt::sha512_crypt(password, salt_bytes, params), 21))
    } else {
        (5, encode(&sha_crypt::sha256_crypt(password, salt_bytes, params), 10))
    };
    // The specification's own number of rounds is not written.
    let written = if rounds == 5000 { String::new() } else { format!("rounds={rounds}$") };
    Ok(format!("${tag}${written}{salt}${hash}"))
}

/// The crypt alphabet over the digest's bytes in the order that the specification shuffles them to.
fn encode(digest: &[u8], rows: usize) -> String {
    const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let byte = |at: usize| u32::from(digest.get(at).copied().unwrap_or(0));
    let mut out = String::new();
    let mut push = |mut bits: u32, count: usize| {
        for _ in 0..count {
            out.extend(ALPHABET.get((bits & 63) as usize).map(|c| char::from(*c)));
            bits >>= 6;
        }
    };
    // Three bytes a row, a third of the digest apart; where a row starts, turns with each row.
    let third = rows;
    for row in 0..rows {
        let columns = [row, row + third, row + 2 * third];
        let turn = if rows == 21 { row % 3 } else { (3 - row % 3) % 3 };
        let at = |n: usize| columns.get((n + turn) % 3).copied().map_or(0, byte);
        push((at(0) << 16) | (at(1) << 8) | at(2), 4);
    }
    if rows == 21 {
        push(byte(63), 2);
    } else {
        push((byte(31) << 8) | byte(30), 3);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `openssl passwd` gives.
    #[test]
    fn hashes_are_those_of_crypt() {
        for (scheme, salt, rounds, password, expected) in [
            (
                "sha512",
                "saltstring",
                5000,
                "Hello world!",
                "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
            ),
            (
                "sha512",
                "saltstringsaltst",
                10000,
                "Hello world!",
                "$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.",
            ),
            (
                "sha256",
                "saltstring",
                5000,
                "Hello world!",
                "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5",
            ),
            (
                "sha256",
                "saltstringsaltst",
                10000,
                "Hello world!",
                "$5$rounds=10000$saltstringsaltst$3xv.VbSHBb41AL9AvLeujZkZRBAwqFMz2.opqey6IcA",
            ),
        ] {
            let found = crypt(password, scheme, Some(salt), Some(rounds)).expect(scheme);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn digests_are_known() {
        assert_eq!(digest("md5", b"").expect("md5"), "d41d8cd98f00b204e9800998ecf8427e");
        assert!(digest("md6", b"").is_err());
    }
}
