//! What the kit promises authors, shown on effects of every sort.

#![allow(clippy::unwrap_used)] // all of it is test code, helpers included

use std::collections::VecDeque;

use sidetone_plugin::harness::{self, Bytes, Frame, Harness};
use sidetone_plugin::*;

effect! {
    /// Does as it is told,
    /// on two lines.
    ///
    /// And more, as *Markdown*.
    pub struct Told: VideoInPlace = "kit.told", latency_ns(40) {
        /// When it panics.
        param 7 panics: When = When::Never, live;
        /// A path.
        param 2 file: PathBuf = "none.txt";
        param 3 words: String = "", required;
        param 4 whole: i64 = -3, range(-5..=5), live, unit("dB"), step(1);
        param 5 sure: bool = true, live;
        state seen: Vec<(String, f64, u64)> = Vec::new();
    }
}

choice! {
    /// When it panics.
    pub enum When { Never = "never", Start = "start", Process = "process", Drop = "drop", Error = "error" }
}

impl VideoInPlace for Told {
    fn start(&mut self, start: &Start<'_>) -> Result<(), Error> {
        assert!(self.panics != When::Start, "at once");
        if self.words == "no" {
            return Err("told not to".into());
        }
        start.log(Level::Info, format_args!("{} {} {}", self.file.display(), self.words, start.seed));
        Ok(())
    }

    fn changed(&mut self, change: &Change) {
        self.seen.push((change.name.to_owned(), change.number, change.time_ns));
    }

    fn process(&mut self, _: &mut PictureMut<'_>, call: &Call<'_>) -> Result<Done, Error> {
        call.emit(c"whole_db", self.whole as f64);
        call.log(Level::Debug, format_args!("{:?} {}", self.seen, self.sure));
        match self.panics {
            When::Process => panic!("in process"),
            When::Error => Err(Error::resource("no device")),
            _ => Ok(Done::Out),
        }
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        assert!(self.panics != When::Drop, "while going");
    }
}

effect! {
    /// Gives each packet again, two calls later, backwards.
    pub struct Later: Effect = "kit.later" {
        /// Packets.
        input r#in: opus;
        /// Packets.
        output r#out: opus, own_format;
        /// How many bytes went through.
        output total: data("kit.total/1"), own_format, optional;
        state held: VecDeque<Kept<Packets>> = VecDeque::new();
        state total: u64 = 0, saved;
    }
}

