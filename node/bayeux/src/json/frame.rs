use super::scan::{ScanError, Scanner};
use super::text::decode_string;
use smallvec::SmallVec;
use std::borrow::Cow;

/// One message object of a frame: its text, and the fields the engine reads as slices of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RawMessage<'a> {
    /// The whole object with its braces.
    pub(crate) object: &'a str,
    pub(crate) channel: Option<&'a str>,
    pub(crate) client_id: Option<&'a str>,
    pub(crate) id: Option<&'a str>,
    pub(crate) data: Option<&'a str>,
    pub(crate) ext: Option<&'a str>,
    pub(crate) advice: Option<&'a str>,
    pub(crate) subscription: Option<&'a str>,
    /// Runs of members that a relay keeps (all but `clientId` and `id`), as offsets into `object`.
    kept: SmallVec<[(u32, u32); 3]>,
}

impl<'a> RawMessage<'a> {
    /// The object without `clientId` and `id`, as pieces to be joined by commas.
    pub(crate) fn relayed(&self) -> impl Iterator<Item = &'a str> + Clone + '_ {
        let object = self.object;
        self.kept
            .iter()
            .map(move |&(start, end)| &object[start as usize..end as usize])
    }

    /// The message with other data. What a relay would keep is still the message's own.
    pub(crate) fn with_data<'b>(&self, data: &'b str) -> RawMessage<'b>
    where
        'a: 'b,
    {
        RawMessage {
            data: Some(data),
            ..self.clone()
        }
    }

    fn field(&mut self, key: &str) -> Option<(&'static str, &mut Option<&'a str>)> {
        Some(match key {
            "channel" => ("channel", &mut self.channel),
            "clientId" => ("clientId", &mut self.client_id),
            "id" => ("id", &mut self.id),
            "data" => ("data", &mut self.data),
            "ext" => ("ext", &mut self.ext),
            "advice" => ("advice", &mut self.advice),
            "subscription" => ("subscription", &mut self.subscription),
            _ => return None,
        })
    }
}

/// Reads a frame: an array of message objects, or a single one.
///
/// The whole text is validated before the first message is returned, so a frame with an error anywhere has no effect.
pub(crate) fn scan_frame(
    text: &str,
    max_depth: usize,
    max_messages: usize,
) -> Result<SmallVec<[RawMessage<'_>; 1]>, ScanError> {
    let mut scanner = Scanner::new(text, max_depth);
    let mut messages = SmallVec::new();
    // The first offence against the shape; reported only if the text proves to be JSON.
    let mut shape = None;
    scanner.skip_whitespace();
    if scanner.peek() == Some(b'[') {
        scanner.check_depth(0)?;
        scanner.expect(b'[')?;
        scanner.skip_whitespace();
        if scanner.peek() == Some(b']') {
            scanner.expect(b']')?;
            shape = Some(ScanError::Empty);
        } else {
            loop {
                scanner.skip_whitespace();
                if messages.len() == max_messages {
                    return Err(ScanError::TooManyMessages { max: max_messages });
                }
                messages.push(scan_message(&mut scanner, text, 1, &mut shape)?);
                scanner.skip_whitespace();
                if scanner.peek() == Some(b',') {
                    scanner.expect(b',')?;
                } else {
                    scanner.expect(b']')?;
                    break;
                }
            }
        }
    } else {
        messages.push(scan_message(&mut scanner, text, 0, &mut shape)?);
    }
    scanner.expect_end()?;
    shape.map_or(Ok(messages), Err)
}

fn scan_message<'a>(
    scanner: &mut Scanner<'a>,
    text: &'a str,
    outer: usize,
    shape: &mut Option<ScanError>,
) -> Result<RawMessage<'a>, ScanError> {
    let mut message = RawMessage::default();
    let start = scanner.position();
    if scanner.peek() != Some(b'{') {
        scanner.skip_value(outer)?;
        shape.get_or_insert(ScanError::NotAnObject);
        return Ok(message);
    }
    scanner.check_depth(outer)?;
    scanner.expect(b'{')?;
    scanner.skip_whitespace();
    if scanner.peek() == Some(b'}') {
        scanner.expect(b'}')?;
    } else {
        let mut run_open = false;
        loop {
            scanner.skip_whitespace();
            let key_start = scanner.position();
            let escaped = scanner.skip_string()?;
            let key = &text[key_start + 1..scanner.position() - 1];
            let key = if escaped {
                decode_string(&text[key_start..scanner.position()]).unwrap_or(Cow::Borrowed(key))
            } else {
                Cow::Borrowed(key)
            };
            scanner.skip_whitespace();
            scanner.expect(b':')?;
            scanner.skip_whitespace();
            let value_start = scanner.position();
            scanner.skip_value(outer + 1)?;
            let end = scanner.position();
            if let Some((name, field)) = message.field(&key)
                && field.replace(&text[value_start..end]).is_some()
            {
                shape.get_or_insert(ScanError::DuplicateField { field: name });
            }
            let kept = !matches!(&*key, "clientId" | "id");
            if kept {
                let (from, to) = ((key_start - start) as u32, (end - start) as u32);
                match message.kept.last_mut() {
                    Some(run) if run_open => run.1 = to,
                    _ => message.kept.push((from, to)),
                }
            }
            run_open = kept;
            scanner.skip_whitespace();
            if scanner.peek() == Some(b',') {
                scanner.expect(b',')?;
            } else {
                scanner.expect(b'}')?;
                break;
            }
        }
    }
    message.object = &text[start..scanner.position()];
    Ok(message)
}

/// The members of a validated object, in order. Used only on small objects such as `advice`.
pub(crate) fn members(object: &str) -> Vec<(Cow<'_, str>, &str)> {
    let mut out = Vec::new();
    let mut scanner = Scanner::new(object, usize::MAX);
    if scanner.expect(b'{').is_err() {
        return out;
    }
    loop {
        scanner.skip_whitespace();
        let key_start = scanner.position();
        if scanner.skip_string().is_err() {
            return out;
        }
        let key_end = scanner.position();
        scanner.skip_whitespace();
        let _ = scanner.expect(b':');
        scanner.skip_whitespace();
        let value_start = scanner.position();
        if scanner.skip_value(0).is_err() {
            return out;
        }
        if let Some(key) = decode_string(&object[key_start..key_end]) {
            out.push((key, &object[value_start..scanner.position()]));
        }
        scanner.skip_whitespace();
        if scanner.expect(b',').is_err() {
            return out;
        }
    }
}

/// The elements of a validated array; `None` when the slice is another kind of value.
pub(crate) fn elements(array: &str) -> Option<Vec<&str>> {
    let mut scanner = Scanner::new(array, usize::MAX);
    scanner.expect(b'[').ok()?;
    let mut out = Vec::new();
    scanner.skip_whitespace();
    if scanner.peek() == Some(b']') {
        return Some(out);
    }
    loop {
        scanner.skip_whitespace();
        let start = scanner.position();
        scanner.skip_value(0).ok()?;
        out.push(&array[start..scanner.position()]);
        scanner.skip_whitespace();
        if scanner.expect(b',').is_err() {
            return Some(out);
        }
    }
}
