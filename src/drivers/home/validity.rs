//! From when to when a certificate is valid, read from the certificate itself.
//!
//! # Why
//! Two moments of a certificate (RFC 5280 §4.1.2.5) are all that Mill reads of it by itself, and they stand at a fixed
//! place: a whole X.509 parser would be a large dependency for that. What a certificate is worth, rustls decides.

use mill_model::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

/// From when to when a certificate is valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// Not before.
    pub from: Timestamp,
    /// Not after.
    pub until: Timestamp,
}

/// A text that is no certificate, or none whose validity can be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("it isn't a certificate that says when it is valid")]
pub struct ValidityError;

/// Tags of DER (X.690 §8).
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

impl Validity {
    /// That of the first certificate of a PEM text.
    ///
    /// # Errors
    /// There is none, or it doesn't say.
    pub fn of_pem(pem: &str) -> Result<Self, ValidityError> {
        let certificate = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| ValidityError)?;
        Self::of(&certificate)
    }

    /// That of a certificate.
    ///
    /// # Errors
    /// It doesn't say.
    pub fn of(certificate: &CertificateDer<'_>) -> Result<Self, ValidityError> {
        read(certificate).ok_or(ValidityError)
    }

    /// Whether a new one is due: two thirds of its life are over, or it hasn't begun by a clock that was set back.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now < self.from || now >= self.renewal()
    }

    /// When a new one is due: at two thirds of its life.
    pub fn renewal(&self) -> Timestamp {
        self.from.after(self.until.since(self.from) / 3 * 2)
    }
}

/// `SEQUENCE { SEQUENCE { [0] version, serial, algorithm, issuer, SEQUENCE { from, until }, … } … }`
fn read(der: &[u8]) -> Option<Validity> {
    let (_, certificate, _) = element(der).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (_, mut rest, _) = element(certificate).filter(|(tag, ..)| *tag == SEQUENCE)?;
    if rest.first() == Some(&VERSION) {
        rest = element(rest)?.2;
    }
    for _ in ["serial", "algorithm", "issuer"] {
        rest = element(rest)?.2;
    }
    let (_, validity, _) = element(rest).filter(|(tag, ..)| *tag == SEQUENCE)?;
    let (from_tag, from, rest) = element(validity)?;
    let (until_tag, until, _) = element(rest)?;
    Some(Validity { from: time(from_tag, from)?, until: time(until_tag, until)? })
}

/// The first element of some DER: its tag, what is in it, what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        // So many bytes of length follow; a certificate needs two.
        0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (inside, rest) = rest.split_at_checked(length)?;
    Some((*tag, inside, rest))
}

/// `YYMMDDHHMMSSZ` up to 2049, `YYYYMMDDHHMMSSZ` after that.
fn time(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok().filter(|text| text.is_ascii())?;
    let (year, rest) = match tag {
        UTC_TIME => {
            let year: u16 = text.get(..2)?.parse().ok()?;
            (if year < 50 { 2000 + year } else { 1900 + year }, text.get(2..)?)
        }
        GENERALIZED_TIME => (text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => return None,
    };
    let part = |at: usize| rest.get(at..at + 2);
    let text = format!("{year:04}-{}-{}T{}:{}:{}Z", part(0)?, part(2)?, part(4)?, part(6)?, part(8)?);
    if rest.get(10..) != Some("Z") {
        return None;
    }
    // Before 1970 there is no time: such a certificate has always been valid.
    if year < 1970 {
        return Some(Timestamp(0));
    }
    Some(humantime::parse_rfc3339(&text).ok()?.into())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::home::Keys;

    /// 2026-11-21T12:00:00Z
    const NOW: Timestamp = Timestamp(1_795_262_400_000);

    #[test]
    fn a_certificate_says_when_it_is_valid() {
        let life = Duration::from_secs(90 * 86_400);
        for made in [NOW, NOW.after(life * 40), NOW.after(life * 120), Timestamp(0)] {
            let keys = Keys::make("api.test", &[], made, life).unwrap();
            let validity = Validity::of_pem(&keys.certificate).unwrap();
            assert!(validity.from <= made && validity.until == made.after(life), "{validity:?}");
            assert!(Validity::of_pem(&keys.ca_certificate).unwrap().until > validity.until);
        }
    }

    #[test]
    fn a_new_one_is_due_at_two_thirds_and_when_the_clock_was_set_back() {
        let validity = Validity { from: Timestamp(3000), until: Timestamp(6000) };
        for (now, due) in [(2999, true), (3000, false), (4999, false), (5000, true), (9000, true)] {
            assert_eq!(validity.is_due(Timestamp(now)), due, "{now}");
        }
    }

    #[test]
    fn what_is_no_certificate_is_refused_wherever_it_is_cut() {
        assert_eq!(Validity::of_pem("no PEM"), Err(ValidityError));
        let keys = Keys::make("api.test", &[], NOW, Duration::from_secs(86_400)).unwrap();
        let der = CertificateDer::from_pem_slice(keys.certificate.as_bytes()).unwrap();
        for end in 0..der.len() {
            assert_eq!(Validity::of(&der[..end].to_vec().into()), Err(ValidityError), "{end}");
        }
        for bad in [
            &b"\x17\x0d2611xx120000Z"[..],
            b"\x17\x0d991232250000Z",
            b"\x17\x0226",
            b"\x18\x0e20261121120000",
        ] {
            let (tag, text, _) = element(bad).unwrap();
            assert_eq!(time(tag, text), None, "{bad:?}");
        }
    }
}
