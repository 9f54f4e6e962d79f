//! What stands inside an envelope: AES-256 in counter mode, with an HMAC over it, keys drawn from the password.

use aes::Aes256;
use ctr::Ctr128BE;
use ctr::cipher::{KeyIvInit as _, StreamCipher as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::VaultError;

const ROUNDS: u32 = 10_000;
const KEY: usize = 32;
const COUNTER: usize = 16;
/// The block that texts are filled up to.
const BLOCK: usize = 16;

/// Key for the cipher, key for the HMAC, first counter.
type Material = Zeroizing<[u8; 2 * KEY + COUNTER]>;

fn material(password: &[u8], salt: &[u8]) -> Material {
    let mut material = Zeroizing::new([0; 2 * KEY + COUNTER]);
    pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, ROUNDS, material.as_mut_slice());
    material
}

fn damaged(why: &str) -> VaultError {
    VaultError::Damaged(why.to_owned())
}

/// Cipher key, MAC key and counter.
type Keys<'a> = (&'a [u8], &'a [u8], &'a [u8]);

fn split(material: &Material) -> Result<Keys<'_>, VaultError> {
    let (cipher, rest) = material.split_at_checked(KEY).ok_or_else(|| damaged("no key"))?;
    let (mac, counter) = rest.split_at_checked(KEY).ok_or_else(|| damaged("no key"))?;
    Ok((cipher, mac, counter))
}

fn crypt(key: &[u8], counter: &[u8], data: &mut [u8]) -> Result<(), VaultError> {
    let mut cipher = Ctr128BE::<Aes256>::new_from_slices(key, counter).map_err(|_| damaged("no key"))?;
    cipher.try_apply_keystream(data).map_err(|_| damaged("it is too long"))
}

fn mac(key: &[u8]) -> Result<Hmac<Sha256>, VaultError> {
    Hmac::<Sha256>::new_from_slice(key).map_err(|_| damaged("no key"))
}

/// The body of an envelope: salt, HMAC and encrypted text, each in hexadecimal, in hexadecimal once more.
pub(super) fn seal(plain: &[u8], password: &[u8], salt: &[u8]) -> Result<String, VaultError> {
    let material = material(password, salt);
    let (key, mac_key, counter) = split(&material)?;
    let fill = BLOCK - plain.len() % BLOCK;
    let mut data = plain.to_vec();
    data.extend(std::iter::repeat_n(u8::try_from(fill).unwrap_or_default(), fill));
    crypt(key, counter, &mut data)?;
    let mut tag = mac(mac_key)?;
    tag.update(&data);
    let tag = tag.finalize().into_bytes();
    Ok(hex::encode([hex::encode(salt), hex::encode(tag), hex::encode(data)].join("\n")))
}

/// The text inside a body; `None` where the password does not fit.
pub(super) fn open(body: &str, password: &[u8]) -> Result<Option<Zeroizing<Vec<u8>>>, VaultError> {
    let unhex = |text: &[u8]| hex::decode(text).map_err(|_| damaged("it holds what is not hexadecimal"));
    let inner = unhex(body.as_bytes())?;
    let mut parts = inner.splitn(3, |byte| *byte == b'\n');
    let mut part = || parts.next().ok_or_else(|| damaged("it ends too early")).and_then(unhex);
    let (salt, tag) = (part()?, part()?);
    let mut data = Zeroizing::new(part()?);
    let material = material(password, &salt);
    let (key, mac_key, counter) = split(&material)?;
    let mut expected = mac(mac_key)?;
    expected.update(&data);
    // Compared in constant time.
    if expected.verify_slice(&tag).is_err() {
        return Ok(None);
    }
    crypt(key, counter, &mut data)?;
    let fill = usize::from(data.last().copied().unwrap_or(0));
    if fill == 0 || fill > BLOCK || fill > data.len() {
        return Err(damaged("its end is not as it should be"));
    }
    let length = data.len() - fill;
    data.truncate(length);
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_with_its_password_only() {
        for text in [&b""[..], b"a", b"0123456789abcdef", &[7; 1000]] {
            let body = seal(text, b"secret", &[3; 32]).expect("sealed");
            assert_eq!(open(&body, b"secret").expect("whole").as_deref().map(Vec::as_slice), Some(text));
            assert_eq!(open(&body, b"other").expect("whole"), None);
        }
    }

    #[test]
    fn damage_is_told() {
        for body in ["", "zz", "00", "0a", "610a620a63"] {
            assert!(matches!(open(body, b"x"), Err(VaultError::Damaged(_))), "{body}");
        }
    }
}
