//! A LADSPA or CLAP effect as an `Effect`.

use sidetone_core::{Fault, FaultKind};
use sidetone_plugin_abi as abi;

use crate::effect::{Effect, Job, Outcome};
use crate::manifest::{Given, PORTS};
use crate::world::installed::{Format, Installed, Param, Setting, setting};
use crate::world::{clap, ladspa};

/// A sound effect at work. Its instances are made when the first sound comes, and
/// again when sound of another rate comes, with the parameters that it has: one for
/// each channel of an effect of one channel, else one for all.
pub(crate) struct Sound {
    effect: Installed,
    /// What parameters are, by their place.
    values: Vec<(usize, Given)>,
    /// Of which rate and how many channels.
    format: (u32, usize),
    instances: Vec<Instance>,
    /// Samples of each channel: what came, and what goes.
    heard: Vec<Vec<f32>>,
    made: Vec<Vec<f32>>,
}

enum Instance {
    Ladspa(ladspa::Instance),
    Clap(clap::Instance),
}

impl Instance {
    fn new(effect: &Installed, rate: u32) -> Result<Self, String> {
        Ok(match effect.format {
            Format::Clap => Self::Clap(
                clap::Instance::new(&effect.path, &effect.key, rate).map_err(|why| why.to_string())?,
            ),
            _ => {
                let opened =
                    ladspa::Effect::open(&effect.path, &effect.key).map_err(|why| why.to_string())?;
                Self::Ladspa(ladspa::Instance::new(&opened, rate).map_err(|why| why.to_string())?)
            }
        })
    }

    fn set(&mut self, param: &Param, to: &Setting<'_>) {
        match self {
            Self::Ladspa(instance) => instance.set(param, to),
            Self::Clap(instance) => instance.set(param, to, 0),
        }
    }

    fn run(&mut self, inputs: &[&[f32]], outputs: &mut [&mut [f32]]) -> Result<(), Fault> {
        match self {
            Self::Ladspa(instance) => {
                instance.run(inputs, outputs);
                Ok(())
            }
            Self::Clap(instance) => instance
                .run(inputs, outputs)
                .map_err(|_| Fault::new(FaultKind::Library, "the effect said that it failed")),
        }
    }
}

impl Sound {
    /// The effect, with `values` by the places of its parameters. Runs foreign code:
    /// an instance is made, to see that it can be. \[control\]
    ///
    /// # Errors
    /// Why it cannot be made, for a person.
    pub(crate) fn new(effect: &Installed, values: &[(u32, Given)]) -> Result<Self, String> {
        let values = values.iter().map(|(at, value)| (*at as usize, value.clone()));
        let values = values.filter(|(at, _)| *at < effect.params.len()).collect();
        drop(Instance::new(effect, 48_000)?);
        Ok(Self {
            effect: effect.clone(),
            values,
            format: (0, 0),
            instances: Vec::new(),
            heard: Vec::new(),
            made: Vec::new(),
        })
    }

    fn make(&mut self, rate: u32, channels: usize) -> Result<(), Fault> {
        let takes = self.effect.inputs as usize;
        let each = takes == 1 && self.effect.outputs == 1;
        if !each && channels != takes {
            let why = "the effect takes another number of channels; `sidetone nodes` says how many";
            return Err(Fault::new(FaultKind::WrongFormat, why));
        }
        self.instances.clear();
        for _ in 0..if each { channels } else { 1 } {
            let why = "the effect could not be made for this sample rate";
            let mut instance =
                Instance::new(&self.effect, rate).map_err(|_| Fault::new(FaultKind::Library, why))?;
            for (at, value) in &self.values {
                instance.set(&self.effect.params[*at], &setting(value));
            }
            self.instances.push(instance);
        }
        let gives = if each { channels } else { self.effect.outputs as usize };
        // Room for 100 ms at once, which frames are shorter than.
        let room = |count: usize| (0..count).map(|_| Vec::with_capacity(rate as usize / 10)).collect();
        (self.heard, self.made) = (room(channels), room(gives));
        self.format = (rate, channels);
        Ok(())
    }
}

