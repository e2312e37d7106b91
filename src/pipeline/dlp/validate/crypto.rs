//! Keys to money and to what is encrypted.

use bech32::Bech32;
use bech32::primitives::decode::CheckedHrpstring;
use ring::signature::{Ed25519KeyPair, KeyPair};
use sha2::{Digest, Sha256};

/// age's identities (C2SP age.md): Bech32 over 32 bytes, in capitals.
pub(super) fn age(value: &[u8]) -> bool {
    let Some(text) = std::str::from_utf8(value).ok().filter(|text| text.starts_with("AGE-SECRET-KEY-1")) else {
        return false;
    };
    CheckedHrpstring::new::<Bech32>(text).is_ok_and(|checked| checked.byte_iter().count() == 32)
}

/// Bitcoin's Base58Check: the last four bytes are the first of a double SHA-256 over the others.
pub(super) fn base58_check(value: &[u8]) -> bool {
    checked(value).is_some()
}

/// A private key in Bitcoin's wallet import format: a version byte, 32 bytes, and 01 where its public key is compressed.
pub(super) fn wif(value: &[u8]) -> bool {
    let Some(payload) = checked(value) else { return false };
    // 80 for Bitcoin, ef for its test networks, b0 Litecoin, 9e Dogecoin, cc Dash.
    match payload.split_first() {
        Some((0x80 | 0xef | 0xb0 | 0x9e | 0xcc, key)) => key.len() == 32 || (key.len() == 33 && key.last() == Some(&1)),
        _ => false,
    }
}

/// BIP-32's extended private keys, and the versions of SLIP-132: 78 bytes whose key begins with 00.
pub(super) fn extended_key(value: &[u8]) -> bool {
    checked(value).is_some_and(|payload| payload.len() == 78 && payload.get(45) == Some(&0))
}

/// A private key of secp256k1, as Ethereum writes it: not zero, and less than the order of the curve (SEC 2 §2.4.1).
pub(super) fn ethereum_key(value: &[u8]) -> bool {
    const ORDER: [u8; 32] = [
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xba, 0xae,
        0xdc, 0xe6, 0xaf, 0x48, 0xa0, 0x3b, 0xbf, 0xd2, 0x5e, 0x8c, 0xd0, 0x36, 0x41, 0x41,
    ];
    let hex = value.strip_prefix(b"0x").unwrap_or(value);
    let Ok(key) = data_encoding::HEXLOWER_PERMISSIVE.decode(hex) else { return false };
    // A real key has many different bytes: with fewer it is a placeholder or padding.
    let different = key.iter().enumerate().filter(|(at, byte)| !key.iter().take(*at).any(|seen| seen == *byte));
    key.len() == 32 && key.as_slice() < ORDER.as_slice() && different.count() >= 8
}

/// A key pair of Solana: 64 bytes in base58 or as a list of numbers, of which the last 32 are the public key of the first.
pub(super) fn solana_key(value: &[u8]) -> bool {
    let pair = if value.contains(&b',') { listed(value) } else { bs58::decode(value).into_vec().ok() };
    let Some((seed, public)) = pair.filter(|pair| pair.len() == 64).and_then(|pair| {
        let (seed, public) = pair.split_at_checked(32)?;
        Some((seed.to_vec(), public.to_vec()))
    }) else {
        return false;
    };
    Ed25519KeyPair::from_seed_unchecked(&seed).is_ok_and(|key| key.public_key().as_ref() == public.as_slice())
}

/// Words of BIP-39 in English, of one of its lengths, whose checksum holds.
pub(super) fn bip39(value: &[u8]) -> bool {
    std::str::from_utf8(value).is_ok_and(|text| {
        bip39::Mnemonic::parse_in_normalized(bip39::Language::English, &text.to_ascii_lowercase()).is_ok()
    })
}

/// What Base58Check says, without its check.
fn checked(value: &[u8]) -> Option<Vec<u8>> {
    // The longest is an extended key, 111 characters: base58 costs the square of its length.
    const MOST: usize = 120;
    let mut bytes = (value.len() <= MOST).then(|| bs58::decode(value).into_vec().ok())??;
    let body = bytes.len().checked_sub(4)?;
    let digest = Sha256::digest(Sha256::digest(bytes.get(..body)?));
    if bytes.get(body..) != digest.get(..4) {
        return None;
    }
    bytes.truncate(body);
    Some(bytes)
}

fn listed(value: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(value).ok()?;
    let inner = text.trim().trim_start_matches('[').trim_end_matches(']');
    inner.split(',').map(|number| number.trim().parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_bitcoin_hold() {
        // The examples of the Bitcoin wiki and of BIP-32.
        assert!(wif(b"5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTJ"));
        assert!(wif(b"KwdMAjGmerYanjeui5SHS7JkmpZvVipYvB2LJGU1ZxJwYvP98617"));
        assert!(!wif(b"5HueCGU8rMjxEXxiPuD5BDku4MkFqeZyd4dZ1jvhTVqvbTLvyTj"));
        assert!(!wif(b"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"), "an address");
        assert!(base58_check(b"1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa"));
        let private = b"xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi";
        let public = b"xpub661MyMwAqRbcFtXgS5sYJABqqG9YLmC4Q1Rdap9gSE8NqtwybGhePY2gZ29ESFjqJoCu1Rupje8YtGqsefD265TMg7usUDFdp6W1EGMcet8";
        assert!(extended_key(private) && !extended_key(public) && base58_check(public));
    }

    #[test]
    fn words_hold_with_their_checksum() {
        let valid = "legal winner thank year wave sausage worth useful legal winner thank yellow";
        assert!(bip39(valid.as_bytes()) && bip39(valid.to_uppercase().as_bytes()));
        assert!(!bip39(valid.replace("yellow", "year").as_bytes()) && !bip39(b"legal winner thank"));
    }

    #[test]
    fn other_keys_hold() {
        assert!(ethereum_key(b"0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"));
        for text in ["0".repeat(64), "f".repeat(64), "ab".repeat(32), "4c0883".to_owned()] {
            assert!(!ethereum_key(text.as_bytes()), "{text}");
        }
        // Of the document of age's format.
        assert!(age(b"AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX"));
        assert!(!age(b"AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEQ"));
        // RFC 8032 §7.1, test 1: the seed and its public key.
        let pair = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60\
                    d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        let bytes = data_encoding::HEXLOWER.decode(pair.as_bytes()).unwrap();
        assert!(solana_key(bs58::encode(&bytes).into_string().as_bytes()));
        assert!(solana_key(format!("{bytes:?}").as_bytes()));
        assert!(!solana_key(format!("{:?}", [7; 64]).as_bytes()) && !solana_key(b"[1,2,300]"));
    }
}
