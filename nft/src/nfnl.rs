//! Netlink framing for the kernel's netfilter subsystems: messages (`nlmsghdr`
//! and `nfgenmsg`) and attributes, written onto a `Vec<u8>` and read from bytes.
//!
//! It knows no subsystem: nf_tables and conntrack are both written with it.
//!
//! Invariant: what the writer wrote, the reader reads back; and no bytes,
//! however broken, make the reader panic or look past their end.

/// `NLM_F_REQUEST`: to the kernel.
pub const REQUEST: u16 = 0x1;
/// `NLM_F_ACK`: answer even on success.
pub const ACK: u16 = 0x4;
/// `NLM_F_DUMP`: answer with everything there is.
pub const DUMP: u16 = 0x300;
/// `NLM_F_DUMP_INTR`, in an answer: it changed while it was listed.
pub const DUMP_INTR: u16 = 0x10;
/// `NLM_F_CREATE`: make it if it is not there.
pub const CREATE: u16 = 0x400;
/// `NLM_F_APPEND`: at the end.
pub const APPEND: u16 = 0x800;

/// `NLMSG_ERROR`: an error, or with errno 0 an acknowledgement.
pub const MSG_ERROR: u16 = 2;
/// `NLMSG_DONE`: the end of a dump.
pub const MSG_DONE: u16 = 3;
/// `NFNL_MSG_BATCH_BEGIN`.
pub const MSG_BATCH_BEGIN: u16 = 16;
/// `NFNL_MSG_BATCH_END`.
pub const MSG_BATCH_END: u16 = 17;

/// `NLM_F_CAPPED`, in an error: only the header of the request is repeated.
const CAPPED: u16 = 0x100;
/// `NLM_F_ACK_TLVS`, in an error: attributes with words follow.
const ACK_TLVS: u16 = 0x200;
/// `NLMSGERR_ATTR_MSG`.
const ERROR_TEXT: u16 = 1;
/// `NLMSGERR_ATTR_OFFS`.
const ERROR_OFFSET: u16 = 2;

/// `NLA_F_NESTED`, in the type of an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that say what it is.
const TYPE_MASK: u16 = 0x3fff;
/// Bytes of `nlmsghdr`.
pub const HEADER_LEN: usize = 16;
/// Bytes of `nlmsghdr` and `nfgenmsg`.
pub const PREFIX_LEN: usize = HEADER_LEN + 4;
/// Bytes in front of an attribute's payload.
pub const ATTR_HEADER_LEN: usize = 4;
/// Messages and attributes begin at multiples of this.
const ALIGN: usize = 4;

/// What is not as netlink says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub &'static str);

/// The head of a message to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// `nlmsg_type`: the subsystem in the high byte.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub seq: u32,
    /// `nfgen_family`.
    pub family: u8,
    /// `res_id`.
    pub res_id: u16,
}

/// Where a message began, whose length is still to be written.
#[derive(Debug)]
#[must_use = "the length is written by `end_message`"]
pub struct OpenMessage(usize);

/// Where an attribute began, whose length is still to be written.
#[derive(Debug)]
#[must_use = "the length is written by `end_nest`"]
pub struct OpenNest(usize);

/// Begins a message.
pub fn begin_message(out: &mut Vec<u8>, head: Head) -> OpenMessage {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&head.kind.to_ne_bytes());
    out.extend_from_slice(&head.flags.to_ne_bytes());
    out.extend_from_slice(&head.seq.to_ne_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&[head.family, 0]);
    out.extend_from_slice(&head.res_id.to_be_bytes());
    OpenMessage(at)
}

/// Ends a message: writes its length.
pub fn end_message(out: &mut [u8], message: &OpenMessage) {
    let len = u32::try_from(out.len() - message.0).unwrap_or(u32::MAX);
    out[message.0..message.0 + 4].copy_from_slice(&len.to_ne_bytes());
}