impl Sound {
    /// Takes over what came; how many samples it has.
    fn heard(&mut self, job: &Job<'_>) -> Option<usize> {
        let frame = job.input(0)?;
        let samples = frame.channel(0)?.len();
        for (index, heard) in self.heard.iter_mut().enumerate() {
            heard.clear();
            heard.extend_from_slice(frame.channel(index).filter(|channel| channel.len() == samples)?);
        }
        self.made.iter_mut().for_each(|made| made.resize(samples, 0.0));
        Some(samples)
    }

    fn run(&mut self, samples: usize) -> Result<(), Fault> {
        let mut heard = [&[][..]; PORTS];
        let mut made: [&mut [f32]; PORTS] = Default::default();
        heard.iter_mut().zip(&self.heard).for_each(|(place, channel)| *place = &channel[..samples]);
        made.iter_mut().zip(&mut self.made).for_each(|(place, channel)| *place = &mut channel[..samples]);
        let takes = self.effect.inputs as usize;
        let gives = self.effect.outputs as usize;
        for (at, instance) in self.instances.iter_mut().enumerate() {
            instance.run(&heard[at * takes..][..takes], &mut made[at * gives..][..gives])?;
        }
        // What is no number would silence all that mixes it in.
        if self.made.iter().any(|channel| channel.iter().any(|sample| !sample.is_finite())) {
            let why = "the effect gave samples that are no numbers; this is a defect in it";
            return Err(Fault::new(FaultKind::Library, why));
        }
        Ok(())
    }
}

const NO_FORMAT: abi::Format = abi::Format {
    size: size_of::<abi::Format>() as u32,
    media: 0,
    format: 0,
    width: 0,
    height: 0,
    rate: 0,
    channels: 0,
    length: 0,
};

impl Effect for Sound {
    fn process(&mut self, job: &mut Job<'_>) -> Result<Outcome, Fault> {
        if job.is_last() {
            return Ok(Outcome::End);
        }
        let no_sound = Fault::new(FaultKind::WrongFormat, "the effect takes sound");
        let frame = job.input(0).ok_or(no_sound)?;
        let (rate, channels) = (frame.raw().rate, frame.raw().plane_count as usize);
        if frame.raw().media != abi::SIDETONE_MEDIA_AUDIO || rate == 0 || !(1..=PORTS).contains(&channels) {
            return Err(no_sound);
        }
        for (id, number) in job.changes() {
            let at = id as usize;
            let Some(param) = self.effect.params.get(at) else { continue };
            for instance in &mut self.instances {
                instance.set(param, &Setting::Number(number));
            }
            self.values.retain(|(known, _)| *known != at);
            self.values.push((at, Given::Number(number)));
        }
        if self.format != (rate, channels) {
            self.make(rate, channels)?;
        }
        let samples = self.heard(job).ok_or(no_sound)?;
        self.run(samples)?;
        let no_output = Fault::new(FaultKind::Library, "the effect has no frame to write to");
        if self.effect.inputs != self.effect.outputs {
            let format = abi::Format {
                media: abi::SIDETONE_MEDIA_AUDIO,
                format: abi::SIDETONE_FORMAT_F32,
                rate,
                channels: self.effect.outputs,
                length: samples as u32,
                ..NO_FORMAT
            };
            if !job.make_output(0, &format) {
                return Err(no_output);
            }
        }
        let mut output = job.output(0).ok_or(no_output)?;
        for (channel, made) in self.made.iter().enumerate() {
            let channel = output.channel_mut(channel).filter(|channel| channel.len() == samples);
            channel.ok_or(no_output)?.copy_from_slice(made);
        }
        Ok(Outcome::Ok)
    }

    fn save_state(&mut self) -> Option<Vec<u8>> {
        match self.instances.first()? {
            Instance::Clap(instance) => instance.save().ok(),
            Instance::Ladspa(_) => None,
        }
    }

    fn load_state(&mut self, state: &[u8]) -> Result<(), Fault> {
        for instance in &self.instances {
            if let Instance::Clap(instance) = instance {
                let why = "the effect does not take the state that it is given";
                instance.load(state.to_vec()).map_err(|_| Fault::new(FaultKind::BadMedia, why))?;
            }
        }
        Ok(())
    }
}
