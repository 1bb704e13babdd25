//! `Own`: words of a node's own, for kinds that have more to tell, or to be told,
//! than all nodes have: an event or a message of a type that the kind's crate
//! declares, and that whoever runs the graph and knows it gets back as it is.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};

/// A value of a type that only who made it and who it is for know. Cloning counts.
#[derive(Clone)]
pub struct Own(Arc<dyn Words>);

/// What such a type can do; every type can that is fit for it.
trait Words: Any + fmt::Debug + fmt::Display + Send + Sync {
    /// As JSON, which reports and `--json` show.
    fn json(&self) -> serde_json::Result<serde_json::Value>;
}

impl<T: Any + fmt::Debug + fmt::Display + Serialize + Send + Sync> Words for T {
    fn json(&self) -> serde_json::Result<serde_json::Value> {
        serde_json::to_value(self)
    }
}

impl Own {
    /// Of a value that people read by `Display` and programs by `Serialize`. \[any\],
    /// allocates
    #[must_use]
    pub fn new(words: impl Any + fmt::Debug + fmt::Display + Serialize + Send + Sync) -> Self {
        Self(Arc::new(words))
    }

    /// The value, if it is of type `T`. \[any\]
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        let any: &dyn Any = &*self.0;
        any.downcast_ref()
    }
}

impl fmt::Debug for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&*self.0, f)
    }
}

impl PartialEq for Own {
    /// Whether both say the same: are of one type, and read alike.
    fn eq(&self, other: &Self) -> bool {
        let (one, two): (&dyn Any, &dyn Any) = (&*self.0, &*other.0);
        Arc::ptr_eq(&self.0, &other.0)
            || (one.type_id() == two.type_id() && format!("{self:?}") == format!("{other:?}"))
    }
}

impl Serialize for Own {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.json().map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Serialize)]
    struct Rang {
        by: &'static str,
    }

    impl fmt::Display for Rang {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{} rang", self.by)
        }
    }

    #[test]
    fn a_value_is_had_back_by_who_knows_its_type_and_read_by_all() {
        let own = Own::new(Rang { by: "bob" });
        assert_eq!(own.get::<Rang>().map(|rang| rang.by), Some("bob"));
        assert!(own.get::<String>().is_none());
        assert_eq!(own.to_string(), "bob rang");
        assert_eq!(serde_json::to_string(&own).expect("JSON"), r#"{"by":"bob"}"#);
        assert_eq!(own, Own::new(Rang { by: "bob" }));
        assert_ne!(own, Own::new(Rang { by: "eve" }));
    }
}
