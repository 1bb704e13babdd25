//! Whether it is a plugin at all, and its table and manifest are in order.

use std::ffi::{CStr, c_char};

use libloading::os::unix::{Library as Loaded, RTLD_LOCAL, RTLD_NOW};
use sidetone_plugin_abi as abi;

use crate::check::trial::{Done, Stop, Trial};
use crate::library::{host_of_libraries, is_whole};
use crate::manifest::Manifest;
use crate::{search, table};

/// Flags that this version of the interface knows.
const KIND_FLAGS: u32 = 31;
const PORT_FLAGS: u32 = 3;
const PARAM_FLAGS: u32 = 3;

pub(crate) fn loads(trial: &mut Trial) -> Done {
    entry(trial).map(drop)
}

pub(crate) fn versions(trial: &mut Trial) -> Done {
    let entry = entry(trial)?;
    let ask = |trial: &mut Trial, version: u32| {
        trial.doing(format!("asking the entry for version {}.{}", version >> 16, version & 0xffff));
        // SAFETY: the interface's: any version may be asked for.
        unsafe { entry(version, host_of_libraries()) }
    };
    for major in [0, 2, 3, 0xffff] {
        for version in [major << 16, major << 16 | 1] {
            if !ask(trial, version).is_null() {
                trial.found(format!(
                    "the entry gave a table for version {major}.{}, whose structs it cannot know; it must give null",
                    version & 0xffff
                ))?;
            }
        }
    }
    let table = ask(trial, abi::SIDETONE_ABI);
    if table.is_null() {
        trial.found("the entry gave null for this host's own version")?;
        return Err(Stop::Enough);
    }
    if !std::ptr::eq(table, ask(trial, abi::SIDETONE_ABI)) {
        trial.found("the entry gave another table when it was called a second time")?;
    }
    for minor in [1, 7, 0xffff] {
        if ask(trial, abi::SIDETONE_ABI_MAJOR << 16 | minor).is_null() {
            trial.found(format!(
                "the entry gave null for version {}.{minor}; a later minor version has all that it needs",
                abi::SIDETONE_ABI_MAJOR
            ))?;
        }
    }
    Ok(())
}

pub(crate) fn table(trial: &mut Trial) -> Done {
    let entry = entry(trial)?;
    // SAFETY: the interface's.
    let bundle = unsafe { entry(abi::SIDETONE_ABI, host_of_libraries()) };
    trial.doing("reading the table");
    // SAFETY: it is what the entry gave; what it points to wrongly ends this process.
    if let Err(why) = unsafe { table::read(bundle) } {
        for line in why.lines() {
            trial.found(line)?;
        }
        return Err(Stop::Enough);
    }
    // SAFETY: as above; the table was just read by the same rules.
    let wrong = unsafe { odd(&*bundle) };
    wrong.into_iter().try_for_each(|why| trial.found(why))
}

pub(crate) fn manifest(trial: &mut Trial) -> Done {
    let library = trial.library()?;
    let path = search::manifest_of(&library.path);
    match Manifest::read(&path) {
        Ok(manifest) => {
            let differences = manifest.differences(&library.table);
            differences.into_iter().try_for_each(|why| trial.found(why))
        }
        Err(why) => why.to_string().lines().try_for_each(|why| trial.found(why)),
    }
}

/// Loads the library with all that it needs, and finds its entry.
fn entry(trial: &mut Trial) -> Result<abi::Entry, Stop> {
    trial.doing("loading the library");
    let path = match std::fs::canonicalize(&trial.path) {
        Ok(path) => path,
        Err(why) => {
            trial.found(why.to_string())?;
            return Err(Stop::Enough);
        }
    };
    let whole = std::fs::File::open(&path).map_err(|why| why.to_string()).and_then(|file| is_whole(&file));
    if let Err(why) = whole {
        trial.found(why)?;
        return Err(Stop::Enough);
    }
    // SAFETY: a library's initialisers run, in a process that is for this.
    let library = unsafe { Loaded::open(Some(&path), RTLD_NOW | RTLD_LOCAL) };
    let library = match library {
        Ok(library) => Box::leak(Box::new(library)),
        Err(why) => {
            let said = std::error::Error::source(&why).map_or_else(|| why.to_string(), ToString::to_string);
            trial.found(format!("the system's loader said: {said}"))?;
            return Err(Stop::Enough);
        }
    };
    // SAFETY: a symbol of that name is of that type, by the interface.
    match unsafe { library.get::<abi::Entry>(abi::SIDETONE_ENTRY) } {
        Ok(entry) => Ok(*entry),
        Err(_) => {
            trial.found(format!("it has no symbol {}", abi::SIDETONE_ENTRY))?;
            Err(Stop::Enough)
        }
    }
}

/// What is not wrong enough for a host to refuse it.
unsafe fn odd(bundle: &abi::Bundle) -> Vec<String> {
    let mut found = Vec::new();
    let mut text = |what: &str, text: *const c_char, needed: bool| {
        if text.is_null() {
            if needed {
                found.push(format!("{what} is missing"));
            }
            return;
        }
        // SAFETY: the table was read before: it is a text that ends with a zero.
        match unsafe { CStr::from_ptr(text) }.to_str() {
            Ok("") if needed => found.push(format!("{what} is empty")),
            Ok(_) => {}
            Err(_) => found.push(format!("{what} is no UTF-8")),
        }
    };
    text("the version", bundle.version, true);
    text("the vendor", bundle.vendor, false);
    text("the license", bundle.license, false);
    let mut flags = Vec::new();
    for index in 0..bundle.kind_count {
        // SAFETY: as above: as many kinds lie there, so far apart.
        let kind = unsafe { &*bundle.kinds.byte_add(index as usize * bundle.kind_stride as usize) };
        // SAFETY: as above.
        let name = unsafe { CStr::from_ptr(kind.kind) }.to_string_lossy().into_owned();
        text(&format!("{name}: its summary"), kind.summary, true);
        text(&format!("{name}: its doc"), kind.doc, false);
        flags.push((name.clone(), kind.flags, KIND_FLAGS));
        for (list, count, stride) in [
            (kind.inputs, kind.input_count, kind.input_stride),
            (kind.outputs, kind.output_count, kind.output_stride),
        ] {
            for port in 0..count as usize {
                // SAFETY: as above.
                let port = unsafe { &*list.byte_add(port * stride as usize) };
                // SAFETY: as above.
                let called = unsafe { CStr::from_ptr(port.name) }.to_string_lossy();
                let what = format!("{name}: port {called}");
                text(&format!("{what}: its doc"), port.doc, true);
                flags.push((what, port.flags, PORT_FLAGS));
            }
        }
        for param in 0..kind.param_count as usize {
            // SAFETY: as above.
            let param = unsafe { &*kind.params.byte_add(param * kind.param_stride as usize) };
            // SAFETY: as above.
            let called = unsafe { CStr::from_ptr(param.name) }.to_string_lossy();
            let what = format!("{name}: parameter {called}");
            text(&format!("{what}: its doc"), param.doc, true);
            text(&format!("{what}: its unit"), param.unit, false);
            flags.push((what, param.flags, PARAM_FLAGS));
        }
    }
    let unknown = flags.iter().filter(|(_, flags, known)| flags & !known != 0);
    found.extend(unknown.map(|(what, flags, known)| {
        format!("{what}: flags {flags:#x} has bits that this version does not know ({:#x})", flags & !known)
    }));
    found
}
