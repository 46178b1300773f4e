//! One question to the kernel's BTF: where in a struct is a member, and how large?
//!
//! Knows nothing of what the answer is for. Only what is needed to step over every kind of type is decoded; see
//! Documentation/bpf/btf.rst for the format. A library would decode all of the kernel's 100,000 types first, which takes longer
//! than loading every program.

/// Where the kernel publishes its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// Kinds of types (include/uapi/linux/btf.h).
const INT: u32 = 1;
const STRUCT: u32 = 4;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
/// Bytes of a type's fixed part, and of one member of a struct.
const TYPE: usize = 12;
const MEMBER: usize = 12;

/// Where a member of a struct is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the begin of the struct.
    pub offset: u32,
    /// Bytes, where it is an integer; 0: it is something else.
    pub size: u32,
}

/// The types of a kernel.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
    /// Where in `types` each type begins; the first has the id 1.
    at: Vec<usize>,
}

impl<'a> Btf<'a> {
    /// Finds the types' places; `None`: the bytes are not little-endian BTF.
    #[must_use]
    pub fn parse(btf: &'a [u8]) -> Option<Self> {
        if btf.get(..2)? != MAGIC.to_le_bytes() {
            return None;
        }
        let [header, type_at, type_len, string_at, string_len] = [4, 8, 12, 16, 20].map(|at| word(btf, at));
        let header = header?;
        let types = section(btf, header.checked_add(type_at?)?, type_len?)?;
        let strings = section(btf, header.checked_add(string_at?)?, string_len?)?;
        let mut places = Vec::new();
        let mut at = 0;
        while at < types.len() {
            places.push(at);
            let (kind, count) = kind(types, at)?;
            at += TYPE + trailing(kind, count)?;
        }
        Some(Self { types, strings, at: places })
    }

    /// `member` of `struct name`; `None`: there is no such member, or it is a bit field.
    #[must_use]
    pub fn member(&self, name: &str, member: &str) -> Option<Member> {
        self.at.iter().find_map(|&at| {
            let (kind, count) = kind(self.types, at)?;
            (kind == STRUCT && self.is(word(self.types, at)?, name)).then(|| self.among(at, count, member))?
        })
    }

    /// `member` among the `count` members of the struct at `at`.
    fn among(&self, at: usize, count: usize, member: &str) -> Option<Member> {
        let members = (0..count).map(|i| at + TYPE + i * MEMBER);
        let here =
            members.into_iter().find(|here| word(self.types, *here).is_some_and(|text| self.is(text, member)))?;
        let (id, bits) = (word(self.types, here + 4)?, word(self.types, here + 8)?);
        // With kind_flag set the upper byte is a bit field's size.
        let is_flagged = word(self.types, at + 4)? >> 31 == 1;
        let (field, bits) = if is_flagged { (bits >> 24, bits & 0x00ff_ffff) } else { (0, bits) };
        (field == 0 && bits % 8 == 0).then(|| Member { offset: bits / 8, size: self.size(id) })
    }

    /// The size of an integer type, whatever it is called; 0: it is another kind of type.
    fn size(&self, mut id: u32) -> u32 {
        // Names of names of names: the kernel has no deeper ones, and a ring of them is no BTF.
        for _ in 0..8 {
            let at = usize::try_from(id).ok().and_then(|id| self.at.get(id.checked_sub(1)?)).copied();
            let Some((at, (kind, _))) = at.and_then(|at| Some((at, kind(self.types, at)?))) else { return 0 };
            let value = word(self.types, at + 8).unwrap_or(0);
            match kind {
                INT => return value,
                TYPEDEF | VOLATILE | CONST | RESTRICT => id = value,
                _ => return 0,
            }
        }
        0
    }

    fn is(&self, at: u32, text: &str) -> bool {
        let tail = usize::try_from(at).ok().and_then(|at| self.strings.get(at..));
        tail.and_then(|tail| tail.strip_prefix(text.as_bytes())).is_some_and(|rest| rest.first() == Some(&0))
    }
}

/// Kind and number of members of the type at `at`.
fn kind(types: &[u8], at: usize) -> Option<(u32, usize)> {
    let info = word(types, at + 4)?;
    Some(((info >> 24) & 0x1f, usize::try_from(info & 0xffff).ok()?))
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
        let bytes = std::fs::read(VMLINUX).unwrap();
        let btf = Btf::parse(&bytes).unwrap();
        assert_eq!(btf.member("list_head", "next"), Some(Member { offset: 0, size: 0 }));
        assert_eq!(btf.member("list_head", "prev"), Some(Member { offset: 8, size: 0 }));
        // `struct inet_connection_sock` begins with a whole `struct inet_sock`.
        let retries = btf.member("inet_connection_sock", "icsk_syn_retries").unwrap();
        assert!(retries.offset > 500 && retries.size == 1, "{retries:?}");
        // By way of the name `__u8`; the addresses are in a union without a name since 5.16.
        assert_eq!(btf.member("iphdr", "ttl"), Some(Member { offset: 8, size: 1 }));
        assert_eq!(btf.member("inet_connection_sock", "no_such_member"), None);
        assert_eq!(btf.member("no_such_struct", "next"), None);
    }

    proptest! {
        #[test]
        fn garbage_has_no_members(mut bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
            if bytes.len() > 2 {
                bytes[..2].copy_from_slice(&MAGIC.to_le_bytes());
            }
            let _ = Btf::parse(&bytes).map(|btf| btf.member("a", "b"));
        }
    }
}
