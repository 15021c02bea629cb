//! The home of the channel binding `tls-server-end-point` (RFC 5929, section 4): a hash of the server's certificate.

use aws_lc_rs::digest::{Algorithm, SHA224, SHA256, SHA384, SHA512, digest};

/// The certificate's hash by the algorithm of its own signature; MD5 and SHA-1 are replaced by SHA-256. `None` where
/// the signature names no hash (Ed25519, Ed448) or an unknown one: then there is no such binding.
pub(crate) fn end_point_hash(certificate: &[u8]) -> Option<Box<[u8]>> {
    let algorithm = signature_hash(certificate)?;
    Some(digest(algorithm, certificate).as_ref().into())
}

/// `Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { OID, parameters }, … }` (RFC 5280).
fn signature_hash(certificate: &[u8]) -> Option<&'static Algorithm> {
    let (_, body) = element(certificate, SEQUENCE)?;
    let (after_tbs, _) = element(body, SEQUENCE)?;
    let (_, algorithm) = element(after_tbs, SEQUENCE)?;
    let (parameters, oid) = element(algorithm, OBJECT_IDENTIFIER)?;
    if oid == RSASSA_PSS { pss_hash(parameters) } else { hash_named_by(oid) }
}

/// `RSASSA-PSS-params ::= SEQUENCE { hashAlgorithm [0] AlgorithmIdentifier DEFAULT sha1, … }` (RFC 4055).
fn pss_hash(parameters: &[u8]) -> Option<&'static Algorithm> {
    let (_, fields) = element(parameters, SEQUENCE)?;
    let Some((_, tagged)) = element(fields, CONTEXT_0) else { return Some(&SHA256) };
    let (_, algorithm) = element(tagged, SEQUENCE)?;
    let (_, oid) = element(algorithm, OBJECT_IDENTIFIER)?;
    hash_named_by(oid)
}

const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const CONTEXT_0: u8 = 0xa0;

/// 1.2.840.113549.1.1.10
const RSASSA_PSS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0a];

/// Object identifiers of signatures and of hashes, in DER (RFC 3279, 4055, 5758).
fn hash_named_by(oid: &[u8]) -> Option<&'static Algorithm> {
    Some(match oid {
        // md5WithRSAEncryption, sha1WithRSAEncryption, ecdsa-with-SHA1; id-md5, id-sha1
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x04 | 0x05]
        | [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x01]
        | [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x02, 0x05]
        | [0x2b, 0x0e, 0x03, 0x02, 0x1a] => &SHA256,
        // sha…WithRSAEncryption
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0b] => &SHA256,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0c] => &SHA384,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0d] => &SHA512,
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x0e] => &SHA224,
        // ecdsa-with-SHA…
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x01] => &SHA224,
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02] => &SHA256,
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x03] => &SHA384,
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x04] => &SHA512,
        // id-sha…
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01] => &SHA256,
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02] => &SHA384,
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03] => &SHA512,
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04] => &SHA224,
        _ => return None,
    })
}

/// Takes one DER element of the given tag: what follows it, and its content. Lengths of up to three bytes, which is
/// more than a TLS certificate message can hold.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, bytes) = bytes.split_first()?;
    if found != tag {
        return None;
    }
    let (&first, bytes) = bytes.split_first()?;
    let (length, bytes) = match first {
        0..=0x7f => (usize::from(first), bytes),
        0x81..=0x83 => {
            let (digits, bytes) = bytes.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), bytes)
        }
        _ => return None,
    };
    let (content, rest) = bytes.split_at_checked(length)?;
    Some((rest, content))
}

#[cfg(test)]
mod tests {
    use super::{Algorithm, SHA256, SHA512, end_point_hash, signature_hash};

    fn sequence(parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        [&[0x30, 0x82], length.as_slice(), &body].concat()
    }

    fn certificate(algorithm: &[u8]) -> Vec<u8> {
        sequence(&[&sequence(&[&[0x02, 0x01, 0x07]]), algorithm, &[0x03, 0x01, 0x00]])
    }

    fn oid(bytes: &[u8]) -> Vec<u8> {
        [&[0x06, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    #[test]
    fn old_hashes_become_sha256_and_pss_names_its_own() {
        let sha1_with_rsa = oid(&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x05]);
        let pss = oid(super::RSASSA_PSS);
        let sha512 = sequence(&[&oid(&[0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03])]);
        let tagged = [&[0xa0, u8::try_from(sha512.len()).unwrap()], sha512.as_slice()].concat();
        let cases: [(Vec<u8>, Option<&Algorithm>); 5] = [
            (sequence(&[&sha1_with_rsa, &[0x05, 0x00]]), Some(&SHA256)),
            (sequence(&[&pss, &sequence(&[&tagged])]), Some(&SHA512)),
            (sequence(&[&pss, &sequence(&[])]), Some(&SHA256)),
            (sequence(&[&pss]), None),
            (sequence(&[&oid(&[0x2b, 0x65, 0x70])]), None),
        ];
        for (algorithm, expected) in cases {
            assert_eq!(signature_hash(&certificate(&algorithm)), expected, "{algorithm:02x?}");
        }
    }

    #[test]
    fn broken_certificates_have_no_hash() {
        let whole = certificate(&sequence(&[&oid(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02])]));
        assert!(end_point_hash(&whole).is_some());
        for cut in 0..whole.len() {
            assert_eq!(end_point_hash(&whole[..cut]), None, "cut at {cut}");
        }
        for claimed in [0x80, 0x84, 0xff] {
            assert_eq!(end_point_hash(&[0x30, claimed, 0xff, 0xff, 0xff, 0xff]), None);
        }
    }
}