/// Begins an attribute that holds attributes.
pub fn begin_nest(out: &mut Vec<u8>, kind: u16) -> OpenNest {
    let at = out.len();
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&(kind | NESTED).to_ne_bytes());
    OpenNest(at)
}

/// Ends an attribute: writes its length. One too long for its length field gets
/// the largest length there is, which is past any aligned end and so refused.
pub fn end_nest(out: &mut [u8], nest: &OpenNest) {
    let len = u16::try_from(out.len() - nest.0).unwrap_or(u16::MAX);
    out[nest.0..nest.0 + 2].copy_from_slice(&len.to_ne_bytes());
}

/// The four bytes in front of `len` bytes of payload.
#[must_use]
pub fn attr_header(kind: u16, nested: bool, len: usize) -> [u8; ATTR_HEADER_LEN] {
    let len = u16::try_from(len + ATTR_HEADER_LEN).unwrap_or(u16::MAX).to_ne_bytes();
    let kind = if nested { kind | NESTED } else { kind }.to_ne_bytes();
    [len[0], len[1], kind[0], kind[1]]
}

/// Writes an attribute of bytes, padded.
pub fn put_bytes(out: &mut Vec<u8>, kind: u16, payload: &[u8]) {
    out.extend_from_slice(&attr_header(kind, false, payload.len()));
    out.extend_from_slice(payload);
    pad(out, payload.len());
}

/// Writes an attribute of text, with its NUL.
pub fn put_str(out: &mut Vec<u8>, kind: u16, text: &str) {
    out.extend_from_slice(&attr_header(kind, false, text.len() + 1));
    out.extend_from_slice(text.as_bytes());
    out.push(0);
    pad(out, text.len() + 1);
}

/// Writes an attribute of one number in network order, as netfilter has it.
pub fn put_u32(out: &mut Vec<u8>, kind: u16, number: u32) {
    put_bytes(out, kind, &number.to_be_bytes());
}

fn pad(out: &mut Vec<u8>, len: usize) {
    out.extend_from_slice(&[0; ALIGN][..len.next_multiple_of(ALIGN) - len]);
}

/// Asks for an acknowledgement of the message that begins at `at`.
pub fn ask_ack(out: &mut [u8], at: usize) {
    if let Some(flags) = out.get_mut(at + 6..at + 8) {
        let asked = u16::from_ne_bytes([flags[0], flags[1]]) | ACK;
        flags.copy_from_slice(&asked.to_ne_bytes());
    }
}

/// The messages in `bytes`. Ends after the first malformed one.
#[must_use]
pub fn messages(bytes: &[u8]) -> Messages<'_> {
    Messages { bytes, at: 0 }
}

/// An iterator over messages.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// A message that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`.
    pub seq: u32,
    /// `nlmsg_pid`.
    pub port: u32,
    /// What follows `nlmsghdr`.
    pub body: &'a [u8],
    /// Where it began in the bytes read.
    pub at: usize,
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let message = read_message(rest, self.at);
        self.at = match &message {
            Ok(message) => self.at + (HEADER_LEN + message.body.len()).next_multiple_of(ALIGN),
            Err(_) => self.bytes.len(),
        };
        Some(message)
    }
}

fn read_message(rest: &[u8], at: usize) -> Result<Message<'_>, Malformed> {
    let (header, _) =
        rest.split_first_chunk::<HEADER_LEN>().ok_or(Malformed("a message header is cut off"))?;
    let [l0, l1, l2, l3, k0, k1, f0, f1, s0, s1, s2, s3, p0, p1, p2, p3] = *header;
    let len = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
    let body = rest.get(HEADER_LEN..len).ok_or(Malformed("a message has an impossible length"))?;
    Ok(Message {
        kind: u16::from_ne_bytes([k0, k1]),
        flags: u16::from_ne_bytes([f0, f1]),
        seq: u32::from_ne_bytes([s0, s1, s2, s3]),
        port: u32::from_ne_bytes([p0, p1, p2, p3]),
        body,
        at,
    })
}

