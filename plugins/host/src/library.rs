//! `Library`: a plugin's shared library, loaded and found to be what its
//! manifest says.

use std::ffi::c_void;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use sidetone_plugin_abi as abi;

use crate::image::Image;
use crate::instance::log_of_library;
use crate::manifest::{Manifest, ManifestError};
use crate::table::{self, Functions};

/// Why a library cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It is no library that this machine can load.
    #[error("cannot load {}: {why}", path.display())]
    NotLoaded {
        /// Which file.
        path: PathBuf,
        /// What the system's loader said.
        why: String,
    },
    /// It has no `sidetone_plugin_entry`.
    #[error("{} is no Sidetone plugin: it has no symbol {}", path.display(), abi::SIDETONE_ENTRY)]
    NoEntry {
        /// Which file.
        path: PathBuf,
    },
    /// It does not work with this version of the interface.
    #[error(
        "{} does not work with version {}.{} of the plugin interface; another build of it is needed",
        path.display(), abi::SIDETONE_ABI_MAJOR, abi::SIDETONE_ABI_MINOR
    )]
    OtherVersion {
        /// Which file.
        path: PathBuf,
    },
    /// Its table says what cannot be.
    #[error("{} is damaged or wrong: {why}", path.display())]
    Table {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Its manifest says something else.
    #[error("{} is not what its manifest says: {}; `sidetone plugin manifest {}` writes it anew", path.display(), why.join("; "), path.display())]
    Mismatch {
        /// Which file.
        path: PathBuf,
        /// Each difference.
        why: Vec<String>,
    },
    /// There is no manifest beside it, or a wrong one.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A process of its own could not load it, for this reason.
    #[error("{0}")]
    Apart(String),
}

impl LoadError {
    pub(crate) fn not_loaded(path: &Path, why: &io::Error) -> Self {
        Self::NotLoaded { path: path.to_owned(), why: why.to_string() }
    }
}

/// A plugin's library. It stays loaded for as long as the process lives: not
/// every library can be unloaded safely (one with thread-locals, say), and what
/// its table points to is used until the end.
pub struct Library {
    /// Where it was loaded from.
    pub path: PathBuf,
    /// What its table says.
    pub table: Manifest,
    pub(crate) functions: Vec<Functions>,
}

impl Library {
    /// Loads a library and reads its table: runs foreign code. \[control\]
    ///
    /// # Errors
    /// It is none, of another version, or its table is wrong.
    pub fn load(path: &Path) -> Result<Self, LoadError> {
        let not_loaded = |why: io::Error| LoadError::not_loaded(path, &why);
        // An absolute path is looked up nowhere else.
        let path = std::fs::canonicalize(path).map_err(not_loaded)?;
        let file = File::open(&path).map_err(not_loaded)?;
        Self::open(&file, &path, &path)
    }

    /// Loads a library that is to be what `manifest` says: runs foreign code.
    /// \[control\]
    ///
    /// # Errors
    /// As `load`; and the table says something else.
    pub fn load_as(path: &Path, manifest: &Manifest) -> Result<Self, LoadError> {
        Self::load(path)?.compared(manifest)
    }

    /// The same, of a copy of what is at `path`. \[control\]
    pub(crate) fn load_image(image: &Image, path: &Path, manifest: &Manifest) -> Result<Self, LoadError> {
        Self::open(image.file(), &image.path(), path)?.compared(manifest)
    }

