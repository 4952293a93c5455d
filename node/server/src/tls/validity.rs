//! When a certificate ends: the one field of X.509 that the node needs and its TLS library does not tell.

/// DER tags on the way to the field.
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// Seconds since 1970 at which the certificate ends (`notAfter`, RFC 5280 4.1.2.5); `None` when it cannot be read.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    let (certificate, _) = take(certificate, Some(SEQUENCE))?;
    let (mut fields, _) =
        take(certificate.content, Some(SEQUENCE)).map(|(tbs, rest)| (tbs.content, rest))?;
    if fields.first() == Some(&VERSION) {
        fields = take(fields, None)?.1;
    }
    // Serial number, signature algorithm, issuer.
    for _ in 0..3 {
        fields = take(fields, None)?.1;
    }
    let (validity, _) = take(fields, Some(SEQUENCE))?;
    let (_not_before, rest) = take(validity.content, None)?;
    let (end, _) = take(rest, None)?;
    let text = std::str::from_utf8(end.content).ok()?.strip_suffix('Z')?;
    match end.tag {
        // Two digits of the year: 50 to 99 are of the last century.
        UTC_TIME => {
            let short: i64 = text.get(..2)?.parse().ok()?;
            seconds(
                if short < 50 {
                    2000 + short
                } else {
                    1900 + short
                },
                text.get(2..)?,
            )
        }
        GENERALIZED_TIME => seconds(text.get(..4)?.parse().ok()?, text.get(4..)?),
        _ => None,
    }
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
}

/// The first element, and what follows it.
fn take(bytes: &[u8], tag: Option<u8>) -> Option<(Element<'_>, &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    if tag.is_some_and(|tag| tag != found) {
        return None;
    }
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = if first < 0x80 {
        (usize::from(first), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
        if digits.len() > 4 {
            return None;
        }
        let length = digits
            .iter()
            .fold(0, |length, &digit| length << 8 | usize::from(digit));
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((
        Element {
            tag: found,
            content,
        },
        rest,
    ))
}

/// `MMDDHHMMSS` of a year, in seconds since 1970.
fn seconds(year: i64, rest: &str) -> Option<i64> {
    if rest.len() != 10 || !rest.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let pair = |at: usize| rest.get(at..at + 2)?.parse::<i64>().ok();
    let (month, day) = (pair(0)?, pair(2)?);
    // Days since 1970 in the proleptic Gregorian calendar, years beginning in March.
    let (shifted_year, shifted_month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let era = shifted_year.div_euclid(400);
    let year_of_era = shifted_year.rem_euclid(400);
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    Some(((days * 24 + pair(4)?) * 60 + pair(6)?) * 60 + pair(8)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants() {
        assert_eq!(seconds(1970, "0101000000"), Some(0));
        assert_eq!(seconds(2000, "0229120000"), Some(951_825_600));
        assert_eq!(seconds(2026, "1124225500"), Some(1_795_560_900));
        assert_eq!(seconds(2026, "11242255"), None);
        assert_eq!(seconds(2026, "11242255xx"), None);
    }

    #[test]
    fn of_certificates() {
        for (year, expected) in [
            (2049, 2_493_072_000),
            (2050, 2_524_608_000),
            (4096, 67_090_118_400),
        ] {
            let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let certificate = params
                .self_signed(&rcgen::KeyPair::generate().unwrap())
                .unwrap();
            assert_eq!(not_after(certificate.der()), Some(expected), "{year}");
            // Cut off anywhere: no panic.
            for end in 0..certificate.der().len() {
                let _ = not_after(&certificate.der()[..end]);
            }
        }
        assert_eq!(not_after(b""), None);
        assert_eq!(not_after(&[0x30, 0x88, 1, 1, 1, 1, 1, 1, 1, 1]), None);
    }
}