impl<'a> Message<'a> {
    /// The subsystem (`NFNL_SUBSYS_*`).
    #[must_use]
    pub fn subsystem(&self) -> u8 {
        self.kind.to_be_bytes()[0]
    }

    /// The message type within the subsystem.
    #[must_use]
    pub fn message(&self) -> u8 {
        self.kind.to_be_bytes()[1]
    }

    /// `nfgen_family`; 0 if there is none.
    #[must_use]
    pub fn family(&self) -> u8 {
        self.body.first().copied().unwrap_or(0)
    }

    /// The attributes behind `nfgenmsg`.
    #[must_use]
    pub fn attrs(&self) -> Attrs<'a> {
        attrs(self.body.get(PREFIX_LEN - HEADER_LEN..).unwrap_or_default())
    }
}

/// The attributes in `bytes`. Ends after the first malformed one.
#[must_use]
pub fn attrs(bytes: &[u8]) -> Attrs<'_> {
    Attrs { bytes, at: 0 }
}

/// An iterator over attributes.
#[derive(Clone, Debug)]
pub struct Attrs<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// An attribute that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attr<'a> {
    /// What it is, without flags.
    pub kind: u16,
    /// Its bytes.
    pub payload: &'a [u8],
    /// Where it began in the bytes read.
    pub at: usize,
}

impl<'a> Iterator for Attrs<'a> {
    type Item = Result<Attr<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.bytes.get(self.at..).filter(|rest| !rest.is_empty())?;
        let attr = read_attr(rest, self.at);
        self.at = match &attr {
            Ok(attr) => self.at + (ATTR_HEADER_LEN + attr.payload.len()).next_multiple_of(ALIGN),
            Err(_) => self.bytes.len(),
        };
        Some(attr)
    }
}

fn read_attr(rest: &[u8], at: usize) -> Result<Attr<'_>, Malformed> {
    let &[l0, l1, k0, k1] =
        rest.first_chunk::<ATTR_HEADER_LEN>().ok_or(Malformed("an attribute header is cut off"))?;
    let len = usize::from(u16::from_ne_bytes([l0, l1]));
    let payload =
        rest.get(ATTR_HEADER_LEN..len).ok_or(Malformed("an attribute has an impossible length"))?;
    Ok(Attr { kind: u16::from_ne_bytes([k0, k1]) & TYPE_MASK, payload, at })
}

impl<'a> Attr<'a> {
    /// The attributes inside.
    #[must_use]
    pub fn attrs(&self) -> Attrs<'a> {
        attrs(self.payload)
    }

    /// The text, without its NUL.
    ///
    /// # Errors
    /// When it is no UTF-8.
    pub fn text(&self) -> Result<&'a str, Malformed> {
        let bytes = self.payload.strip_suffix(&[0]).unwrap_or(self.payload);
        std::str::from_utf8(bytes).map_err(|_| Malformed("a name is not UTF-8"))
    }

    /// A byte.
    ///
    /// # Errors
    /// When it is not one.
    pub fn u8(&self) -> Result<u8, Malformed> {
        let &[byte] = self.payload else { return Err(Malformed("a byte is not one byte")) };
        Ok(byte)
    }

    /// A short number in network order.
    ///
    /// # Errors
    /// When it does not have two bytes.
    pub fn u16(&self) -> Result<u16, Malformed> {
        let bytes = self.payload.try_into().map_err(|_| Malformed("a number is not two bytes"))?;
        Ok(u16::from_be_bytes(bytes))
    }

    /// A number in network order.
    ///
    /// # Errors
    /// When it does not have four bytes.
    pub fn u32(&self) -> Result<u32, Malformed> {
        let bytes = self.payload.try_into().map_err(|_| Malformed("a number is not four bytes"))?;
        Ok(u32::from_be_bytes(bytes))
    }
}

