//! A frei0r effect as an `Effect`.

use sidetone_core::{Fault, FaultKind, Size};
use sidetone_plugin_abi as abi;

use crate::effect::{Effect, Job, Outcome, View};
use crate::manifest::Given;
use crate::world::frei0r::{Instance, Loaded, MAX_SIDE};
use crate::world::installed::{Installed, Param, Setting, setting};
use crate::world::rgba::Packed;

/// A frei0r effect at work. Its instance is made when the first picture comes, and
/// again when pictures of another size come, with the parameters that it has.
pub(crate) struct Video {
    library: std::sync::Arc<Loaded>,
    params: Vec<Param>,
    /// What parameters are, by their place.
    values: Vec<(usize, Given)>,
    at_work: Option<AtWork>,
}

/// An instance, and room for the pictures that it takes and gives.
struct AtWork {
    size: Size,
    instance: Instance,
    inputs: Vec<Packed>,
    output: Packed,
}

impl Video {
    /// The effect, with `values` by the places of its parameters. Loads its library:
    /// runs foreign code. \[control\]
    ///
    /// # Errors
    /// Why it cannot be made, for a person.
    pub(crate) fn new(effect: &Installed, values: &[(u32, Given)]) -> Result<Self, String> {
        let library = Loaded::open(&effect.path).map_err(|why| why.to_string())?;
        let values = values.iter().map(|(at, value)| (*at as usize, value.clone()));
        let values = values.filter(|(at, _)| *at < effect.params.len()).collect();
        let video = Self { library, params: effect.params.clone(), values, at_work: None };
        // What cannot be set is told now, not when the first picture comes.
        let mut probe = Instance::new(&video.library, Size::new(8, 8)).map_err(|why| why.to_string())?;
        video.set_all(&mut probe)?;
        Ok(video)
    }

    fn set_all(&self, instance: &mut Instance) -> Result<(), String> {
        for (at, value) in &self.values {
            let param = &self.params[*at];
            instance.set(param, &setting(value)).map_err(|why| format!("{}: {why}", param.name))?;
        }
        Ok(())
    }

    fn make(&self, size: Size) -> Result<AtWork, Fault> {
        if size.width > MAX_SIDE || size.height > MAX_SIDE {
            let why = "frei0r effects take pictures of at most 2048x2048; put effect.scale before it";
            return Err(Fault::new(FaultKind::WrongFormat, why));
        }
        let failed = Fault::new(FaultKind::Library, "the effect could not be made for pictures of this size");
        let mut instance = Instance::new(&self.library, size).map_err(|_| failed)?;
        self.set_all(&mut instance).map_err(|_| failed)?;
        let inputs = (0..self.library.inputs()).map(|_| Packed::new(size)).collect();
        Ok(AtWork { size, instance, inputs, output: Packed::new(size) })
    }
}

impl Effect for Video {
    fn process(&mut self, job: &mut Job<'_>) -> Result<Outcome, Fault> {
        if job.is_last() {
            return Ok(Outcome::End);
        }
        let no_picture = Fault::new(FaultKind::WrongFormat, "frei0r effects take I420 pictures");
        let size = job.input(0).and_then(size_of_picture).ok_or(no_picture)?;
        for (id, number) in job.changes() {
            let at = id as usize;
            let Some(param) = self.params.get(at) else { continue };
            if let Some(at_work) = &mut self.at_work {
                // A number always fits.
                let _ = at_work.instance.set(param, &Setting::Number(number));
            }
            self.values.retain(|(known, _)| *known != at);
            self.values.push((at, Given::Number(number)));
        }
        if self.at_work.as_ref().is_none_or(|at_work| at_work.size != size) {
            self.at_work = None;
            self.at_work = Some(self.make(size)?);
        }
        let (Some(at_work), order) = (&mut self.at_work, self.library.order()) else {
            return Err(no_picture);
        };
        for (port, packed) in at_work.inputs.iter_mut().enumerate() {
            let Some(frame) = job.input(port) else {
                // A mixer works when all its pictures are there.
                return Ok(Outcome::Drop);
            };
            let planes = rows(frame).ok_or(no_picture)?;
            let size = size_of_picture(frame).ok_or(no_picture)?;
            packed.load(size, planes, order).map_err(|_| {
                let why = "a mixer takes pictures of one size; put effect.scale before its inputs";
                Fault::new(FaultKind::WrongFormat, why)
            })?;
        }
        let seconds = job.input(0).map_or(0.0, |frame| frame.raw().pts_ns as f64 / 1e9);
        at_work.instance.update(seconds, &at_work.inputs, &mut at_work.output);
        let no_output = Fault::new(FaultKind::Library, "the effect has no frame to write to");
        let output = job.output(0).ok_or(no_output)?;
        let strides = rows(output.as_view()).ok_or(no_output)?.map(|(_, stride)| stride);
        let [y, u, v] = output.planes_mut().ok_or(no_output)?;
        let planes = [(y, strides[0]), (u, strides[1]), (v, strides[2])];
        at_work.output.store(size, planes, order).map_err(|_| no_output)?;
        Ok(Outcome::Ok)
    }
}

/// How large the picture in `frame` is, if it is one.
fn size_of_picture(frame: View<'_>) -> Option<Size> {
    let raw = frame.raw();
    let is_picture = raw.media == abi::SIDETONE_MEDIA_VIDEO && raw.format == abi::SIDETONE_FORMAT_I420;
    (is_picture && raw.width > 0 && raw.height > 0).then(|| Size::new(raw.width, raw.height))
}

/// The rows of its planes, and bytes from row to row.
fn rows(frame: View<'_>) -> Option<[(&[u8], usize); 3]> {
    let [y, u, v] = [0, 1, 2].map(|plane| frame.plane(plane).map(|plane| (plane.data, plane.stride)));
    Some([y?, u?, v?])
}
