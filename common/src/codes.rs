//! `codes!`: an enum that crosses the kernel boundary as a `u32` and is spelt as one word everywhere.
//!
//! Knows nothing of what the codes mean.

/// Declares a closed enum with its codes and words, `ALL`, `COUNT`, `code()`, `word()`, `TryFrom<u32>` and `Display`.
macro_rules! codes {
    ($(#[$meta:meta])* $name:ident { $($(#[$case_meta:meta])* $case:ident = $code:literal $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u32)]
        pub enum $name { $($(#[$case_meta])* $case = $code,)+ }

        impl $name {
            /// Every case, in the order of its code.
            pub const ALL: &[Self] = &[$(Self::$case),+];
            /// How many there are.
            pub const COUNT: u32 = 0 $(+ { let _ = Self::$case; 1 })+;

            /// The code that crosses the kernel boundary.
            #[inline(always)]
            pub const fn code(self) -> u32 {
                self as u32
            }

            /// The word for people and machines: metric label, log field, JSON value.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$case => $word,)+ }
            }
        }

        impl TryFrom<u32> for $name {
            type Error = u32;

            #[inline(always)]
            fn try_from(code: u32) -> Result<Self, u32> {
                match code { $($code => Ok(Self::$case),)+ unknown => Err(unknown) }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.word())
            }
        }
    };
}

pub(crate) use codes;