impl Effect for Later {
    fn process(&mut self, call: &mut Call<'_>) -> Result<Done, Error> {
        if let Some(kept) = call.keep(Self::r#in)? {
            self.held.push_back(kept);
            if self.held.len() < 3 {
                return Ok(Done::NeedMore);
            }
        }
        let Some(kept) = self.held.pop_front() else { return Ok(Done::End) };
        let packet = kept.view()?;
        let room = packet.bytes().len() as u32;
        let mut again = call.make_from(Self::r#out, Format::Bytes { room }, &kept)?;
        for (to, from) in again.room_mut().iter_mut().zip(packet.bytes().iter().rev()) {
            *to = *from;
        }
        again.set_header(Header { key: true, ..packet.header() });
        self.total += u64::from(room);
        call.make(Self::total, Format::Bytes { room: 16 })?.write(&self.total.to_le_bytes())?;
        if room == 1 {
            call.withhold(Self::r#out);
        }
        Ok(if call.is_last() && self.held.is_empty() { Done::End } else { Done::Out })
    }

    fn loaded(&mut self) -> Result<(), Error> {
        if self.total > 1_000_000 { Err(Error::media("so much never came")) } else { Ok(()) }
    }
}

effect! {
    /// Makes sound the other way round, halves or not.
    pub struct Turned: AudioEffect = "kit.turned", real_time {
        param 1 gain: f64 = 1.0, range(0.0..=4.0);
    }
}

impl AudioEffect for Turned {
    fn process(&mut self, input: &Sound<'_>, output: &mut SoundMut<'_>, _: &Call<'_>) -> Result<Done, Error> {
        output.each_channel(|channel, samples| {
            for (to, from) in samples.iter_mut().zip(input.channel(channel).iter().rev()) {
                *to = from * self.gain as f32;
            }
        });
        Ok(if input.is_empty() { Done::Drop } else { Done::Out })
    }
}

effect! {
    /// Shows what is in front of a grey wall.
    pub struct Wall: VideoEffect = "kit.wall", deterministic {
        input mask: mask;
    }
}

impl VideoEffect for Wall {
    fn process(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        call: &Call<'_>,
    ) -> Result<Done, Error> {
        output.copy_from(input)?;
        let Some(mask) = call.input(Self::mask)? else { return Ok(Done::Out) };
        for mut plane in output.planes_mut() {
            let (width, height) = (plane.width(), plane.height());
            for (y, row) in plane.rows_mut().enumerate() {
                let mask_row = mask.row(y * mask.height() / height);
                for (x, sample) in row.iter_mut().enumerate() {
                    if mask_row[x * mask.width() / width] < 128 {
                        *sample = 128;
                    }
                }
            }
        }
        Ok(Done::Out)
    }
}

plugin!("kit", Told, Later, Turned, Wall);

fn picture() -> harness::Picture {
    harness::Picture::pattern(17, 9)
}

fn told(when: When) -> harness::Setup<Told> {
    Harness::<Told>::setup().number("panics", f64::from(when as u32))
}

fn packet(bytes: &[u8]) -> Bytes {
    Bytes::packet(3, bytes)
}

#[test]
fn a_panic_in_process_is_an_error_and_the_last_call() {
    let mut told = told(When::Process).start().unwrap();
    let why = told.process(picture()).unwrap_err();
    assert_eq!((why.code(), why.to_string()), (-5, "panicked: in process".to_owned()));
    told.set("panics", 0.0);
    assert_eq!(told.process(picture()).unwrap_err().code(), -5);
}

#[test]
fn a_panic_at_the_start_makes_no_instance_and_one_at_the_end_goes_nowhere() {
    assert_eq!(told(When::Start).start().err().unwrap().to_string(), "panicked: at once");
    drop(told(When::Drop).start().unwrap());
}

#[test]
fn an_error_has_its_code_and_its_text_is_logged() {
    let mut told = told(When::Error).start().unwrap();
    let why = told.process(picture()).unwrap_err();
    assert_eq!((why.code(), why.to_string()), (-6, "no device".to_owned()));
    told.set("panics", 0.0);
    assert_eq!(told.picture(&picture()), picture());
}

#[test]
fn parameters_come_as_fields_and_changes_before_the_call() {
    let mut told = Harness::<Told>::setup().text("words", "hi").text("file", "a/b").seed(9).start().unwrap();
    assert_eq!(told.logs(), []);
    told.picture(&picture());
    assert_eq!(told.logs()[0], (Level::Info, "a/b hi 9".to_owned()));
    assert_eq!(told.figures()["whole_db"], -3.0);
    told.set("whole", 99.0);
    told.set("sure", 0.0);
    told.set("sure", f64::NAN);
    told.picture(&picture());
    assert_eq!(told.figures()["whole_db"], 5.0, "held within its range");
    let wanted = r#"[("whole", 5.0, 10000000), ("sure", 0.0, 10000000)] false"#;
    assert_eq!(told.logs().last().unwrap().1, wanted);
}

#[test]
fn what_an_effect_refuses_to_start_with_is_said() {
    let refused = Harness::<Told>::setup().text("words", "no").start();
    assert_eq!(refused.err().unwrap().to_string(), "told not to");
}

#[test]
fn frames_are_kept_given_later_and_drained_at_the_end() {
    let mut later = Harness::<Later>::new();
    assert_eq!(later.process(packet(b"one")).unwrap().done, Done::NeedMore);
    assert_eq!(later.process(packet(b"2")).unwrap().done, Done::NeedMore);
    assert_eq!(later.kept(), 2);
    let reply = later.process(packet(b"three")).unwrap();
    let Some(Frame::Bytes(first)) = &reply.outputs[0] else { panic!("{reply:?}") };
    assert_eq!((first.bytes.as_slice(), first.key), (&b"eno"[..], true));
    let Some(Frame::Bytes(total)) = &reply.outputs[1] else { panic!("{reply:?}") };
    assert_eq!(total.bytes, 3_u64.to_le_bytes());
    assert_eq!(later.kept(), 2);
    let reply = later.finish().unwrap();
    assert_eq!((reply.done, &reply.outputs[0]), (Done::Out, &None), "withheld");
    let reply = later.finish().unwrap();
    let Some(Frame::Bytes(last)) = &reply.outputs[0] else { panic!("{reply:?}") };
    assert_eq!((reply.done, last.bytes.as_slice()), (Done::End, &b"eerht"[..]));
    assert_eq!(later.kept(), 0);
}

#[test]
fn frames_still_kept_go_back_with_the_effect() {
    let mut later = Harness::<Later>::new();
    later.process(packet(b"one")).unwrap();
    assert_eq!(later.kept(), 1);
    drop(later); // the harness panics if one is left
}

#[test]
fn saved_fields_go_from_one_instance_to_another_unless_it_refuses_them() {
    let mut one = Harness::<Later>::new();
    for _ in 0..3 {
        one.process(packet(b"12345")).unwrap();
    }
    let state = one.save().unwrap();
    let mut other = Harness::<Later>::new();
    other.load(&state).unwrap();
    assert_eq!(other.save().unwrap(), state);

    let mut too_much = state.clone();
    *too_much.last_mut().unwrap() = 1;
    assert_eq!(other.load(&too_much).unwrap_err().to_string(), "so much never came");
    for cut in 0..state.len() {
        assert_eq!(other.load(&state[..cut]).unwrap_err().code(), -3, "{cut} bytes");
    }
    for at in 0..state.len() {
        let mut damaged = state.clone();
        damaged[at] ^= 0xFF;
        let _ = other.load(&damaged);
        other.load(&state).unwrap();
    }
    assert_eq!(other.save().unwrap(), state);
    assert_eq!(Harness::<Turned>::new().save(), None, "it has no state");
}

#[test]
fn sound_and_pictures_are_made_of_others() {
    let sound = harness::Sound { rate: 44_100, channels: vec![vec![1.0, 2.0, 3.0], vec![4.0, 5.0, 6.0]] };
    let turned = Harness::<Turned>::setup().number("gain", 0.5).start().unwrap().sound(&sound);
    assert_eq!(turned.channels, [[1.5, 1.0, 0.5], [3.0, 2.5, 2.0]]);
    let nothing = harness::Sound::silence(44_100, 1, 0);
    assert_eq!(Harness::<Turned>::new().process(nothing).unwrap().done, Done::Drop);

    let mut wall = Harness::<Wall>::new();
    assert_eq!(wall.picture(&picture()), picture());
    wall.give("mask", harness::mask(2, &[255, 0]));
    let seen = wall.picture(&picture());
    assert_eq!(seen.at(0, 0), picture().at(0, 0));
    assert_eq!(seen.at(16, 8), [128, 128, 128]);
}

#[test]
fn frames_of_another_media_are_refused() {
    let why = Harness::<Turned>::new().process(picture()).unwrap_err();
    assert_eq!(why.code(), -2);
    let why = Harness::<Wall>::new().process(packet(b"x")).unwrap_err();
    assert_eq!(why.code(), -2);
    let mut wall = Harness::<Wall>::new();
    wall.give("mask", harness::faces(&[]));
    assert_eq!(wall.process(picture()).unwrap_err().to_string(), "data of another shape came");
}

#[test]
fn simple_effects_end_when_no_frames_come_any_more() {
    let reply = Harness::<Wall>::new().finish().unwrap();
    assert_eq!((reply.done, reply.outputs), (Done::End, vec![None]));
}

#[test]
fn damaged_data_never_panics() {
    let Frame::Bytes(faces) = Frame::from(harness::faces(&[[0.1, 0.2, 0.3, 0.4], [0.5; 4]])) else {
        panic!()
    };
    let Frame::Bytes(mask) = Frame::from(harness::mask(3, &[7; 9])) else { panic!() };
    assert_eq!(Faces::read(&faces.bytes).unwrap().iter().map(|face| face.points().len()).sum::<usize>(), 10);
    assert_eq!(Foreground::read(&mask.bytes).unwrap().row(2), [7; 3]);
    assert!((0..faces.bytes.len()).all(|cut| Faces::read(&faces.bytes[..cut]).is_err()));
    assert!((0..mask.bytes.len()).all(|cut| Foreground::read(&mask.bytes[..cut]).is_err()));
    for bytes in [&faces.bytes, &mask.bytes] {
        for at in 0..bytes.len() {
            for value in [0, 1, 4, 63, 64, 65, 127, 128, 255] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                for face in Faces::read(&damaged).iter().flat_map(Faces::iter) {
                    assert!(face.points().all(|(x, y)| x.is_finite() && y.is_finite()));
                }
                if let Ok(mask) = Foreground::read(&damaged) {
                    assert_eq!(mask.row(mask.height() - 1).len(), mask.width());
                }
            }
        }
    }
}

mod table {
    #![allow(unsafe_code)]

