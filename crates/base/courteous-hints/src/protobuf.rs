//! The wire format of protocol buffers: as much of it as the fields of a few small messages need.

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Value<'m> {
    /// An integer. A negative one is in two's complement of 64 bits.
    Varint(u64),
    /// A string, bytes, or a message.
    Bytes(&'m [u8]),
    /// Four or eight bytes, which no message here has.
    Fixed,
}

/// Calls `visit` with the number and value of each field of `message`, in the order of the bytes.
///
/// `None` if `message` is malformed; `visit` may have been called for fields before that.
pub(crate) fn each_field<'m>(
    mut message: &'m [u8],
    mut visit: impl FnMut(u64, Value<'m>),
) -> Option<()> {
    while !message.is_empty() {
        let tag = varint(&mut message)?;
        let value = match tag & 7 {
            0 => Value::Varint(varint(&mut message)?),
            1 => take(&mut message, 8).map(|_| Value::Fixed)?,
            2 => {
                let length = varint(&mut message)?;
                Value::Bytes(take(&mut message, usize::try_from(length).ok()?)?)
            }
            5 => take(&mut message, 4).map(|_| Value::Fixed)?,
            // Groups are deprecated, and 6 and 7 mean nothing.
            _ => return None,
        };
        match tag >> 3 {
            0 => return None,
            number => visit(number, value),
        }
    }
    Some(())
}

/// Seven bits a byte, the lowest first; the eighth bit says that there are more. Ten bytes at most.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for place in 0..10 {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

fn take<'m>(bytes: &mut &'m [u8], length: usize) -> Option<&'m [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(message: &[u8]) -> Option<Vec<(u64, Value<'_>)>> {
        let mut fields = Vec::new();
        each_field(message, |number, value| fields.push((number, value)))?;
        Some(fields)
    }

    // The examples of the encoding's own guide: 150 in field 1, and "testing" in field 2.
    #[test]
    fn integers_and_strings_are_read() {
        assert_eq!(
            fields(b"\x08\x96\x01\x12\x07testing"),
            Some(vec![(1, Value::Varint(150)), (2, Value::Bytes(b"testing"))])
        );
        let minus_one = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(fields(minus_one), Some(vec![(1, Value::Varint(u64::MAX))]));
        assert_eq!(fields(b""), Some(Vec::new()));
    }

    #[test]
    fn a_value_of_fixed_length_is_passed_over() {
        let message = b"\x09\0\0\0\0\0\0\0\0\x15\0\0\0\0\x18\x07";
        let expected = [(1, Value::Fixed), (2, Value::Fixed), (3, Value::Varint(7))];
        assert_eq!(fields(message), Some(expected.to_vec()));
    }

    #[test]
    fn what_is_cut_off_or_means_nothing_is_malformed() {
        for message in [
            &b"\x08"[..],
            b"\x08\x80",
            b"\x12\x07testin",
            b"\x12",
            b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01a",
            b"\x09\0\0\0\0\0\0\0",
            b"\x15\0\0\0",
            b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
            b"\x0b\x0c",
            b"\x0e",
            b"\x0f",
            b"\x00\x01",
        ] {
            assert_eq!(fields(message), None, "{message:?}");
        }
    }
}