/// An answer of type [`MSG_ERROR`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The errno, positive; 0 is an acknowledgement.
    pub errno: i32,
    /// The sequence number of the message it is about.
    pub seq: u32,
    /// The kernel's words, if any.
    pub text: Option<String>,
    /// The byte of that message that it is about, if any.
    pub offset: Option<usize>,
}

/// Reads an answer of type [`MSG_ERROR`].
///
/// # Errors
/// When it is cut off.
pub fn verdict(message: &Message<'_>) -> Result<Verdict, Malformed> {
    const CUT: Malformed = Malformed("an error is cut off");
    let (errno, request) = message.body.split_first_chunk::<4>().ok_or(CUT)?;
    let (head, _) = request.split_first_chunk::<HEADER_LEN>().ok_or(CUT)?;
    let [l0, l1, l2, l3, .., s0, s1, s2, s3, _, _, _, _] = *head;
    let mut verdict = Verdict {
        errno: i32::from_ne_bytes(*errno).saturating_neg(),
        seq: u32::from_ne_bytes([s0, s1, s2, s3]),
        text: None,
        offset: None,
    };
    if message.flags & ACK_TLVS == 0 {
        return Ok(verdict);
    }
    let repeated = if message.flags & CAPPED != 0 {
        HEADER_LEN
    } else {
        let len = usize::try_from(u32::from_ne_bytes([l0, l1, l2, l3])).unwrap_or(usize::MAX);
        len.checked_next_multiple_of(ALIGN).ok_or(CUT)?
    };
    for attr in attrs(request.get(repeated..).ok_or(CUT)?) {
        let attr = attr?;
        match attr.kind {
            ERROR_TEXT => verdict.text = attr.text().ok().map(str::to_owned),
            // Unlike everything of netfilter's own, in host order.
            ERROR_OFFSET => {
                let bytes = attr.payload.try_into().map_err(|_| CUT)?;
                verdict.offset = usize::try_from(u32::from_ne_bytes(bytes)).ok();
            }
            _ => {}
        }
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEAD: Head = Head { kind: 0x0a06, flags: REQUEST, seq: 7, family: 2, res_id: 10 };

    #[test]
    fn what_is_written_is_read() {
        let mut out = Vec::new();
        let message = begin_message(&mut out, HEAD);
        put_str(&mut out, 1, "closeby");
        let nest = begin_nest(&mut out, 2);
        put_u32(&mut out, 3, 0x0102_0304);
        end_nest(&mut out, &nest);
        end_message(&mut out, &message);
        ask_ack(&mut out, 0);

        let read: Vec<_> = messages(&out).collect::<Result<_, _>>().unwrap();
        assert_eq!(read.len(), 1);
        assert_eq!((read[0].subsystem(), read[0].message(), read[0].seq), (10, 6, 7));
        assert_eq!((read[0].flags, read[0].family()), (REQUEST | ACK, 2));
        let attrs: Vec<_> = read[0].attrs().collect::<Result<_, _>>().unwrap();
        assert_eq!(attrs[0].text(), Ok("closeby"));
        let inner: Vec<_> = attrs[1].attrs().collect::<Result<_, _>>().unwrap();
        assert_eq!((inner[0].kind, inner[0].u32()), (3, Ok(0x0102_0304)));
    }

    #[test]
    fn lengths_at_their_ends() {
        assert!(read_attr(&[4, 0, 1, 0], 0).unwrap().payload.is_empty());
        assert!(read_attr(&[3, 0, 1, 0], 0).is_err());
        assert!(read_attr(&[5, 0, 1, 0], 0).is_err());
        assert!(read_message(&[0; 16], 0).is_err());
        assert!(read_message(&[0; 15], 0).is_err());
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes).flatten() {
                let _ = verdict(&message);
                for attr in message.attrs().flatten() {
                    let _ = (attr.text(), attr.u32(), attr.attrs().count());
                    let _ = (attr.u8(), attr.u16());
                }
            }
            let _ = attrs(&bytes).count();
        }
    }
}
