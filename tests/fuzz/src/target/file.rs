//! Media files, and the AV1 in them.

use sidetone::{Frame, Value};
use sidetone_file::parse::{av1, ivf, wav, y4m};

use crate::Target;
use crate::nodes::{fed, pictures, tone};
use crate::target::codec::av1_units;

pub(crate) const WAV: Target = Target {
    name: "wav",
    // Every sample takes a byte at least.
    run: |bytes| wav::walk(bytes).is_ok_and(|samples| in_bounds(samples, bytes)),
    seeds: || {
        [16, 24, 32].map(|bits| written("file.wav_sink", &[("bits", Value::Int(bits))], tone(20))).into()
    },
    words: &["RIFF", "WAVE", "fmt ", "data", "LIST", "\u{0}\u{0}\u{0}\u{0}"],
    most_mib: 1,
};

pub(crate) const Y4M: Target = Target {
    name: "y4m",
    run: |bytes| y4m::walk(bytes).is_ok_and(|pictures| in_bounds(pictures, bytes)),
    seeds: || vec![written("file.y4m_sink", &[], pictures(2))],
    words: &["YUV4MPEG2 ", " W", " H", " F", " C420", " I", "FRAME", "\n", ":", "0", "4294967295"],
    most_mib: 1,
};

pub(crate) const IVF: Target = Target {
    name: "ivf",
    run: |bytes| ivf::walk(bytes).is_ok_and(|packets| in_bounds(packets, bytes)),
    seeds: || vec![written("file.ivf_sink", &[], av1_units())],
    words: &["DKIF", "AV01"],
    most_mib: 1,
};

/// The readers of AV1 that a file needs and that RTP needs, on one unit.
pub(crate) const AV1_UNIT: Target = Target {
    name: "av1_unit",
    run: |bytes| {
        let size = av1::picture_size(bytes);
        if let Some(size) = size {
            assert!((1..=65_536).contains(&size.width) && (1..=65_536).contains(&size.height));
        }
        let obus = sidetone_rtp::av1::obus(bytes).map_while(Result::ok);
        let read: usize = obus.map(|obu| 1 + obu.payload.len()).sum();
        assert!(read <= bytes.len(), "{read} bytes were read of {}", bytes.len());
        let _ = sidetone_rtp::av1::starts_sequence(bytes);
        av1::is_key(bytes) || size.is_none() && read > 0
    },
    seeds: || crate::nodes::bytes(&av1_units()),
    words: &[],
    most_mib: 1,
};

/// Whether a reader gave no more than there is; anything else is a defect.
pub(crate) fn in_bounds(count: u64, bytes: &[u8]) -> bool {
    assert!(count <= bytes.len() as u64, "{count} were read from {} bytes", bytes.len());
    true
}

/// The file that a sink of `kind` writes.
pub(crate) fn written(kind: &str, params: &[(&str, Value)], frames: Vec<Frame>) -> Vec<u8> {
    let name = format!("sidetone-fuzz-{}-{}-{kind}", std::process::id(), fastrand::u64(..));
    let path = std::env::temp_dir().join(name);
    let text = Value::from(path.to_string_lossy().as_ref());
    drop(fed(kind, &[params, &[("path", text)]].concat(), frames));
    let bytes = std::fs::read(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()));
    let _ = std::fs::remove_file(path);
    bytes
}
