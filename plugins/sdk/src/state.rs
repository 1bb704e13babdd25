//! State that can be saved and given to another instance: the fields that
//! `effect!` marks as `saved`.

use crate::Error;

/// What a field that is `saved` may be. Numbers, `bool`, arrays, `Vec` and `String`
/// are; an author's own type is with two functions. \[control\]
pub trait Saved: Sized {
    /// Appends it to `to`.
    fn save(&self, to: &mut Vec<u8>);
    /// Takes it from the front of `from`, which may be damaged; none if it is.
    fn load(from: &mut &[u8]) -> Option<Self>;
}

macro_rules! numbers {
    ($($type:ty),*) => {
        $(impl Saved for $type {
            fn save(&self, to: &mut Vec<u8>) {
                to.extend(self.to_le_bytes());
            }
            fn load(from: &mut &[u8]) -> Option<Self> {
                Some(Self::from_le_bytes(*from.split_off(..size_of::<Self>())?.first_chunk()?))
            }
        })*
    };
}

numbers!(u8, u16, u32, u64, i8, i16, i32, i64);

macro_rules! floats {
    ($($type:ty),*) => {
        $(
            /// A number that is not finite counts as damage.
            impl Saved for $type {
                fn save(&self, to: &mut Vec<u8>) {
                    self.to_bits().save(to);
                }
                fn load(from: &mut &[u8]) -> Option<Self> {
                    Some(Self::from_bits(Saved::load(from)?)).filter(|number| number.is_finite())
                }
            }
        )*
    };
}

floats!(f32, f64);

impl Saved for bool {
    fn save(&self, to: &mut Vec<u8>) {
        to.push((*self).into());
    }
    fn load(from: &mut &[u8]) -> Option<Self> {
        match u8::load(from)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }
}

impl<T: Saved, const N: usize> Saved for [T; N] {
    fn save(&self, to: &mut Vec<u8>) {
        self.iter().for_each(|item| item.save(to));
    }
    fn load(from: &mut &[u8]) -> Option<Self> {
        (0..N).map(|_| T::load(from)).collect::<Option<Vec<_>>>()?.try_into().ok()
    }
}

impl<T: Saved> Saved for Vec<T> {
    fn save(&self, to: &mut Vec<u8>) {
        (self.len() as u64).save(to);
        self.iter().for_each(|item| item.save(to));
    }
    fn load(from: &mut &[u8]) -> Option<Self> {
        let count = u64::load(from)?;
        // What is damaged must not make it allocate more than came; items take a byte
        // at least.
        if count > from.len() as u64 {
            return None;
        }
        (0..count).map(|_| T::load(from)).collect()
    }
}

impl<T: Saved> Saved for Option<T> {
    fn save(&self, to: &mut Vec<u8>) {
        self.is_some().save(to);
        self.iter().for_each(|item| item.save(to));
    }
    fn load(from: &mut &[u8]) -> Option<Self> {
        Some(if bool::load(from)? { Some(T::load(from)?) } else { None })
    }
}

impl Saved for String {
    fn save(&self, to: &mut Vec<u8>) {
        self.as_bytes().to_vec().save(to);
    }
    fn load(from: &mut &[u8]) -> Option<Self> {
        Self::from_utf8(Saved::load(from)?).ok()
    }
}

/// The fields of a saved state, by name: a field that another version does not know
/// is left out, and one that it lacks stays as it is.
#[doc(hidden)]
#[derive(Default)]
pub struct Fields(Vec<(String, Vec<u8>)>);

impl Fields {
    /// Adds a field.
    pub fn put(&mut self, name: &str, value: &impl Saved) {
        let mut bytes = Vec::new();
        value.save(&mut bytes);
        self.0.push((name.to_owned(), bytes));
    }

    /// A field, if it is there.
    pub fn get<T: Saved>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some((_, bytes)) = self.0.iter().find(|(named, _)| named == name) else { return Ok(None) };
        let mut bytes = bytes.as_slice();
        match T::load(&mut bytes) {
            Some(value) if bytes.is_empty() => Ok(Some(value)),
            _ => Err(Error::media(format!("the saved state's {name} is damaged"))),
        }
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        (self.0.len() as u32).save(&mut bytes);
        for (name, value) in &self.0 {
            name.save(&mut bytes);
            value.save(&mut bytes);
        }
        bytes
    }

    pub(crate) fn of_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let read = || {
            let mut bytes = bytes.strip_prefix(MAGIC)?;
            let count = u32::load(&mut bytes)?;
            let mut fields = Vec::new();
            for _ in 0..count {
                fields.push((Saved::load(&mut bytes)?, Saved::load(&mut bytes)?));
            }
            bytes.is_empty().then_some(Self(fields))
        };
        read().ok_or_else(|| Error::media("the saved state is damaged"))
    }
}

const MAGIC: &[u8] = b"sdtn1";