    use std::ffi::CStr;
    use std::ptr;

    use sidetone_plugin_abi as abi;

    use super::sidetone_plugin_entry as entry;

    fn text(text: *const std::ffi::c_char) -> &'static str {
        // SAFETY: text of a table, which ends with a zero byte and lives for ever.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap()
    }

    #[test]
    fn another_major_version_gets_null() {
        for host_abi in [0, 0x0000_FFFF, 0x0002_0000, u32::MAX] {
            // SAFETY: a host may be null.
            assert!(unsafe { entry(host_abi, ptr::null()) }.is_null(), "{host_abi:#x}");
        }
        // SAFETY: as above.
        assert!(!unsafe { entry(abi::SIDETONE_ABI + 7, ptr::null()) }.is_null(), "a later minor version");
    }

    #[test]
    fn the_table_says_what_the_author_wrote() {
        // SAFETY: a host may be null; the table lives for ever.
        let (bundle, again) =
            unsafe { (&*entry(abi::SIDETONE_ABI, ptr::null()), entry(abi::SIDETONE_ABI, ptr::null())) };
        assert!(ptr::eq(bundle, again), "the same at every call");
        assert_eq!((text(bundle.id), text(bundle.version), bundle.kind_count), ("kit", "1.0.0", 4));
        // SAFETY: the first of its kinds, and its ports and parameters.
        let (kind, input, params) = unsafe {
            let kind = &*bundle.kinds;
            (kind, &*kind.inputs, std::slice::from_raw_parts(kind.params, kind.param_count as usize))
        };
        assert_eq!((text(kind.kind), text(kind.summary)), ("kit.told", "Does as it is told, on two lines."));
        assert!(text(kind.doc).ends_with("And more, as *Markdown*."), "{}", text(kind.doc));
        assert_eq!((kind.flags, kind.latency_ns), (abi::SIDETONE_KIND_IN_PLACE, 40));
        assert_eq!((text(input.name), input.media, input.format), ("in", 1, 1));
        let names: Vec<_> =
            params.iter().map(|param| (param.id, text(param.name), param.param_type)).collect();
        assert_eq!(
            names,
            [(7, "panics", 4), (2, "file", 6), (3, "words", 5), (4, "whole", 2), (5, "sure", 1)]
        );
        assert_eq!((params[3].min, params[3].max, params[3].default_number), (-5.0, 5.0, -3.0));
        assert_eq!(
            (text(params[3].unit), params[3].step, params[3].flags),
            ("dB", 1.0, abi::SIDETONE_PARAM_LIVE)
        );
        assert_eq!(text(params[1].default_text), "none.txt");
        // SAFETY: as many words as it says.
        let words = unsafe { std::slice::from_raw_parts(params[0].choices, params[0].choice_count as usize) };
        assert_eq!(words.iter().map(|word| text(*word)).collect::<Vec<_>>()[3..], ["drop", "error"]);
    }
}
