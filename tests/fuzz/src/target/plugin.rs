//! What plugins bring along: their manifests, and the data that they put out.

use sidetone::data_shape::{Face, FaceLandmarks, MOST_FACES, Mask};
use sidetone::plugins::Manifest;

use crate::Target;

/// A manifest file.
pub(crate) const MANIFEST: Target = Target {
    name: "manifest",
    run: |bytes| {
        let Ok(text) = str::from_utf8(bytes) else { return false };
        match Manifest::parse(text) {
            Ok(manifest) => {
                assert_eq!(manifest.differences(&manifest), Vec::<String>::new());
                let written = manifest.to_text();
                let again = Manifest::parse(&written).unwrap_or_else(|why| panic!("{why}: {written}"));
                assert_eq!(again.to_text(), written);
                true
            }
            Err(why) => {
                let _ = why.to_string();
                false
            }
        }
    },
    seeds: || {
        let samples = [
            include_str!("../../../../plugins/vignette/vignette.sidetone.toml"),
            include_str!("../../../../plugins/robot_voice/robot_voice.sidetone.toml"),
            include_str!("../../../../plugins/pixelate_faces/pixelate_faces.sidetone.toml"),
        ];
        let parsed = samples.iter().filter_map(|text| Manifest::parse(text).ok());
        let written: Vec<_> = parsed.map(|manifest| manifest.to_text().into_bytes()).collect();
        samples.iter().map(|text| text.as_bytes().to_vec()).chain(written).collect()
    },
    words: &[
        "sidetone_plugin = 1\n",
        "library = \"",
        "[[kind]]\n",
        "kind = \"sample.",
        "latency_ns = ",
        "flags = [",
        "inputs = [",
        "outputs = [",
        "params = [",
        "name = ",
        "media = ",
        "\"video\"",
        "\"audio\"",
        "\"packet\"",
        "\"data\"",
        "shape = \"sidetone.mask/1\"",
        "format = ",
        "\"own_format\"",
        "\"optional\"",
        "\"required\"",
        "\"live\"",
        "\"in_place\"",
        "type = ",
        "\"int\"",
        "\"text\"",
        "\"choice\"",
        "choices = [",
        "default = ",
        "true",
        "nan",
        "-inf",
        "1e308",
        "9223372036854775807",
        "\\u0000",
        "\\\"",
        "/",
        "{ ",
        " }",
        "]",
        ", ",
        "\n",
    ],
    most_mib: 16,
};

/// The payload of a frame of data, read as every shape.
pub(crate) const DATA_SHAPE: Target = Target {
    name: "data_shape",
    run: |bytes| {
        let faces = FaceLandmarks::read(bytes).map(|read| write_again(&read, bytes.len()));
        let mask = Mask::read(bytes).map(|read| {
            let (width, height) = (read.width(), read.height());
            assert!(width * height <= bytes.len());
            let mut again = vec![0; Mask::bytes(width, height)];
            let written = Mask::write(width, height, &mut again, |y, row| row.copy_from_slice(read.row(y)));
            assert_eq!(written, Ok(again.len()));
            let again = Mask::read(&again).unwrap_or_else(|why| panic!("{why}"));
            assert!((0..height).all(|y| again.row(y) == read.row(y)));
        });
        faces.is_ok() || mask.is_ok()
    },
    seeds: || {
        let face = Face { confidence: 0.5, left: 0.25, top: 0.25, width: 0.5, height: 0.5 };
        let faces = |scheme: usize, count: usize| {
            let points = vec![[0.25, 0.75]; scheme];
            let mut bytes = vec![0; FaceLandmarks::bytes(scheme, count)];
            assert!(FaceLandmarks::write(scheme, &vec![(face, &*points); count], &mut bytes).is_ok());
            bytes
        };
        let mut mask = vec![0; Mask::bytes(7, 5)];
        assert!(Mask::write(7, 5, &mut mask, |_, row| row.fill(255)).is_ok());
        vec![faces(5, 0), faces(5, 2), faces(68, 1), faces(106, MOST_FACES), mask]
    },
    words: &[],
    most_mib: 1,
};

/// Writes what was read, and finds it to be the same.
fn write_again(read: &FaceLandmarks<'_>, length: usize) {
    assert!(read.len() <= MOST_FACES && FaceLandmarks::bytes(read.scheme(), read.len()) <= length);
    let points: Vec<Vec<_>> = (0..read.len()).map(|face| read.points(face).collect()).collect();
    let faces: Vec<_> =
        points.iter().enumerate().map(|(face, points)| (read.face(face), points.as_slice())).collect();
    let mut bytes = vec![0; FaceLandmarks::bytes(read.scheme(), read.len())];
    assert_eq!(FaceLandmarks::write(read.scheme(), &faces, &mut bytes), Ok(bytes.len()));
    let again = FaceLandmarks::read(&bytes).unwrap_or_else(|why| panic!("{why}"));
    for (face, (of, points)) in faces.iter().enumerate() {
        assert!(again.face(face) == *of && again.points(face).eq(points.iter().copied()));
    }
}