    /// Loads `file`, which the system's loader finds at `place`, as the library at
    /// `path`.
    fn open(file: &File, place: &Path, path: &Path) -> Result<Self, LoadError> {
        let path = path.to_owned();
        if let Err(why) = is_whole(file) {
            return Err(LoadError::NotLoaded { path, why });
        }
        // SAFETY: a library's initialisers run. Whoever names a plugin trusts it
        // with that, or has it run in a process of its own.
        let library = unsafe { libloading::Library::new(place) }
            .map_err(|why| LoadError::NotLoaded { path: path.clone(), why: why.to_string() })?;
        // Never unloaded: see above.
        let library = Box::leak(Box::new(library));
        // SAFETY: a symbol of that name is of that type, by the plugin interface.
        let entry = unsafe { library.get::<abi::Entry>(abi::SIDETONE_ENTRY) };
        let entry = entry.map_err(|_| LoadError::NoEntry { path: path.clone() })?;
        // SAFETY: the interface's: any version may be asked for, and the host lives
        // for ever.
        let bundle = unsafe { entry(abi::SIDETONE_ABI, host_of_libraries()) };
        if bundle.is_null() {
            return Err(LoadError::OtherVersion { path });
        }
        // SAFETY: it is what the entry gave.
        match unsafe { table::read(bundle) } {
            Ok(table) => Ok(Self { path, table: table.manifest, functions: table.functions }),
            Err(why) => Err(LoadError::Table { path, why }),
        }
    }

    fn compared(self, manifest: &Manifest) -> Result<Self, LoadError> {
        let why = manifest.differences(&self.table);
        if why.is_empty() { Ok(self) } else { Err(LoadError::Mismatch { path: self.path, why }) }
    }
}

/// Whether a file is a library of which nothing is cut off: the loader maps one
/// whose end is missing, and the process dies with the first touch of what is not
/// there. Of ELF files, each segment must lie within the file (ELF-64 Object File
/// Format 1.5, "Program Header").
pub(crate) fn is_whole(file: &File) -> Result<(), String> {
    use std::os::unix::fs::FileExt;
    let length = file.metadata().map_err(|why| why.to_string())?.len();
    let mut header = [0; 64];
    let is_elf = file.read_exact_at(&mut header, 0).is_ok() && header.starts_with(b"\x7fELF\x02\x01");
    if !is_elf {
        return if cfg!(target_os = "linux") { Err("it is no 64-bit ELF file".into()) } else { Ok(()) };
    }
    let number = |bytes: &[u8]| bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let (table, size, count) = (number(&header[32..40]), number(&header[54..56]), number(&header[56..58]));
    for index in 0..count {
        let mut segment = [0; 56];
        let at = table.checked_add(index * size).ok_or("its header is damaged")?;
        let whole = size >= 56
            && file.read_exact_at(&mut segment, at).is_ok()
            && number(&segment[8..16]).checked_add(number(&segment[32..40])).is_some_and(|end| end <= length);
        if !whole {
            return Err("its end is missing".into());
        }
    }
    Ok(())
}

/// The host that the entries of libraries are given: it only listens.
pub(crate) fn host_of_libraries() -> *const abi::Host {
    struct Shared(abi::Host);
    // SAFETY: nothing in it changes, and its context is null.
    unsafe impl Sync for Shared {}
    // SAFETY: as above.
    unsafe impl Send for Shared {}

    unsafe extern "C" fn now_ns(_: *const abi::Host) -> u64 {
        0
    }
    unsafe extern "C" fn frame_new(
        _: *const abi::Host,
        _: u32,
        _: *const abi::Format,
        _: *const abi::Frame,
    ) -> *mut abi::Frame {
        std::ptr::null_mut()
    }
    unsafe extern "C" fn frame_retain(_: *const abi::Host, _: *const abi::Frame) -> *const abi::Frame {
        std::ptr::null()
    }
    unsafe extern "C" fn frame_release(_: *const abi::Host, _: *const abi::Frame) {}
    unsafe extern "C" fn emit(_: *const abi::Host, _: *const std::ffi::c_char, _: f64) {}
    unsafe extern "C" fn param(_: *const abi::Host, _: u32) -> f64 {
        0.0
    }
    unsafe extern "C" fn extension(_: *const abi::Host, _: *const std::ffi::c_char) -> *const c_void {
        std::ptr::null()
    }
    static HOST: Shared = Shared(abi::Host {
        size: size_of::<abi::Host>() as u32,
        abi: abi::SIDETONE_ABI,
        context: std::ptr::null_mut(),
        log: log_of_library,
        now_ns,
        frame_new,
        frame_retain,
        frame_release,
        emit,
        param,
        extension,
    });
    &raw const HOST.0
}
