//! Trusted certificates as a PKCS#12 file, which is what Java reads.
//!
//! Without password, encryption or MAC (RFC 7292 has all three optional): certificates are no secret, and whoever could
//! change the file could change a password in a variable beside it as well.

/// The DER of `id-data`, RFC 5652.
const DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x01];
/// `certBag`, RFC 7292.
const CERT_BAG: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x0c, 0x0a, 0x01, 0x03];
/// `x509Certificate`, RFC 2985.
const X509_CERTIFICATE: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x16, 0x01];
/// `friendlyName`, RFC 2985: Java's alias, by which it tells entries apart.
const FRIENDLY_NAME: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x14];
/// 2.16.840.1.113894.746875.1.1, without which Java takes no certificate in such a file as trusted.
const TRUSTED_KEY_USAGE: &[u8] = &[0x60, 0x86, 0x48, 0x01, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 0x01, 0x01];
/// `anyExtendedKeyUsage`, RFC 5280.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];

const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OBJECT_IDENTIFIER: u8 = 0x06;
const BMP_STRING: u8 = 0x1e;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xa0;

/// A trust store that holds these certificates, each in DER.
pub fn pkcs12<'a>(certificates: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let bags: Vec<u8> = certificates.into_iter().enumerate().flat_map(|(index, der)| bag(index, der)).collect();
    let safe = der(SEQUENCE, &[&data(&der(SEQUENCE, &[&bags]))]);
    der(SEQUENCE, &[&der(INTEGER, &[&[3]]), &data(&safe)])
}

fn bag(index: usize, certificate: &[u8]) -> Vec<u8> {
    let name: Vec<u8> = format!("ca-{index}").encode_utf16().flat_map(u16::to_be_bytes).collect();
    let attribute = |id, value: &[u8]| der(SEQUENCE, &[&oid(id), &der(SET, &[value])]);
    let attributes =
        [attribute(FRIENDLY_NAME, &der(BMP_STRING, &[&name])), attribute(TRUSTED_KEY_USAGE, &oid(ANY_USAGE))];
    let certificate = der(EXPLICIT_0, &[&der(OCTET_STRING, &[certificate])]);
    let certificate = der(SEQUENCE, &[&oid(X509_CERTIFICATE), &certificate]);
    let [name, trusted] = &attributes;
    der(SEQUENCE, &[&oid(CERT_BAG), &der(EXPLICIT_0, &[&certificate]), &der(SET, &[name, trusted])])
}

fn data(content: &[u8]) -> Vec<u8> {
    der(SEQUENCE, &[&oid(DATA), &der(EXPLICIT_0, &[&der(OCTET_STRING, &[content])])])
}

fn oid(body: &[u8]) -> Vec<u8> {
    der(OBJECT_IDENTIFIER, &[body])
}

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = body.len().to_be_bytes();
    let significant = length.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<u8>>();
    let mut encoded = vec![tag];
    match significant.as_slice() {
        [] => encoded.push(0),
        [short @ 0..=0x7f] => encoded.push(*short),
        // X.690, 8.1.3.5: how many bytes the length has, then the length.
        long => {
            encoded.push(0x80 | u8::try_from(long.len()).unwrap_or(0x7f));
            encoded.extend_from_slice(long);
        }
    }
    encoded.extend(body);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_as_short_as_they_can_be() {
        for (length, expected) in [
            (0, &[0x04, 0x00][..]),
            (0x7f, &[0x04, 0x7f]),
            (0x80, &[0x04, 0x81, 0x80]),
            (0x100, &[0x04, 0x82, 0x01, 0x00]),
            (0x1_0000, &[0x04, 0x83, 0x01, 0x00, 0x00]),
        ] {
            let encoded = der(OCTET_STRING, &[&vec![0; length]]);
            assert_eq!(&encoded[..expected.len()], expected);
            assert_eq!(encoded.len(), expected.len() + length);
        }
    }

    #[test]
    fn every_certificate_is_in_the_store_under_a_name_of_its_own() {
        let store = pkcs12([&[0x30, 0x00][..], &[0x30, 0x01, 0x00][..]]);
        let contains = |needle: &[u8]| store.windows(needle.len()).filter(|window| *window == needle).count();
        assert_eq!(contains(&oid(TRUSTED_KEY_USAGE)), 2);
        assert_eq!(contains(&[0, b'-', 0, b'0']), 1);
        assert_eq!(contains(&[0, b'-', 0, b'1']), 1);
        assert_eq!(contains(&[OCTET_STRING, 3, 0x30, 0x01, 0x00]), 1);
    }
}
