//! One question to the kernel's BTF: at which offset does a struct have a member?
//!
//! Knows nothing of what the offset is for. Reads the type section once, front to back; see
//! Documentation/bpf/btf.rst for the format. Only what is needed to step over every kind of type is decoded.

/// Where the kernel publishes its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const KIND_STRUCT: u32 = 4;

/// Byte offset of `member` in `struct name`; `None` where there is no such member, or it is a bit field, or the bytes
/// are not little-endian BTF.
#[must_use]
pub fn member_offset(btf: &[u8], name: &str, member: &str) -> Option<u32> {
    if btf.get(..2)? != MAGIC.to_le_bytes() {
        return None;
    }
    let [header, type_at, type_len, string_at, string_len] = [4, 8, 12, 16, 20].map(|at| word(btf, at));
    let header = header?;
    let types = section(btf, header.checked_add(type_at?)?, type_len?)?;
    let strings = section(btf, header.checked_add(string_at?)?, string_len?)?;
    let is = |at: u32, text: &str| {
        let tail = usize::try_from(at).ok().and_then(|at| strings.get(at..));
        tail.and_then(|tail| tail.strip_prefix(text.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
    };
    let mut at = 0;
    while at < types.len() {
        let (type_name, info) = (word(types, at)?, word(types, at + 4)?);
        let (kind, count) = ((info >> 24) & 0x1f, usize::try_from(info & 0xffff).ok()?);
        at += 12;
        if kind == KIND_STRUCT && is(type_name, name) {
            let bits = (0..count).find_map(|i| {
                let here = at + i * 12;
                is(word(types, here)?, member).then(|| word(types, here + 8))?
            })?;
            // With kind_flag set the upper byte is a bit field's size.
            let (size, bits) = if info >> 31 == 1 { (bits >> 24, bits & 0x00ff_ffff) } else { (0, bits) };
            return (size == 0 && bits % 8 == 0).then_some(bits / 8);
        }
        at += trailing(kind, count)?;
    }
    None
}

/// Bytes that follow a type's fixed part.
fn trailing(kind: u32, count: usize) -> Option<usize> {
    match kind {
        1 | 14 | 17 => Some(4),              // INT, VAR, DECL_TAG
        2 | 7..=12 | 16 | 18 => Some(0),     // PTR, FWD, TYPEDEF, qualifiers, FUNC, FLOAT, TYPE_TAG
        3 => Some(12),                       // ARRAY
        4 | 5 | 15 | 19 => Some(count * 12), // STRUCT, UNION, DATASEC, ENUM64
        6 | 13 => Some(count * 8),           // ENUM, FUNC_PROTO
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

fn section(bytes: &[u8], at: u32, len: u32) -> Option<&[u8]> {
    let (at, len) = (usize::try_from(at).ok()?, usize::try_from(len).ok()?);
    bytes.get(at..at.checked_add(len)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    #[ignore = "needs a kernel with BTF"]
    fn member_of_the_running_kernel_is_found() {
        let btf = std::fs::read(VMLINUX).unwrap();
        assert_eq!(member_offset(&btf, "list_head", "next"), Some(0));
        assert_eq!(member_offset(&btf, "list_head", "prev"), Some(8));
        // `struct inet_connection_sock` begins with a whole `struct inet_sock`.
        assert!(member_offset(&btf, "inet_connection_sock", "icsk_syn_retries").unwrap() > 500);
        assert_eq!(member_offset(&btf, "inet_connection_sock", "no_such_member"), None);
        assert_eq!(member_offset(&btf, "no_such_struct", "next"), None);
    }

    proptest! {
        #[test]
        fn garbage_has_no_members(mut bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            if bytes.len() > 2 {
                bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
            }
            let _ = member_offset(&bytes, "a", "b");
        }
    }
}
