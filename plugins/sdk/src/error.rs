//! How a call can end.

use std::borrow::Cow;
use std::fmt;

use sidetone_plugin_abi as abi;

/// How a call of `process` ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// What is in the outputs goes out.
    Out,
    /// Nothing goes out, and what came in goes no further: counted as dropped.
    Drop,
    /// Nothing goes out yet: the effect holds what it needs of what came in.
    NeedMore,
    /// What is in the outputs goes out, and nothing more comes from this effect.
    End,
}

impl Done {
    pub(crate) fn code(self) -> i32 {
        match self {
            Self::Out => abi::SIDETONE_OK,
            Self::Drop => abi::SIDETONE_DROP,
            Self::NeedMore => abi::SIDETONE_NEED_MORE,
            Self::End => abi::SIDETONE_END,
        }
    }
}

/// Why an effect could not be made or go on. Its text is logged by the kit; a
/// `&str` or `String` becomes one by `.into()` or `?`, without a name of its own.
///
/// [real-time] where its text is a literal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: i32,
    why: Cow<'static, str>,
}

impl Error {
    /// A frame came whose format the effect does not take.
    pub fn format(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: abi::SIDETONE_ERROR_FORMAT, why: why.into() }
    }

    /// A packet, data or a saved state is damaged.
    pub fn media(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: abi::SIDETONE_ERROR_MEDIA, why: why.into() }
    }

    /// There is not enough memory: the host had no frame to give.
    pub fn memory(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: abi::SIDETONE_ERROR_MEMORY, why: why.into() }
    }

    /// A device, file or library that the effect needs failed.
    pub fn resource(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: abi::SIDETONE_ERROR_RESOURCE, why: why.into() }
    }

    /// Something that has no name of its own.
    pub fn other(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: abi::SIDETONE_ERROR, why: why.into() }
    }

    /// It panicked: made by the kit alone.
    pub(crate) fn panic(why: impl Into<Cow<'static, str>>) -> Self {
        Self { code: abi::SIDETONE_ERROR_PANIC, why: why.into() }
    }

    /// Its number in the C interface, `SIDETONE_ERROR_*`.
    pub fn code(&self) -> i32 {
        self.code
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

impl std::error::Error for Error {}

impl From<&'static str> for Error {
    fn from(why: &'static str) -> Self {
        Self::other(why)
    }
}

impl From<String> for Error {
    fn from(why: String) -> Self {
        Self::other(why)
    }
}
